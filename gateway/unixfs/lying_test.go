package unixfs

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	unixfspb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-cdn/shoal/dag"
)

// made is a node of dag-pb with UnixFS as no importer makes it.
type made struct {
	kind    unixfspb.Data_DataType
	content string
	size    uint64 // stated; with noSize, not at all
	noSize  bool
	links   []madeLink
	packed  bool // blocksizes in one field
	noSizes bool
	fanout  uint64
	more    string // further fields
}

type madeLink struct {
	cid  cid.Cid
	name string
	size uint64 // of a part of a file
}

// bytes encodes the node (https://specs.ipfs.tech/unixfs/#dag-pb-node: the links first).
func (m made) bytes() []byte {
	var links, sizes []byte
	for _, l := range m.links {
		link := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), l.cid.Bytes())
		link = protowire.AppendString(protowire.AppendTag(link, 2, protowire.BytesType), l.name)
		links = protowire.AppendBytes(protowire.AppendTag(links, 2, protowire.BytesType), link)
		if !m.packed {
			sizes = protowire.AppendTag(sizes, 4, protowire.VarintType)
		}
		sizes = protowire.AppendVarint(sizes, l.size)
	}
	data := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(m.kind))
	data = protowire.AppendString(protowire.AppendTag(data, 2, protowire.BytesType), m.content)
	if !m.noSize {
		data = protowire.AppendVarint(protowire.AppendTag(data, 3, protowire.VarintType), m.size)
	}
	switch {
	case m.noSizes:
	case m.packed:
		data = protowire.AppendBytes(protowire.AppendTag(data, 4, protowire.BytesType), sizes)
	default:
		data = append(data, sizes...)
	}
	if m.fanout > 0 {
		data = protowire.AppendVarint(protowire.AppendTag(data, 5, protowire.VarintType), multihash.MURMUR3X64_64)
		data = protowire.AppendVarint(protowire.AppendTag(data, 6, protowire.VarintType), m.fanout)
	}
	data = append(data, m.more...)
	return append(links, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), data)...)
}

// put keeps a block.
func (s *shelf) put(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	c := cid.NewCidV1(codec, mh)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[c] = data
	return c
}

func (s *shelf) made(t testing.TB, m made) cid.Cid { return s.put(t, cid.DagProtobuf, m.bytes()) }

func many(n int, l madeLink) []madeLink {
	links := make([]madeLink, n)
	for i := range links {
		links[i] = l
	}
	return links
}

// lying are files that bring less than they cost, or that are not what they say
// (https://specs.ipfs.tech/unixfs/#dag-pb-file: one blocksize for each link, filesize is
// their sum and the file's own bytes).
func (s *shelf) lying(t testing.TB) map[string]cid.Cid {
	leaf, none := s.put(t, cid.Raw, []byte("leaf")), s.put(t, cid.Raw, nil)
	file := func(size uint64, links ...madeLink) cid.Cid {
		return s.made(t, made{kind: unixfs.TFile, size: size, links: links})
	}
	chain := func(n int) cid.Cid {
		c := leaf
		for range n {
			c = file(4, madeLink{cid: c, size: 4})
		}
		return c
	}
	heavy := s.made(t, made{kind: unixfs.TFile, content: "x", size: 1, more: strings.Repeat("\x78\x00", 1_000_000)})
	high, size := leaf, uint64(4)
	for range 4 {
		links := many(38_000, madeLink{cid: leaf, size: 4})
		links[0] = madeLink{cid: high, size: size}
		size += 4 * uint64(len(links)-1)
		high = s.made(t, made{kind: unixfs.TFile, size: size, links: links})
	}
	return map[string]cid.Cid{
		"links to nothing":             file(0, many(20_000, madeLink{cid: none})...),
		"links to nothing, packed":     s.made(t, made{kind: unixfs.TFile, links: many(20_000, madeLink{cid: none}), packed: true}),
		"links to nothing, no sizes":   s.made(t, made{kind: unixfs.TFile, links: many(20_000, madeLink{cid: none}), noSizes: true}),
		"links to nothing, and a leaf": file(4, append(many(20_000, madeLink{cid: none}), madeLink{cid: leaf, size: 4})...),
		"a long chain":                 chain(3000),
		"many chains":                  file(80, many(20, madeLink{cid: chain(300), size: 4})...),
		"heavy nodes":                  file(100, many(100, madeLink{cid: heavy, size: 1})...),
		"high and wide":                high,
		"more than its parts":          file(8, madeLink{cid: leaf, size: 4}),
		"less than its parts":          file(4, madeLink{cid: leaf, size: 4}, madeLink{cid: leaf, size: 4}),
		"a leaf that is too short":     file(5, madeLink{cid: leaf, size: 5}),
		"a leaf that is too long":      file(3, madeLink{cid: leaf, size: 3}),
		"a part that is too short":     file(5, madeLink{cid: file(4, madeLink{cid: leaf, size: 4}), size: 5}),
		"a negative size":              s.made(t, made{kind: unixfs.TFile, size: math.MaxUint64}),
		"a negative part":              file(8, madeLink{cid: leaf, size: math.MaxUint64 - 3}, madeLink{cid: leaf, size: 12}),
		"a sum that overflows":         file(0, many(4, madeLink{cid: leaf, size: 1 << 62})...),
		"a folder for a part":          file(4, madeLink{cid: s.made(t, made{kind: unixfs.TDirectory, noSize: true}), size: 4}),
		"a value for a part":           file(2, madeLink{cid: s.put(t, cid.DagCBOR, []byte{0x41, 0}), size: 2}),
	}
}

