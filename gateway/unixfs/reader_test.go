package unixfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	ihelper "github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// shelf holds blocks, and is the DAG service that fixtures are built into.
type shelf struct {
	mu     sync.Mutex
	blocks map[cid.Cid][]byte
	asked  int
	before func(ctx context.Context, c cid.Cid) error
	direct bool // raw blocks are viewed
}

func newShelf() *shelf { return &shelf{blocks: map[cid.Cid][]byte{}} }

func (s *shelf) Get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	s.mu.Lock()
	s.asked++
	data, ok := s.blocks[c]
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, c); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, block.NotFound(c)
	}
	return block.New(c, data)
}

func (s *shelf) Has(context.Context, cid.Cid) bool { return false }

func (s *shelf) View(_ context.Context, c cid.Cid, size, from, to int, f func([]byte)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blocks[c]
	if !s.direct || !ok || len(data) != size {
		return false
	}
	f(data[from:to])
	return true
}

// dagService lets importers write and read.
type dagService struct{ s *shelf }

func (d dagService) Add(_ context.Context, n ipld.Node) error {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.blocks[n.Cid()] = n.RawData()
	return nil
}

func (d dagService) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, n := range nodes {
		_ = d.Add(ctx, n)
	}
	return nil
}

func (d dagService) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	b, err := d.s.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.Prefix().Codec == cid.Raw {
		return merkledag.NewRawNodeWPrefix(b.RawData(), c.Prefix())
	}
	return merkledag.DecodeProtobufBlock(b)
}

func (d dagService) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		n, err := d.Get(ctx, c)
		out <- &ipld.NodeOption{Node: n, Err: err}
	}
	close(out)
	return out
}

func (dagService) Remove(context.Context, cid.Cid) error       { return nil }
func (dagService) RemoveMany(context.Context, []cid.Cid) error { return nil }

// file imports bytes in chunks of 1 KiB, raw or wrapped.
func (s *shelf) file(t testing.TB, data []byte, raw bool) cid.Cid {
	t.Helper()
	params := ihelper.DagBuilderParams{Dagserv: dagService{s}, Maxlinks: 3, RawLeaves: raw, CidBuilder: merkledag.V1CidPrefix()}
	db, err := params.New(chunker.NewSizeSplitter(bytes.NewReader(data), 1024))
	if err != nil {
		t.Fatal(err)
	}
	n, err := balanced.Layout(db)
	if err != nil {
		t.Fatal(err)
	}
	return n.Cid()
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	return data
}

func (s *shelf) node(t testing.TB, c cid.Cid) (*block.Verified, *Node) {
	t.Helper()
	b, err := s.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := ReadNode(c.Prefix().Codec, b.RawData())
	if err != nil {
		t.Fatal(err)
	}
	return b, n
}

// readers are the ways to read a part of a file.
func (s *shelf) readers(t testing.TB, c cid.Cid, span Span) map[string]*Reader {
	t.Helper()
	b, n := s.node(t, c)
	walked, err := NewReader(t.Context(), s, b, n, span, 4)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMap(t.Context(), s, c, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Reader{"walked": walked, "mapped": m.Reader(t.Context(), s, span, 4)}
}

// However a part is read, it has the same bytes.
func TestParts(t *testing.T) {
	data := randomBytes(20*1024 + 17)
	size := int64(len(data))
	for _, raw := range []bool{true, false} {
		s := newShelf()
		c := s.file(t, data, raw)
		for _, span := range []Span{{0, size}, {0, 1}, {1023, 1025}, {3000, 9001}, {size - 1, size}, {size - 18, size}, {5, 5}, {0, 0}, {2048, 3072}} {
			for _, direct := range []bool{false, true} {
				s.direct = direct
				for name, r := range s.readers(t, c, span) {
					var got bytes.Buffer
					n, err := r.WriteTo(&got)
					if err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), data[span.From:span.To]) {
						t.Errorf("%s, raw leaves %v, %v: %d bytes, %v", name, raw, span, got.Len(), err)
					}
					_ = r.Close()
				}
				for name, r := range s.readers(t, c, span) {
					got, err := io.ReadAll(struct{ io.Reader }{r})
					if err != nil || !bytes.Equal(got, data[span.From:span.To]) {
						t.Errorf("%s, raw leaves %v, %v: read %d bytes, %v", name, raw, span, len(got), err)
					}
					_ = r.Close()
				}
			}
		}
	}
}

