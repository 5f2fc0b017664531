package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/path/resolver"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/spaolacci/murmur3"

	"github.com/shoal-cdn/shoal/dag"
)

// maxFanout bounds the links of a shard, as other implementations do.
const maxFanout = 1024

// errNoUnixFS says that a block is not one that names of files can be looked up in.
var errNoUnixFS = errors.New("the block is not of UnixFS")

// lookUp finds a name below a UnixFS node: in a folder, or in a sharded one by the hash of
// the name (https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory). It returns a
// *resolver.ErrNoLink where there is none, and errNoUnixFS for what is not UnixFS.
func lookUp(ctx context.Context, service *blockService, folder cid.Cid, name string) (cid.Cid, error) {
	if folder.Prefix().Codec != cid.DagProtobuf {
		return cid.Undef, errNoUnixFS
	}
	b, err := service.GetBlock(ctx, folder)
	if err != nil {
		return cid.Undef, err
	}
	n, err := readNode(cid.DagProtobuf, b.RawData())
	if err != nil {
		return cid.Undef, errNoUnixFS
	}
	var link dag.PBLink
	ok := false
	switch n.kind {
	case unixfs.TDirectory:
		link, ok, err = n.find(name)
	case unixfs.THAMTShard:
		link, ok, err = findInShards(ctx, service, n, name)
	}
	if err != nil {
		return cid.Undef, err
	}
	if !ok {
		return cid.Undef, &resolver.ErrNoLink{Name: name, Node: folder}
	}
	return link.CID()
}

func findInShards(ctx context.Context, service *blockService, n *node, name string) (dag.PBLink, bool, error) {
	hash := murmur3.Sum64([]byte(name))
	for left := 64; ; {
		width, pad, err := n.shard()
		if err != nil {
			return dag.PBLink{}, false, err
		}
		if left -= width; left < 0 {
			return dag.PBLink{}, false, fmt.Errorf("%w: shards are nested too deeply", errNode)
		}
		prefix := fmt.Sprintf("%0*X", pad, hash>>left&(1<<width-1))
		links := n.links
		for {
			link, ok, err := links.Next()
			if !ok || err != nil || string(link.Name) == prefix+name {
				return link, ok, err
			}
			if string(link.Name) == prefix {
				if n, err = shardBelow(ctx, service, link); err != nil {
					return dag.PBLink{}, false, err
				}
				break
			}
		}
	}
}

// shard returns how many bits of a name's hash a shard looks at, and how many digits of
// them stand before its links' names.
func (n *node) shard() (width, pad int, err error) {
	if n.kind != unixfs.THAMTShard || n.hashType != multihash.MURMUR3X64_64 || n.fanout < 2 || n.fanout > maxFanout ||
		bits.OnesCount64(n.fanout) != 1 || n.links.Left > int(n.fanout) {
		return 0, 0, fmt.Errorf("%w: a shard of %d with %d links", errNode, n.fanout, n.links.Left)
	}
	return bits.TrailingZeros64(n.fanout), len(fmt.Sprintf("%X", n.fanout-1)), nil
}

func shardBelow(ctx context.Context, service *blockService, link dag.PBLink) (*node, error) {
	c, err := link.CID()
	if err != nil {
		return nil, err
	}
	b, err := service.GetBlock(ctx, c)
	if err != nil {
		return nil, err
	}
	return readNode(c.Prefix().Codec, b.RawData())
}

// folder lists what a folder has, in the order of its blocks.
type folder struct {
	ctx     context.Context
	blocks  *blockService
	open    []openShard
	held    int // bytes of the shards that are open
	shards  int // opened so far
	entries int // listed so far
	// visit, if not nil, is called for each shard below the root, and skip tells those
	// that are left out.
	visit func(blocks.Block)
	skip  func(cid.Cid) bool
}

type openShard struct {
	links dag.PBLinks
	pad   int // 0: a folder in one block
	size  int // of the block
}

// openFolder begins to list a folder.
func openFolder(ctx context.Context, service *blockService, n *node) (*folder, error) {
	f := &folder{ctx: ctx, blocks: service}
	if n.kind == unixfs.TDirectory {
		f.open = []openShard{{links: n.links}}
		return f, nil
	}
	return f, f.enter(n, 0)
}

// enter takes in a shard. There cannot be more of them than entries, but for those on the
// way to the first.
func (f *folder) enter(n *node, size int) error {
	_, pad, err := n.shard()
	f.shards++
	f.held += size
	if err == nil && (f.shards > freeSteps+f.entries || f.held > maxOpenNodes) {
		err = fmt.Errorf("%w: %d shards for %d entries, and %d bytes of them above one", errNode, f.shards, f.entries, f.held)
	}
	f.open = append(f.open, openShard{n.links, pad, size})
	return err
}

// next returns the next entry, under its name in the folder; ok is false at the end.
func (f *folder) next() (link dag.PBLink, ok bool, err error) {
	for len(f.open) > 0 {
		top := &f.open[len(f.open)-1]
		if link, ok, err = top.links.Next(); err != nil {
			return link, false, err
		}
		switch {
		case !ok:
			f.held -= top.size
			f.open = f.open[:len(f.open)-1]
		case top.pad == len(link.Name) && top.pad > 0:
			if err := f.descend(link); err != nil {
				return link, false, err
			}
		case len(link.Name) < top.pad:
			return link, false, fmt.Errorf("%w: a shard with the name %q", errNode, link.Name)
		default:
			f.entries++
			link.Name = link.Name[top.pad:]
			return link, true, nil
		}
	}
	return dag.PBLink{}, false, nil
}

// descend goes on with the shard that a link leads to.
func (f *folder) descend(link dag.PBLink) error {
	c, err := link.CID()
	if err != nil || f.skip != nil && f.skip(c) {
		return err
	}
	b, err := f.blocks.GetBlock(f.ctx, c)
	if err != nil {
		return err
	}
	n, err := readNode(c.Prefix().Codec, b.RawData())
	if err != nil {
		return err
	}
	if f.visit != nil {
		f.visit(b)
	}
	return f.enter(n, len(b.RawData()))
}
