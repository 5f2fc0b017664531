package unixfs

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

// Blocks is where blocks come from. All methods may be called from many goroutines at
// once.
type Blocks interface {
	// Get returns a block, under the CID that was asked for.
	Get(ctx context.Context, c cid.Cid) (*block.Verified, error)
	// Has reports whether the block is held on this edge, so that it need not be asked
	// for ahead.
	Has(ctx context.Context, c cid.Cid) bool
	// View calls f with the bytes from..to of a raw block of size bytes, if that is on this
	// edge and is not to be held in memory. It reports whether it called f. The bytes are
	// f's only until it returns; they come in order, in one piece or in several, and the
	// last of them may lack.
	View(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte)) bool
}

// Span is a part of a file: the bytes From..To, without the last.
type Span struct{ From, To int64 }

// What a file's nodes may cost beside the bytes that they bring. A reader that has none
// of these bounds can be kept busy by one small block: with links to nothing, with chains
// of nodes that bring a byte, or with large nodes that bring one.
const (
	// freeSteps is how many nodes and empty links a file may have for nothing, that is
	// before the first byte. From then on there may be one inner node for each leaf, as
	// in every tree whose inner nodes have two children or more.
	freeSteps = 1024
	// freeScan is how many bytes of nodes may be looked through for nothing, and
	// scanPerByte how many for each of the file's bytes. Where each leaf is one byte,
	// it is 47: a CID, two sizes, and what wraps them.
	freeScan, scanPerByte = 16 << 20, 64
	// maxOpenNodes bounds the nodes between a file's root and the leaf that is read, in
	// bytes. Importers' nodes have 174 or 1024 links, which is 8 or 50 KiB.
	maxOpenNodes = 4 << 20
	// aheadBytes bounds what one reader has asked for ahead.
	aheadBytes = 16 << 20
)

// fileCost counts what reading a file costs.
type fileCost struct {
	inner, leaves, empty int
	scanned, read        int64
}

// node counts a node that was looked through.
func (e *fileCost) node(n *Node, size int) error {
	e.scanned += int64(size)
	e.empty += n.empty
	if n.links.Left > 0 {
		e.inner++
	} else {
		e.leaf(len(n.content))
	}
	if e.empty > freeSteps || e.inner > freeSteps+e.leaves || e.scanned > freeScan+scanPerByte*e.read {
		return fmt.Errorf("%w: %d nodes and %d empty links for %d bytes", ErrNode, e.inner, e.empty, e.read)
	}
	return nil
}

func (e *fileCost) leaf(size int) {
	e.leaves++
	e.read += int64(size)
}

// Reader reads a part of a file, from left to right. It looks at each link once, skips
// what lies before the part by the sizes beside the links, fetches nothing before the
// first read, and nothing behind the part's end. Blocks behind the one that is read next
// are asked for ahead, from all places that have them at once. One goroutine may use it;
// Close ends what is being fetched.
type Reader struct {
	// Visit, if not nil, is called for each block before what lies below it, and Skip
	// tells the blocks that are left out with all below them.
	Visit func(*block.Verified)
	Skip  func(cid.Cid) bool

	ctx      context.Context
	cancel   context.CancelFunc
	blocks   Blocks
	parallel int
	open     []*openNode // from the root down
	held     int         // bytes of their blocks
	cost     fileCost
	at       int64 // the next byte to hand out
	end      int64
	data     []byte // read and not yet handed out
	running  sync.WaitGroup
}

// openNode is an inner node whose children are being read, or a map of leaves.
type openNode struct {
	links  dag.PBLinks // those that were not looked at
	sizes  sizeList
	leaves []leaf
	offset int64 // of the first of them
	size   int   // of the block
	next   []filePart
}

// filePart is a child that was looked at and not read.
type filePart struct {
	cid        cid.Cid
	begin, end int64
	fetched    chan fetchedBlock // nil: not asked for ahead
}

type fetchedBlock struct {
	b   *block.Verified
	err error
}