// The first leaf is held back until three others were asked for, too.
func TestAFileIsReadAhead(t *testing.T) {
	for _, way := range []string{"walked", "mapped"} {
		s := newShelf()
		data := randomBytes(3 * 1024)
		root := s.file(t, data, true)
		r := s.readers(t, root, Span{0, int64(len(data))})[way]
		var mu sync.Mutex
		asked, enough := 0, make(chan struct{})
		s.before = func(ctx context.Context, _ cid.Cid) error {
			mu.Lock()
			if asked++; asked == 3 {
				close(enough)
			}
			mu.Unlock()
			select {
			case <-enough:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: %d of %d bytes, %v", way, len(got), len(data), err)
		}
		_ = r.Close()
	}
}

func TestOnlyTheAskedPartIsFetched(t *testing.T) {
	s := newShelf()
	data := randomBytes(27 * 1024) // three levels
	root := s.file(t, data, true)
	for _, tc := range []struct {
		span          Span
		leaves, inner int
	}{
		{Span{0, 100}, 1, 2}, {Span{3000, 3100}, 2, 4}, {Span{26 * 1024, 27 * 1024}, 1, 2}, {Span{1024, 2048}, 1, 2},
	} {
		for name, r := range s.readers(t, root, tc.span) {
			before := s.asked
			got, err := io.ReadAll(r)
			_ = r.Close()
			if err != nil || !bytes.Equal(got, data[tc.span.From:tc.span.To]) {
				t.Fatalf("%v: %d bytes, %v", tc.span, len(got), err)
			}
			most := tc.leaves + tc.inner
			if name == "mapped" {
				most = tc.leaves
			}
			if n := s.asked - before; n > most {
				t.Errorf("%s, %v: %d blocks were asked for", name, tc.span, n)
			}
		}
	}
}

// sharded imports a folder with so many names.
func (s *shelf) folder(t testing.TB, n int, sharded bool) cid.Cid {
	t.Helper()
	leaf := merkledag.NewRawNode([]byte("x"))
	_ = dagService{s}.Add(t.Context(), leaf)
	var dir interface {
		AddChild(context.Context, string, ipld.Node) error
		GetNode() (ipld.Node, error)
	}
	var err error
	if sharded {
		dir, err = uio.NewHAMTDirectory(dagService{s}, 0, uio.WithCidBuilder(merkledag.V1CidPrefix()), uio.WithMaxHAMTFanout(16))
	} else {
		dir, err = uio.NewBasicDirectory(dagService{s}, uio.WithCidBuilder(merkledag.V1CidPrefix()))
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := dir.AddChild(t.Context(), fmt.Sprintf("name %04d", i), leaf); err != nil {
			t.Fatal(err)
		}
	}
	node, err := dir.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	_ = dagService{s}.Add(t.Context(), node)
	return node.Cid()
}

// A folder is listed in pages, each of which goes on where the last one ended, and reads
// only the shards on its way.
func TestPagesOfFolders(t *testing.T) {
	for _, sharded := range []bool{false, true} {
		s := newShelf()
		const count, perPage = 500, 7
		_, n := s.node(t, s.folder(t, count, sharded))
		seen, after := map[string]bool{}, ""
		for pages := 0; pages <= count/perPage; pages++ {
			f, err := NewFolder(t.Context(), s, n)
			if err != nil {
				t.Fatal(err)
			}
			before := s.asked
			if after != "" {
				if err := f.Seek(after); err != nil {
					t.Fatal(err)
				}
			}
			for range perPage {
				link, more, err := f.Next()
				if err != nil {
					t.Fatal(err)
				}
				if !more {
					break
				}
				after = string(link.Name)
				if seen[after] {
					t.Fatalf("%q is on two pages", after)
				}
				seen[after] = true
			}
			if read := s.asked - before; read > 12 {
				t.Errorf("a page of %d entries took %d blocks", perPage, read)
			}
		}
		if len(seen) != count {
			t.Errorf("sharded %v: %d of %d entries", sharded, len(seen), count)
		}
		// Behind a name that is not there, the list goes on where it would be.
		f, _ := NewFolder(t.Context(), s, n)
		if err := f.Seek("no such name"); err != nil {
			t.Error(err)
		}
		for i := range 3 {
			name := fmt.Sprintf("name %04d", i*100)
			if _, _, err := n.Find(t.Context(), s, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A shard below another is a folder, too: its names are found, and it is listed in pages.
func TestShardsBelowShards(t *testing.T) {
	s := newShelf()
	_, top := s.node(t, s.folder(t, 600, true))
	shards := 0
	for links := top.links; ; {
		link, more, err := links.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		if len(link.Name) > 1 {
			continue
		}
		shards++
		c, _ := link.CID()
		_, n := s.node(t, c)
		f, err := NewFolder(t.Context(), s, n)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for {
			link, more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			names = append(names, string(link.Name))
		}
		for i, name := range names {
			if _, _, err := n.Find(t.Context(), s, name); err != nil {
				t.Errorf("shard %s: %s: %v", link.Name, name, err)
			}
			f, _ := NewFolder(t.Context(), s, n)
			if err := f.Seek(name); err != nil {
				t.Fatal(err)
			}
			next, more, _ := f.Next()
			if more != (i+1 < len(names)) || more && string(next.Name) != names[i+1] {
				t.Errorf("shard %s: behind %s comes %q", link.Name, name, next.Name)
			}
		}
	}
	if shards < 8 {
		t.Errorf("only %d shards", shards)
	}
}
