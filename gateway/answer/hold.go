package answer

import (
	"context"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// An answer holds the block that it is sending until its client has taken it, whatever the
// cache has let go of meanwhile. A client that reads nothing costs a few hundred bytes of
// traffic, and may have a hundred answers on each connection in HTTP/2.
const (
	// LargePart is the largest piece of content, in bytes, that an answer may always hold.
	LargePart = 64 << 10
	// minHeld is how many bytes larger pieces may take together at least.
	minHeld = 16 << 20
	// sparingStep is what is sent at once, in bytes, of a block that is not held.
	sparingStep = 16 << 10
)

// Hold takes so many bytes for a piece of an answer that is sent from memory. When it
// reports false, nothing is taken, and the piece should be read step by step while it is
// sent.
func (s *Source) Hold(bytes int64) bool {
	for {
		held := s.held.Load()
		if held+bytes > s.mayHold {
			return false
		}
		if s.held.CompareAndSwap(held, held+bytes) {
			return true
		}
	}
}

// Release gives back what Hold took.
func (s *Source) Release(bytes int64) { s.held.Add(-bytes) }

// Held is what was taken, in bytes.
func (s *Source) Held() int64 { return s.held.Load() }

// Hold is [Source.Hold] for the largest piece of the request; End releases it.
func (r *Reads) Hold(bytes int64) bool {
	if bytes <= LargePart {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	more := bytes - r.holding
	if more <= 0 {
		return true
	}
	if r.ended || !r.src.Hold(more) {
		return false
	}
	r.holding = bytes
	return true
}

// sparingly calls f with the bytes from..to of a raw block, a step at a time, and holds no
// more of it. It returns early, or without a call, when the block is not here any more.
func (s *Source) sparingly(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte)) (src block.Source, viewed bool) {
	buf := make([]byte, min(sparingStep, to-from))
	for ; from < to && ctx.Err() == nil; from += len(buf) {
		buf = buf[:min(len(buf), to-from)]
		at, ok := s.copyPart(ctx, c, size, from, buf)
		if !ok {
			return src, viewed
		}
		src, viewed = max(src, at), true
		f(buf)
	}
	return src, viewed
}

// copyPart fills buf from a block that is in memory or on the disk.
func (s *Source) copyPart(ctx context.Context, c cid.Cid, size, from int, buf []byte) (src block.Source, ok bool) {
	if b, src, err := s.blocks.Get(s.ended, c); err == nil && src == block.Memory {
		if data := b.RawData(); len(data) == size {
			return src, copy(buf, data[from:]) == len(buf)
		}
		return src, false
	}
	if s.parts == nil {
		return 0, false
	}
	_ = s.parts.ViewPart(ctx, c, size, from, from+len(buf), func(data []byte) error {
		ok = copy(buf, data) == len(buf)
		return nil
	})
	return block.Disk, ok
}

// isLarge reports whether a block is raw and may have to be sent step by step.
func isLarge(b *block.Verified) bool {
	p := b.Cid().Prefix()
	return p.Codec == cid.Raw && p.MhType != multihash.IDENTITY && len(b.RawData()) > LargePart
}