// What a reader does for a file that lies is counted, not timed: blocks that are read,
// nodes and bytes of them that are looked through, bytes that are held.
func TestCostOfLyingFiles(t *testing.T) {
	s := newShelf()
	for name, c := range s.lying(t) {
		b, err := s.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		n, err := ReadNode(c.Prefix().Codec, b.RawData())
		if errors.Is(err, ErrNode) {
			continue // found out by the root alone
		}
		before := s.asked
		r, err := NewReader(t.Context(), s, b, n, Span{To: n.Size()}, 4)
		read := 0
		for buf := make([]byte, 512); err == nil; {
			var m int
			m, err = r.Read(buf)
			read += m
		}
		if !errors.Is(err, ErrNode) {
			t.Errorf("%s: ended with %v", name, err)
		}
		if r == nil {
			continue
		}
		_ = r.Close()
		cost := r.cost
		if cost.inner > freeSteps+cost.leaves+1 || cost.scanned > freeScan+scanPerByte*cost.read+2<<20 || r.held > maxOpenNodes+2<<20 {
			t.Errorf("%s: %d bytes for %+v, %d bytes held", name, read, cost, r.held)
		}
		if asked := s.asked - before; asked > 2*freeSteps+8 {
			t.Errorf("%s: %d blocks were asked for", name, asked)
		}
		// A map is for honest files; whoever makes one reads no more for it.
		before = s.asked
		if m, err := NewMap(t.Context(), s, c, 64<<20); err == nil && m.Size() != n.Size() {
			t.Errorf("%s: mapped with %d of %d bytes", name, m.Size(), n.Size())
		}
		if asked := s.asked - before; asked > maxMappedNodes+8 {
			t.Errorf("%s: %d blocks were asked for to map it", name, asked)
		}
	}
	cost := fileCost{}
	for i := 0; ; i++ {
		if err := cost.node(&Node{links: dag.PBLinks{Left: 1}}, 50); err != nil {
			if i != freeSteps {
				t.Errorf("%d nodes for nothing", i)
			}
			break
		}
	}
}

// FuzzNodes reads nodes that anybody may have made: a file has a size for each link, its
// own size is their sum and that of its own bytes; reading it, listing and searching it
// ends.
func FuzzNodes(f *testing.F) {
	s := newShelf()
	leaf := s.put(f, cid.Raw, []byte("leaf"))
	for _, m := range []made{
		{kind: unixfs.TFile, content: "abc", size: 3},
		{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: []madeLink{{cid: leaf, name: "a"}, {cid: leaf, name: "b"}}},
		{kind: unixfs.TFile, size: 4, links: []madeLink{{cid: leaf, size: 4, name: "x"}}},
		{kind: unixfs.TFile, size: 11, content: "abc", packed: true, links: many(2, madeLink{cid: leaf, size: 4})},
		{kind: unixfs.THAMTShard, fanout: 256, noSize: true, noSizes: true, links: []madeLink{{cid: leaf, name: "0Aname"}}},
		{kind: unixfs.TSymlink, content: "../a", noSize: true},
	} {
		f.Add(m.bytes(), "name")
	}
	f.Add([]byte("\x12\x01\x30\x0a\x06\x08\x02\x18\x30\x20\x30"), "") // a file whose only link is none
	b, _ := s.node(f, s.file(f, randomBytes(5000), true))
	f.Add(b.RawData(), "a")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		c := s.put(t, cid.DagProtobuf, data)
		defer func() { delete(s.blocks, c) }()
		n, err := ReadNode(cid.DagProtobuf, data)
		if err != nil {
			if !errors.Is(err, ErrNode) {
				t.Fatal(err)
			}
			return
		}
		if n.IsFile() {
			readAnything(t, s, c, n)
			return
		}
		if c, _, err := n.Find(t.Context(), s, name); err == nil && !c.Defined() {
			t.Fatalf("%q was found nowhere", name)
		}
		all, err := countEntries(t, s, n, "")
		if behind, _ := countEntries(t, s, n, name); behind > all && err == nil {
			t.Fatalf("%d of %d entries are behind %q", behind, all, name)
		}
		_ = fmt.Sprint(n.Kind(), n.Perm(), n.ModTime())
	})
}

// countEntries lists what is behind a name, or all.
func countEntries(t *testing.T, s *shelf, n *Node, after string) (entries int, err error) {
	list, err := NewFolder(t.Context(), s, n)
	if err == nil && after != "" {
		err = list.Seek(after)
	}
	for more := err == nil; more; entries++ {
		if _, more, err = list.Next(); err != nil || !more {
			break
		}
	}
	return entries, err
}

func readAnything(t *testing.T, s *shelf, c cid.Cid, n *Node) {
	sizes, sum, empty := n.sizes, int64(len(n.content)), 0
	for range sizes.count {
		size := sizes.next()
		if sum += size; size == 0 {
			empty++
		}
	}
	if sum != n.size || empty != n.empty || sizes.count != n.links.Left {
		t.Fatalf("%d bytes, %d links and %d to nothing, not %d, %d and %d", sum, sizes.count, empty, n.size, n.links.Left, n.empty)
	}
	b, err := s.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(t.Context(), s, b, n, Span{To: n.size}, 2)
	if err != nil {
		return
	}
	defer r.Close()
	var got counter
	if _, err := r.WriteTo(&got); err == nil && int64(got) != n.size || int64(got) > n.size {
		t.Fatalf("%d of %d bytes, %v", got, n.size, err)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
