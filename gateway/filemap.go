package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// fileMap says in which blocks the bytes of a UnixFS file lie. With it, a file is
// read without its index blocks, and a range begins at the right block.
type fileMap struct {
	size   int64
	leaves []fileLeaf // in order, none of them empty
	index  []cid.Cid  // the blocks above them, as far as maxStands goes
}

type fileLeaf struct {
	end int64 // the offset in the file behind its last byte
	cid cid.Cid
}

// leafCost is what a leaf takes in a map, in bytes: the struct, and the CID's text.
const leafCost = 24 + 48

func (m *fileMap) cost() int64 {
	return 64 + leafCost*int64(cap(m.leaves)) + cidCost*int64(cap(m.index))
}

// within returns the leaves that a span touches, and where the first one begins.
func (m *fileMap) within(s span) ([]fileLeaf, int64) {
	if s.from >= s.to {
		return nil, 0
	}
	leafAt := func(offset int64) int {
		return sort.Search(len(m.leaves), func(i int) bool { return m.leaves[i].end > offset })
	}
	i, begin := leafAt(s.from), int64(0)
	if i > 0 {
		begin = m.leaves[i-1].end
	}
	return m.leaves[i : leafAt(s.to-1)+1], begin
}

var errNoMap = errors.New("the file's blocks cannot be mapped")

// mapFile maps the file that boxo opened last for a request. It reads index blocks
// that are held here, which they are after boxo read the file, and returns nil
// when that is not enough.
func (g *Gateway) mapFile(rec *requestRecord) *fileMap {
	rec.mu.Lock()
	opened := rec.files
	rec.mu.Unlock()
	if len(opened) == 0 {
		return nil
	}
	quiet := &requestRecord{start: time.Now(), sites: rec.sites, walk: true}
	w := mapper{
		ctx: localOnly(withRecord(g.ctx, quiet)), blocks: g.service,
		most: int(g.hot.largest() / leafCost), m: &fileMap{},
	}
	if w.add(opened[len(opened)-1].cid, -1, true) != nil {
		return nil
	}
	w.m.leaves = append(make([]fileLeaf, 0, len(w.m.leaves)), w.m.leaves...)
	return w.m
}

// readAll returns what reads a whole file by its map, from what is held here.
func (g *Gateway) readAll(m *fileMap) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithCancel(localOnly(withRecord(ctx, &requestRecord{start: time.Now(), walk: true})))
		leaves := newLeafReader(ctx, g.service, m, span{0, m.size})
		defer leaves.wait()
		defer cancel()
		all := make([]byte, 0, m.size)
		for int64(len(all)) < m.size {
			data, _, err := leaves.next()
			if err != nil {
				return nil, err
			}
			all = append(all, data...)
		}
		return all, nil
	}
}

// mapper walks a file's index blocks.
type mapper struct {
	ctx    context.Context
	blocks *blockService
	most   int
	inner  int // nodes
	m      *fileMap
}

// maxMappedNodes bounds the inner nodes of a file that is mapped: nobody pays for the walk
// with the bytes that he gets. With 174 links each, they are above 180 GB.
const maxMappedNodes = 4096

