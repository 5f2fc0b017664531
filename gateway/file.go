package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	bgw "github.com/ipfs/boxo/gateway"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/dag"
)

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
)

// fileCost counts what reading a file costs.
type fileCost struct {
	inner, leaves, empty int
	scanned, read        int64
}

// node counts a node that was looked through.
func (e *fileCost) node(n *node, size int) error {
	e.scanned += int64(size)
	e.empty += n.empty
	if n.links.Left > 0 {
		e.inner++
	} else {
		e.leaf(len(n.content))
	}
	if e.empty > freeSteps || e.inner > freeSteps+e.leaves || e.scanned > freeScan+scanPerByte*e.read {
		return fmt.Errorf("%w: %d nodes and %d empty links for %d bytes", errNode, e.inner, e.empty, e.read)
	}
	return nil
}

func (e *fileCost) leaf(size int) {
	e.leaves++
	e.read += int64(size)
}

// fileReader reads a part of a UnixFS file, from left to right. It looks at each link
// once, skips what lies before the part by the sizes beside the links, fetches nothing
// before the first Read, and nothing behind the part's end. Siblings of the block that is
// read next are asked for ahead, from all places that have them at once. Close ends what
// is being fetched.
type fileReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	blocks *blockService
	open   []*openNode // from the root down
	held   int         // bytes of their blocks
	cost   fileCost
	at     int64 // the next byte to hand out
	end    int64
	data   []byte // read and not yet handed out
	// visit, if not nil, is called for each block before what lies below it, and skip
	// tells the blocks that are left out with all below them.
	visit   func(blocks.Block)
	skip    func(cid.Cid) bool
	running sync.WaitGroup
}

// openNode is an inner node whose children are being read.
type openNode struct {
	links  dag.PBLinks // those that were not looked at
	sizes  sizeList
	offset int64 // of the first of them
	size   int   // of the block
	next   []*filePart
}

// filePart is a child that was looked at and not read.
type filePart struct {
	cid        cid.Cid
	begin, end int64
	fetched    chan fetchedLeaf // nil: not asked for ahead
}

// newFileReader begins to read a part of the file whose root is n, in a block. An error means
// that the root cannot be one.
func newFileReader(ctx context.Context, service *blockService, root blocks.Block, n *node, s span) (*fileReader, error) {
	r := &fileReader{blocks: service, at: s.from, end: s.to}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.enter(root, n, 0); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// enter takes in a node that begins at an offset of the file: what it brings itself, and
// what its links lead to.
func (r *fileReader) enter(b blocks.Block, n *node, begin int64) error {
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
		return fmt.Errorf("%w: %d bytes of nodes lie above one leaf", errNode, r.held)
	}
	r.open = append(r.open, &openNode{links: n.links, sizes: n.sizes, offset: begin + int64(len(n.content)), size: size})
	return nil
}

func (r *fileReader) leave() {
	last := len(r.open) - 1
	r.held -= r.open[last].size
	r.open[last] = nil
	r.open = r.open[:last]
}

func (o *openNode) ends(end int64) bool {
	return len(o.next) == 0 && (o.links.Left == 0 || o.offset >= end)
}

// look fills next with children that lie in from..to, until there are n.
func (o *openNode) look(from, to int64, n int) error {
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
		o.next = append(o.next, &filePart{cid: c, begin: begin, end: o.offset})
	}
	return nil
}

// Read implements io.Reader. An error other than io.EOF marks the answer as broken off.
func (r *fileReader) Read(p []byte) (int, error) {
	for len(r.data) == 0 {
		if err := r.advance(); err == io.EOF {
			return 0, err
		} else if err != nil {
			return 0, recordOf(r.ctx).brokeOff(lying(err))
		}
	}
	n := copy(p, r.data)
	r.data, r.at = r.data[n:], r.at+int64(n)
	return n, nil
}

// advance reads the next block. At the end of the part it returns io.EOF.
func (r *fileReader) advance() error {
	for len(r.open) > 0 && r.at < r.end {
		top := r.open[len(r.open)-1]
		if err := top.look(r.at, r.end, r.blocks.parallel); err != nil {
			return err
		}
		if len(top.next) == 0 {
			r.leave()
			continue
		}
		r.ahead(top)
		part := top.next[0]
		top.next = top.next[1:]
		if r.skip != nil && part.begin >= r.at && part.end <= r.end && r.skip(part.cid) {
			r.at = part.end
			continue
		}
		b, err := r.get(part)
		if err != nil {
			return err
		}
		n, err := readNode(part.cid.Prefix().Codec, b.RawData())
		if err != nil {
			return err
		}
		if !n.isFile() || n.size != part.end-part.begin {
			return fmt.Errorf("%w: %s should be a part of %d bytes and has %d", errNode, part.cid, part.end-part.begin, n.size)
		}
		if r.visit != nil {
			r.visit(b)
		}
		return r.enter(b, n, part.begin)
	}
	return io.EOF
}

func (r *fileReader) get(p *filePart) (blocks.Block, error) {
	if p.fetched == nil {
		return r.blocks.GetBlock(r.ctx, p.cid)
	}
	got := <-p.fetched // ends with ctx
	return got.b, got.err
}

// ahead asks for the children behind the next one that are not held here.
func (r *fileReader) ahead(top *openNode) {
	for i, p := range top.next {
		if i == 0 || p.fetched != nil {
			continue
		}
		if p.end-top.next[0].begin > aheadBytes {
			return
		}
		if held, _ := r.blocks.blocks.Has(r.ctx, p.cid); held {
			continue
		}
		p.fetched = make(chan fetchedLeaf, 1)
		r.running.Go(func() {
			b, err := r.blocks.GetBlock(r.ctx, p.cid)
			p.fetched <- fetchedLeaf{b, err}
		})
	}
}

// Close implements io.Closer.
func (r *fileReader) Close() error {
	r.cancel()
	r.running.Wait()
	return nil
}

// spanOf returns the part of a file that a range asks for, as far as there is any; all of
// the file without one.
func spanOf(ranges []bgw.ByteRange, size int64) span {
	if len(ranges) == 0 {
		return span{0, size}
	}
	s := span{ranges[0].From, size}
	if s.from < 0 {
		s.from = max(s.from+size, 0) // RFC 9110, section 14.1.2: longer than the file is all of it
	}
	if to := ranges[0].To; to != nil && *to < size {
		s.to = *to + 1
	}
	return span{min(s.from, s.to), s.to}
}

// lying is the failure of content that is there and is not what it says it is.
func lying(err error) *failure {
	if f, ok := asFailure(err); ok {
		return f
	}
	return &failure{
		status: http.StatusUnprocessableEntity, cause: err,
		text: "the content cannot be read: " + abbreviate(err.Error()),
	}
}