// NewReader begins to read a part of the file whose root is n, in the block root. It asks
// for so many blocks at once. An error means that the root cannot be one.
func NewReader(ctx context.Context, blocks Blocks, root *block.Verified, n *Node, s Span, parallel int) (*Reader, error) {
	r := newReader(ctx, blocks, s, parallel)
	if err := r.enter(root, n, 0); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

func newReader(ctx context.Context, blocks Blocks, s Span, parallel int) *Reader {
	r := &Reader{blocks: blocks, at: s.From, end: s.To, parallel: parallel}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// enter takes in a node that begins at an offset of the file: what it brings itself, and
// what its links lead to.
func (r *Reader) enter(b *block.Verified, n *Node, begin int64) error {
	if b.Cid().Prefix().Codec != cid.Raw {
		if err := r.cost.node(n, len(b.RawData())); err != nil {
			return err
		}
	} else {
		r.cost.leaf(len(n.content))
	}
	if from, to := max(r.at, begin), min(r.end, begin+int64(len(n.content))); from < to {
		r.data = n.content[from-begin : to-begin]
	}
	if n.links.Left == 0 {
		return nil
	}
	// A node of which nothing is left makes room before the one below it comes.
	for len(r.open) > 0 && r.open[len(r.open)-1].ends(r.end) {
		r.leave()
	}
	size := len(b.RawData())
	if r.held += size; r.held > maxOpenNodes {
		return fmt.Errorf("%w: %d bytes of nodes lie above one leaf", ErrNode, r.held)
	}
	r.open = append(r.open, &openNode{links: n.links, sizes: n.sizes, offset: begin + int64(len(n.content)), size: size})
	return nil
}

func (r *Reader) leave() {
	last := len(r.open) - 1
	r.held -= r.open[last].size
	r.open[last] = nil
	r.open = r.open[:last]
}

func (o *openNode) ends(end int64) bool {
	return len(o.next) == 0 && (o.links.Left == 0 && len(o.leaves) == 0 || o.offset >= end)
}

// look fills next with children that lie in from..to, until there are n.
func (o *openNode) look(from, to int64, n int) error {
	for len(o.next) < n && len(o.leaves) > 0 && o.offset < to {
		l := o.leaves[0]
		o.next = append(o.next, filePart{cid: l.cid, begin: o.offset, end: l.end})
		o.leaves, o.offset = o.leaves[1:], l.end
	}
	for len(o.next) < n && o.links.Left > 0 && o.offset < to {
		link, _, err := o.links.Next()
		if err != nil {
			return err
		}
		begin := o.offset
		o.offset += o.sizes.next()
		if o.offset == begin || o.offset <= from {
			continue
		}
		c, err := link.CID()
		if err != nil {
			return err
		}
		o.next = append(o.next, filePart{cid: c, begin: begin, end: o.offset})
	}
	return nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		if err := r.Advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.data)
	r.data, r.at = r.data[n:], r.at+int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo. Blocks go to w as they lie in memory, or on the disk.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	for {
		n, err := 0, error(nil)
		if len(r.data) > 0 {
			n, err = w.Write(r.data)
			r.data, r.at = r.data[n:], r.at+int64(n)
		}
		if total += int64(n); err != nil {
			return total, err
		}
		for viewed := true; viewed; total += int64(n) {
			if n, viewed, err = r.view(w); err != nil {
				return total + int64(n), err
			}
		}
		if err := r.Advance(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// view writes a leaf that is on the disk, without bringing it into memory.
func (r *Reader) view(w io.Writer) (n int, viewed bool, err error) {
	part, ok, err := r.peek()
	if err != nil || !ok || part.fetched != nil || part.cid.Prefix().Codec != cid.Raw || r.Visit != nil || r.Skip != nil {
		return 0, false, err
	}
	from, to := max(r.at, part.begin), min(r.end, part.end)
	viewed = r.blocks.View(r.ctx, part.cid, int(part.end-part.begin), int(from-part.begin), int(to-part.begin), func(data []byte) {
		if err == nil {
			var m int
			m, err = w.Write(data)
			n += m
		}
	})
	r.at += int64(n)
	if !viewed || err == nil && r.at < to {
		return n, false, err // Advance goes on with what lacks
	}
	r.pop()
	r.cost.leaf(int(part.end - part.begin))
	return n, true, err
}

// Discard drops what was read and not handed out, for those who read the blocks that Visit
// shows and not their content.
func (r *Reader) Discard() {
	r.at += int64(len(r.data))
	r.data = nil
}

// peek returns the child that is read next; false when there is none.
func (r *Reader) peek() (filePart, bool, error) {
	for len(r.open) > 0 && r.at < r.end {
		top := r.open[len(r.open)-1]
		if err := top.look(r.at, r.end, r.parallel); err != nil {
			return filePart{}, false, err
		}
		if len(top.next) > 0 {
			return top.next[0], true, nil
		}
		r.leave()
	}
	return filePart{}, false, nil
}

func (r *Reader) pop() {
	top := r.open[len(r.open)-1]
	top.next = top.next[1:]
}

// Advance reads the next block. At the end of the part it returns io.EOF.
func (r *Reader) Advance() error {
	_, more, err := r.peek()
	if err != nil {
		return err
	}
	if !more {
		return io.EOF
	}
	r.ahead(r.open[len(r.open)-1])
	part, _, _ := r.peek()
	r.pop()
	if r.Skip != nil && part.begin >= r.at && part.end <= r.end && r.Skip(part.cid) {
		r.at = part.end
		return nil
	}
	b, err := r.get(part)
	if err != nil {
		return err
	}
	n, err := ReadNode(part.cid.Prefix().Codec, b.RawData())
	if err != nil {
		return err
	}
	if !n.IsFile() || n.size != part.end-part.begin {
		return fmt.Errorf("%w: %s should be a part of %d bytes and has %d", ErrNode, part.cid, part.end-part.begin, n.size)
	}
	if r.Visit != nil {
		r.Visit(b)
	}
	return r.enter(b, n, part.begin)
}

func (r *Reader) get(p filePart) (*block.Verified, error) {
	if p.fetched == nil {
		return r.blocks.Get(r.ctx, p.cid)
	}
	got := <-p.fetched // ends with ctx
	return got.b, got.err
}

// ahead asks for the children behind the next one that are not held here.
func (r *Reader) ahead(top *openNode) {
	for i := 1; i < len(top.next); i++ {
		p := &top.next[i]
		if p.fetched != nil {
			continue
		}
		if p.end-top.next[0].begin > aheadBytes {
			return
		}
		if r.blocks.Has(r.ctx, p.cid) {
			continue
		}
		c, to := p.cid, make(chan fetchedBlock, 1)
		p.fetched = to
		r.running.Go(func() {
			b, err := r.blocks.Get(r.ctx, c)
			to <- fetchedBlock{b, err}
		})
	}
}

// Close implements io.Closer.
func (r *Reader) Close() error {
	r.cancel()
	r.running.Wait()
	return nil
}
