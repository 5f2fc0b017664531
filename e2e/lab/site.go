package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
)

// A Site is content and the blocks that it is made of.
type Site struct {
	Root cid.Cid
	// Files are what visitors ask for: a path below /ipfs/ and the bytes behind it.
	Files map[string][]byte
	// Blocks are all blocks, by multihash.
	Blocks map[string][]byte
}

// Paths returns the paths of the files in order.
func (s *Site) Paths() []string {
	paths := make([]string, 0, len(s.Files))
	for p := range s.Files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// NewSite makes a website of pages in folders, and beside them one large file of
// the given size in bytes, unless that is 0. The same seed makes the same site.
func NewSite(seed uint64, pages, large int) (*Site, error) {
	random := rand.New(rand.NewPCG(seed, 1))
	files := map[string][]byte{"index.html": fmt.Appendf(nil, "<!doctype html><title>Site %d</title>", seed)}
	for i := range pages {
		files[fmt.Sprintf("section-%d/chapter-%d/page-%d.html", i%5, i%17, i)] = noise(random, 200+random.IntN(40_000))
	}
	if large > 0 {
		files["media/large.bin"] = noise(random, large)
	}
	return newSite(files)
}

// NewArchive makes a few pages, page-0.html and so on, among many files, file-0.bin and so
// on, each of size bytes and all in one folder. The same seed makes the same archive.
func NewArchive(seed uint64, pages, count, size int) (*Site, error) {
	random := rand.New(rand.NewPCG(seed, 3))
	files := map[string][]byte{}
	for i := range pages {
		files[fmt.Sprintf("page-%d.html", i)] = noise(random, size)
	}
	for i := range count {
		files[fmt.Sprintf("file-%d.bin", i)] = noise(random, size)
	}
	return newSite(files)
}

func newSite(files map[string][]byte) (*Site, error) {
	b := builder{blocks: map[string][]byte{}}
	root, err := b.folder(files)
	if err != nil {
		return nil, fmt.Errorf("make a site: %w", err)
	}
	s := &Site{Root: root.Cid(), Files: map[string][]byte{}, Blocks: b.blocks}
	for name, data := range files {
		s.Files[root.Cid().String()+"/"+name] = data
	}
	return s, nil
}

// NewShelf makes content without a root: each file is one raw block of the given
// size in bytes and asked for by its CID. The same seed makes the same files.
func NewShelf(seed uint64, files, size int) *Site {
	random := rand.New(rand.NewPCG(seed, 2))
	s := &Site{Files: map[string][]byte{}, Blocks: map[string][]byte{}}
	for range files {
		data := noise(random, size)
		hash, _ := multihash.Sum(data, multihash.SHA2_256, -1) // sha2-256 is always there
		s.Files[cid.NewCidV1(cid.Raw, hash).String()] = data
		s.Blocks[string(hash)] = data
	}
	return s
}

// noise returns printable bytes, so that no gateway takes a page for something else.
func noise(random *rand.Rand, size int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], random.Uint64())
	raw := make([]byte, size*3/4+3)
	_, _ = rand.NewChaCha8(seed).Read(raw)
	return []byte(base64.StdEncoding.EncodeToString(raw)[:size])
}

// builder makes UnixFS and keeps the blocks.
type builder struct {
	mu     sync.Mutex
	blocks map[string][]byte
}

var (
	_ ipld.DAGService = (*builder)(nil)

	errWriteOnly = errors.New("blocks are only added here")
	v1           = cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}
)

// Add implements [ipld.NodeAdder].
func (b *builder) Add(_ context.Context, n ipld.Node) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocks[string(n.Cid().Hash())] = n.RawData()
	return nil
}

// AddMany implements [ipld.NodeAdder].
func (b *builder) AddMany(ctx context.Context, list []ipld.Node) error {
	for _, n := range list {
		_ = b.Add(ctx, n)
	}
	return nil
}

// Get implements [ipld.NodeGetter].
func (b *builder) Get(context.Context, cid.Cid) (ipld.Node, error) { return nil, errWriteOnly }

// GetMany implements [ipld.NodeGetter].
func (b *builder) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption {
	none := make(chan *ipld.NodeOption)
	close(none)
	return none
}

// Remove implements [ipld.DAGService].
func (b *builder) Remove(context.Context, cid.Cid) error { return errWriteOnly }

// RemoveMany implements [ipld.DAGService].
func (b *builder) RemoveMany(context.Context, []cid.Cid) error { return errWriteOnly }

// folder adds files under their slash-separated names and returns the folder's node.
func (b *builder) folder(files map[string][]byte) (ipld.Node, error) {
	below := map[string]map[string][]byte{}
	entries := map[string]ipld.Node{}
	for name, data := range files {
		first, rest, nested := strings.Cut(path.Clean(name), "/")
		if nested {
			if below[first] == nil {
				below[first] = map[string][]byte{}
			}
			below[first][rest] = data
			continue
		}
		n, err := b.file(data)
		if err != nil {
			return nil, err
		}
		entries[first] = n
	}
	for name, inside := range below {
		n, err := b.folder(inside)
		if err != nil {
			return nil, err
		}
		entries[name] = n
	}
	node := unixfs.EmptyDirNode()
	if err := node.SetCidBuilder(v1); err != nil {
		return nil, err
	}
	for name, n := range entries {
		if err := node.AddNodeLink(name, n); err != nil {
			return nil, err
		}
	}
	return node, b.Add(context.Background(), node)
}

// file adds one file in raw leaves of 256 KiB.
func (b *builder) file(data []byte) (ipld.Node, error) {
	if len(data) <= chunkSize {
		n, err := merkledag.NewRawNodeWPrefix(data, cid.V1Builder{Codec: cid.Raw, MhType: multihash.SHA2_256})
		if err != nil {
			return nil, err
		}
		return n, b.Add(context.Background(), n)
	}
	params := helpers.DagBuilderParams{Dagserv: b, Maxlinks: helpers.DefaultLinksPerBlock, RawLeaves: true, CidBuilder: v1}
	layout, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), chunkSize))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(layout)
}

const chunkSize = 256 << 10
