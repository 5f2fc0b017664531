package unixfs

import (
	"context"
	"errors"
	"sort"

	"github.com/ipfs/go-cid"
)

// Map says in which blocks the bytes of a file lie. With it, a file is read without its
// index blocks, and a part begins at the right block. It never changes.
type Map struct {
	size   int64
	leaves []leaf    // in order, none of them empty
	index  []cid.Cid // the blocks above them, maxIndex at most
}

type leaf struct {
	end int64 // the offset in the file behind its last byte
	cid cid.Cid
}

const (
	// leafCost is what a leaf takes in a map, in bytes: the struct, and the CID's text.
	leafCost = 24 + 48
	// maxIndex is how many of the blocks above its leaves a map knows.
	maxIndex = 64
	// maxMappedNodes bounds the inner nodes of a file that is mapped: nobody pays for the
	// walk with the bytes that he gets. With 174 links each, they are above 180 GB.
	maxMappedNodes = 4096
)

// Size is the file's size, in bytes.
func (m *Map) Size() int64 { return m.size }

// Index returns the blocks above the leaves, as far as they are known.
func (m *Map) Index() []cid.Cid { return m.index }

// Cost is what the map takes in memory, in bytes.
func (m *Map) Cost() int64 {
	return 64 + leafCost*int64(cap(m.leaves)) + (leafCost-8)*int64(cap(m.index))
}

// Only returns the leaf that a span lies in, and where that begins and ends in the file;
// ok is false when there are several, or none.
func (m *Map) Only(s Span) (c cid.Cid, in Span, ok bool) {
	leaves, begin := m.from(s)
	if s.From >= s.To || len(leaves) == 0 || leaves[0].end < s.To {
		return cid.Undef, Span{}, false
	}
	return leaves[0].cid, Span{begin, leaves[0].end}, true
}

// from returns the leaves from the beginning of a span on, and where the first one begins.
func (m *Map) from(s Span) ([]leaf, int64) {
	i := sort.Search(len(m.leaves), func(i int) bool { return m.leaves[i].end > s.From })
	if i == 0 {
		return m.leaves, 0
	}
	return m.leaves[i:], m.leaves[i-1].end
}

// Reader begins to read a part of the file, as [NewReader] does.
func (m *Map) Reader(ctx context.Context, blocks Blocks, s Span, parallel int) *Reader {
	r := newReader(ctx, blocks, s, parallel)
	leaves, begin := m.from(s)
	r.open = []*openNode{{leaves: leaves, offset: begin}}
	return r
}

var errNoMap = errors.New("the file's blocks cannot be mapped")

// NewMap maps a file. It reads index blocks, and a leaf of each kind. The map takes most
// bytes at most; what is larger, or of an unusual shape, is an error, and read without one.
func NewMap(ctx context.Context, blocks Blocks, file cid.Cid, most int64) (*Map, error) {
	w := mapper{ctx: ctx, blocks: blocks, most: int(most / leafCost), m: &Map{}}
	if err := w.add(file, -1, true); err != nil {
		return nil, err
	}
	w.m.leaves = append(make([]leaf, 0, len(w.m.leaves)), w.m.leaves...)
	return w.m, nil
}

// mapper walks a file's index blocks.
type mapper struct {
	ctx    context.Context
	blocks Blocks
	most   int // leaves
	inner  int // nodes
	m      *Map
}

// add appends what lies below c, which has size bytes; -1 when that is not known.
// Whether a block of the codec dag-pb is a leaf or an index block only the block
// itself says; look is false when its neighbour was a leaf.
func (w *mapper) add(c cid.Cid, size int64, look bool) error {
	if size >= 0 && (c.Prefix().Codec == cid.Raw || !look) {
		return w.leaf(c, size)
	}
	b, err := w.blocks.Get(w.ctx, c)
	if err != nil {
		return err
	}
	n, err := ReadNode(c.Prefix().Codec, b.RawData())
	if err != nil {
		return err
	}
	if !n.IsFile() || size >= 0 && size != n.size {
		return errNoMap
	}
	if n.links.Left == 0 {
		return w.leaf(c, n.size)
	}
	if w.inner++; len(n.content) > 0 || n.empty > 0 || w.inner > maxMappedNodes {
		return errNoMap
	}
	if len(w.m.index) < maxIndex {
		w.m.index = append(w.m.index, c)
	}
	return w.children(n, look)
}

func (w *mapper) children(n *Node, look bool) error {
	links, sizes := n.links, n.sizes
	for first := true; ; first = false {
		link, ok, err := links.Next()
		if err != nil || !ok {
			return err
		}
		l, err := link.CID()
		if err != nil {
			return err
		}
		before := len(w.m.leaves)
		if err := w.add(l, sizes.next(), look); err != nil {
			return err
		}
		if first && l.Prefix().Codec != cid.Raw {
			// The children of one index block are equally deep.
			look = len(w.m.leaves) != before+1 || w.m.leaves[before].cid != l
		}
	}
}

func (w *mapper) leaf(c cid.Cid, size int64) error {
	if size == 0 {
		return nil
	}
	if size < 0 || w.m.size+size < w.m.size || len(w.m.leaves) >= w.most {
		return errNoMap
	}
	w.m.size += size
	w.m.leaves = append(w.m.leaves, leaf{w.m.size, c})
	return nil
}
