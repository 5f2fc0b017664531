package pin

import (
	"context"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/record"
)

// held speaks this room's language to the holder.
type held struct{ *hold.Holder }

var _ holder = held{}

func (h held) State(root cid.Cid) (Share, bool) {
	s, ok := h.Holder.State(root)
	if !ok {
		return Share{}, false
	}
	return shareOf(s), true
}

func (h held) All() iter.Seq2[cid.Cid, Share] {
	return func(yield func(cid.Cid, Share) bool) {
		for s := range h.Holder.All() {
			if !yield(s.Root, shareOf(s)) {
				return
			}
		}
	}
}

func (h held) Verify(ctx context.Context, root cid.Cid, progress func(Progress)) (Verified, error) {
	v, err := h.Holder.Verify(ctx, root, func(p hold.Progress) { progress(Progress{Blocks: p.Blocks, Bytes: p.Bytes}) })
	if err != nil {
		return Verified{}, fmt.Errorf("check what is held: %w", err)
	}
	return Verified{Blocks: v.Blocks, Bytes: v.Bytes, Repaired: v.Repaired, Missing: v.Missing}, nil
}

func shareOf(s hold.State) Share {
	share := Share{
		Status: s.Status, Blocks: s.Blocks, Bytes: s.Bytes, Reason: s.Reason, Settled: s.Settled, Since: s.Since, Verified: s.Verified,
	}
	// What fails for want of a block names it.
	share.Unfit = s.Status == record.Failed && (s.Needed > 0 || !s.Missing.Defined())
	return share
}
