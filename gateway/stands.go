package gateway

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// A finished answer stands for the blocks that it was made of: whoever asks for one of
// them, a sibling or a request of another kind, finds it, and a hit is a use of them all.
// Where an answer has a file's bytes, they are those of its blocks and not a copy.

const (
	// maxStands is how many blocks above the leaves an answer stands for at most.
	maxStands = 64
	// cidCost is what a CID takes in a list, in bytes.
	cidCost = 16 + 48
)

// moment says when something was last used, in seconds, so that uses are counted once
// in each.
type moment struct{ at atomic.Int64 }

// first reports whether this is the first use in its second.
func (m *moment) first(now time.Time) bool {
	s := now.Unix()
	return m.at.Load() != s && m.at.Swap(s) != s
}

// use counts a hit as a use of the blocks that the route stands for.
func (g *Gateway) use(r *route, now time.Time) {
	if r.used.first(now) {
		g.memory.Use(r.stands...)
	}
}

// takeBody takes over the body that was captured of a file with the map m, which may be
// nil: in the bytes of the file's leaves, where those have them.
func (g *Gateway) takeBody(r *route, c *capture, m *fileMap) {
	r.body = c.body
	if c.leaf != nil {
		r.body = c.leaf
	}
	if r.body == nil {
		r.body = []byte{}
	}
	if m == nil {
		return
	}
	if leaves, body := g.leavesOf(m, r.body); len(leaves) > 0 {
		// Where there are several leaves, somebody else may hold them in memory of his
		// own, so this body is charged by itself.
		r.blocks, r.body, r.shared = leaves, body, len(leaves) == 1
	}
}

// leavesOf returns the leaves of a small file, and its bytes in their memory: those of
// one block, or of raw blocks that are made of parts of the body. There are none when the
// leaves would have to be kept beside the body.
func (g *Gateway) leavesOf(m *fileMap, body []byte) ([]*block.Verified, []byte) {
	if len(m.leaves) == 1 {
		b, err := g.localBlock(m.leaves[0].cid)
		if err != nil {
			return nil, nil
		}
		at := bytes.Index(b.RawData(), body)
		if at < 0 {
			return nil, nil
		}
		return []*block.Verified{b}, b.RawData()[at : at+len(body) : at+len(body)]
	}
	leaves := make([]*block.Verified, 0, len(m.leaves))
	begin := int64(0)
	for _, l := range m.leaves {
		if l.cid.Prefix().Codec != cid.Raw {
			return nil, nil
		}
		b, err := block.New(l.cid, body[begin:l.end:l.end])
		if err != nil {
			return nil, nil
		}
		leaves = append(leaves, b)
		begin = l.end
	}
	return leaves, body
}

// standFor has the route stand for the blocks on the path to its file and for those of
// the file itself, but for the leaves of one that is read by its map. It keeps all of
// them that are here in memory.
func (g *Gateway) standFor(r *route, m *fileMap, rec *requestRecord) {
	r.stands = idsOf(r.blocks)
	above := rec.passedBlocks()
	if m != nil {
		above = append(above, m.index...)
	}
	for _, c := range above {
		if slices.Contains(r.stands, c) {
			continue
		}
		r.stands = append(r.stands, c)
		if b, err := g.localBlock(c); err == nil {
			r.blocks = append(r.blocks, b)
		}
	}
}

// localBlock reads a block that is held here.
func (g *Gateway) localBlock(c cid.Cid) (*block.Verified, error) {
	quiet := &requestRecord{start: time.Now(), sites: &siteTable{}, walk: true}
	b, err := g.service.GetBlock(localOnly(withRecord(g.ctx, quiet)), c)
	if err != nil {
		return nil, err
	}
	v, ok := b.(*block.Verified)
	if !ok {
		return nil, block.NotFound(c)
	}
	return v, nil
}

func idsOf(bs []*block.Verified) []cid.Cid {
	ids := make([]cid.Cid, len(bs))
	for i, b := range bs {
		ids[i] = b.Cid()
	}
	return ids
}

func bytesOf(bs []*block.Verified) (n int64) {
	for _, b := range bs {
		n += int64(cap(b.RawData()))
	}
	return n
}

// readIndex notes that an index block was read. The caller holds r.mu.
func (r *requestRecord) readIndex(c cid.Cid) {
	if c.Prefix().Codec != cid.Raw && len(r.index) < maxStands {
		r.index = append(r.index, c)
	}
}

// beginStep begins to note the blocks of a step.
func (r *requestRecord) beginStep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index = nil
}

// endStep returns the blocks that a step from a folder led through, without what it led
// to.
func (r *requestRecord) endStep(folder, to cid.Cid) []cid.Cid {
	r.mu.Lock()
	defer r.mu.Unlock()
	passed := []cid.Cid{folder}
	for _, c := range r.index {
		if c != to && !slices.Contains(passed, c) {
			passed = append(passed, c)
		}
	}
	return slices.Clip(passed)
}

// pass notes the blocks of a step that the request took.
func (r *requestRecord) pass(bs []cid.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range bs {
		if len(r.passed) < maxStands && !slices.Contains(r.passed, c) {
			r.passed = append(r.passed, c)
		}
	}
}

func (r *requestRecord) passedBlocks() []cid.Cid {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.passed)
}