// add appends what lies below c, which has size bytes; -1 when that is not known.
// Whether a block of the codec dag-pb is a leaf or an index block only the block
// itself says; look is false when its neighbour was a leaf.
func (w *mapper) add(c cid.Cid, size int64, look bool) error {
	if size >= 0 && (c.Prefix().Codec == cid.Raw || !look) {
		return w.leaf(c, size)
	}
	b, err := w.blocks.GetBlock(w.ctx, c)
	if err != nil {
		return err
	}
	n, err := readNode(c.Prefix().Codec, b.RawData())
	if err != nil {
		return err
	}
	if !n.isFile() || size >= 0 && size != n.size {
		return errNoMap
	}
	if n.links.Left == 0 {
		return w.leaf(c, n.size)
	}
	if w.inner++; len(n.content) > 0 || n.empty > 0 || w.inner > maxMappedNodes {
		return errNoMap
	}
	if len(w.m.index) < maxStands {
		w.m.index = append(w.m.index, c)
	}
	for first := true; ; first = false {
		link, ok, err := n.links.Next()
		if err != nil || !ok {
			return err
		}
		l, err := link.CID()
		if err != nil {
			return err
		}
		before := len(w.m.leaves)
		if err := w.add(l, n.sizes.next(), look); err != nil {
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
	w.m.leaves = append(w.m.leaves, fileLeaf{w.m.size, c})
	return nil
}

// readLeaf returns the bytes of a leaf, which must be as many as a map says.
func readLeaf(b blocks.Block, size int64) ([]byte, error) {
	n, err := readNode(b.Cid().Prefix().Codec, b.RawData())
	if err == nil && (!n.isFile() || n.links.Left > 0 || n.size != size) {
		err = errNoMap
	}
	if err != nil {
		return nil, fmt.Errorf("block %s: %w: it is not the leaf of %d bytes that it should be", b.Cid(), err, size)
	}
	return n.content, nil
}

// writeLeaves answers from a leaf that is in memory, if the span lies in one. It
// reports false when nothing was written.
func (h *hit) writeLeaves(w http.ResponseWriter) bool {
	leaves, begin := h.route.file.within(h.span)
	if len(leaves) != 1 {
		return false
	}
	// With a context that has ended, only what needs no waiting is returned.
	b, src, err := h.g.service.blocks.Get(h.g.ended, leaves[0].cid)
	if err != nil || src != block.Memory {
		return h.writePart(w, leaves[0], begin)
	}
	data, err := readLeaf(b, leaves[0].end-begin)
	if err != nil {
		return false
	}
	h.g.metrics.block(src, len(b.RawData()))
	h.body = data[h.span.from-begin : h.span.to-begin]
	h.write(w, h.success())
	return true
}

// success is the status of an answer with content.
func (h *hit) success() int {
	if h.ranged {
		return http.StatusPartialContent
	}
	return http.StatusOK
}

// writePart answers from the disk, when nothing is to be kept in memory: otherwise
// the block goes there, by the way of all blocks.
func (h *hit) writePart(w http.ResponseWriter, leaf fileLeaf, begin int64) bool {
	parts, ok := h.g.service.blocks.(PartViewer)
	if !ok || h.g.hotBodies.Load() || leaf.cid.Prefix().Codec != cid.Raw {
		return false
	}
	wrote := false
	size, from, to := int(leaf.end-begin), int(h.span.from-begin), int(h.span.to-begin)
	_ = parts.ViewPart(h.r.Context(), leaf.cid, size, from, to, func(data []byte) error {
		wrote = true
		h.g.metrics.block(block.Disk, len(data))
		h.body, h.source = data, block.Disk
		h.write(w, h.success())
		return nil
	})
	return wrote
}

// stream answers from the blocks that the route's map names.
func (h *hit) stream(w http.ResponseWriter, r *http.Request) {
	rec := &requestRecord{
		start: h.begin, sites: h.g.sites.Load(), label: h.route.label, client: peerAddr(h.client), host: h.route.host,
	}
	h.g.attend(w, r, rec, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw, ok := w.(*responseWriter)
		if !ok {
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		leaves := newLeafReader(ctx, h.g.service, h.route.file, h.span)
		defer leaves.wait()
		defer cancel()
		if err := h.copyLeaves(rw, leaves); err != nil {
			h.failed(rw, err)
		}
	}))
}

// copyLeaves writes the span. An error is one of reading: the writer keeps its own.
func (h *hit) copyLeaves(w *responseWriter, leaves *leafReader) error {
	var gone error // of the client
	at := h.span.from
	write := func(data []byte, begin int64) {
		if w.status == 0 {
			h.begins(w)
		}
		data = data[at-begin : min(int64(len(data)), h.span.to-begin)]
		_, gone = w.Write(data)
		at += int64(len(data))
	}
	for at < h.span.to && gone == nil {
		if !h.g.hotBodies.Load() && leaves.view(w.rec, write) {
			continue
		}
		data, begin, err := leaves.next()
		if err != nil {
			return err
		}
		write(data, begin)
	}
	if gone != nil {
		return nil
	}
	if w.status == 0 {
		h.begins(w) // an empty file
	}
	return nil
}

func (h *hit) begins(w *responseWriter) {
	h.header(w, h.success())
	w.WriteHeader(h.success())
}

// failed answers with what is known of the failure, or cuts off the answer that has
// begun. A map that does not fit its blocks is not used again.
func (h *hit) failed(w *responseWriter, err error) {
	f, ok := asFailure(err)
	if !ok {
		h.g.hot.drop(h.route)
		f = &failure{status: http.StatusUnprocessableEntity, text: "the file is not as its index describes it", cause: err}
	}
	w.rec.failed(f)
	if !w.unsay() {
		w.abort = true
		return
	}
	set(w.Header(), corsFields)
	f.write(w)
}

// leafReader reads the leaves of a file one after the other. What is not held here
// it asks for ahead, several blocks at once, so that a reader gets them as fast as
// they come from everywhere.
type leafReader struct {
	ctx     context.Context
	blocks  *blockService
	leaves  []fileLeaf // those that were not returned yet
	begin   int64      // of the first of them
	looked  int        // how many of them were looked at, to ask for them ahead
	fetched map[int64]chan fetchedLeaf
	running sync.WaitGroup
}

type fetchedLeaf struct {
	b   blocks.Block
	err error
}

// aheadBytes bounds what one request has asked for ahead.
const aheadBytes = 16 << 20

func newLeafReader(ctx context.Context, service *blockService, m *fileMap, s span) *leafReader {
	r := &leafReader{ctx: ctx, blocks: service}
	r.leaves, r.begin = m.within(s)
	return r
}

// next returns the bytes of the next leaf and where they lie in the file.
func (r *leafReader) next() ([]byte, int64, error) {
	r.ahead()
	leaf, begin := r.leaves[0], r.begin
	var b blocks.Block
	var err error
	if c, ok := r.fetched[begin]; ok {
		got := <-c // ends with ctx
		delete(r.fetched, begin)
		b, err = got.b, got.err
	} else {
		b, err = r.blocks.GetBlock(r.ctx, leaf.cid)
	}
	if err != nil {
		return nil, 0, err
	}
	data, err := readLeaf(b, leaf.end-begin)
	r.leaves, r.begin = r.leaves[1:], leaf.end
	r.looked = max(0, r.looked-1)
	return data, begin, err
}

// view calls f with the bytes of the next leaf, if they are on the disk, without
// bringing the block into memory. It reports false when f was not called.
func (r *leafReader) view(rec *requestRecord, f func([]byte, int64)) (done bool) {
	parts, ok := r.blocks.blocks.(PartViewer)
	leaf, begin := r.leaves[0], r.begin
	if _, ahead := r.fetched[begin]; !ok || ahead || leaf.cid.Prefix().Codec != cid.Raw {
		return false
	}
	size := int(leaf.end - begin)
	_ = parts.ViewPart(r.ctx, leaf.cid, size, 0, size, func(data []byte) error {
		done = true
		rec.viewed(size)
		r.blocks.metrics.block(block.Disk, size)
		f(data, begin)
		return nil
	})
	if done {
		r.leaves, r.begin = r.leaves[1:], leaf.end
		r.looked = max(0, r.looked-1)
	}
	return done
}

// ahead asks for the leaves behind the next one that are not held here.
func (r *leafReader) ahead() {
	begin := r.begin
	for i, l := range r.leaves[:min(len(r.leaves), r.blocks.parallel)] {
		at := begin
		begin = l.end
		if i < r.looked {
			continue
		}
		if i > 0 && l.end-r.begin > aheadBytes {
			return
		}
		r.looked = i + 1
		if held, _ := r.blocks.blocks.Has(r.ctx, l.cid); held || i == 0 {
			continue
		}
		if r.fetched == nil {
			r.fetched = map[int64]chan fetchedLeaf{}
		}
		c := make(chan fetchedLeaf, 1)
		r.fetched[at] = c
		r.running.Go(func() {
			b, err := r.blocks.GetBlock(r.ctx, l.cid)
			c <- fetchedLeaf{b, err}
		})
	}
}

// wait returns when nothing is asked for any more; ctx must have ended.
func (r *leafReader) wait() { r.running.Wait() }
