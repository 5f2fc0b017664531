package hold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// progressEvery is how often a check tells how far it is.
const progressEvery = 200 * time.Millisecond

var errPreempted = errors.New("a check on demand comes first")

// Verify reads every block of a pinned DAG, with its checksum and its hash, and
// fetches again what is damaged, missing or no longer protected. progress may be
// nil. When something is missing that nobody has, the root is "pinning" again
// until it is there, stays protected, and the error is nil all the same: Missing
// counts it.
//
// The error wraps [ErrNotHeld] or [ErrNotPinned] when there is nothing to check.
func (h *Holder) Verify(ctx context.Context, root cid.Cid, progress func(record.Progress)) (record.Check, error) {
	root = dag.Canonical(root)
	got, err := h.verify(ctx, root, progress, 0)
	if err != nil {
		return got, fmt.Errorf("verify %s: %w", root, err)
	}
	return got, nil
}

// verify reads at most rate bytes per second unless it is 0, which stands for a check
// on demand.
func (h *Holder) verify(ctx context.Context, root cid.Cid, progress func(record.Progress), rate int64) (record.Check, error) {
	e, jobCtx, err := h.takePinned(ctx, root, rate == 0)
	if err != nil {
		return record.Check{}, err
	}
	next := time.Time{}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.giveBack(e, next)
		h.running.Done()
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(jobCtx, func() { cancel(context.Cause(jobCtx)) })()

	c := h.newChecking(e, progress, rate)
	err = c.run(ctx)
	got := record.Check{Blocks: c.done.Blocks, Bytes: c.done.Bytes, Repaired: c.repaired.Load(), Missing: c.missing}
	if gone, ok := errors.AsType[*absence](err); ok && ctx.Err() == nil {
		next = time.Now()
		return got, h.broken(e, c.missing, gone)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if err == nil {
		err = h.checked(e, c)
	}
	if errors.Is(err, errLet) {
		err = ErrNotHeld
	}
	return got, err
}

// takePinned takes a root that is pinned, waiting for others that have it.
func (h *Holder) takePinned(ctx context.Context, root cid.Cid, onDemand bool) (*entry, context.Context, error) {
	for {
		h.mu.Lock()
		e := h.entries[root.KeyString()]
		switch {
		case h.ctx.Err() != nil:
			h.mu.Unlock()
			return nil, nil, errClosing
		case e == nil || e.let:
			h.mu.Unlock()
			return nil, nil, ErrNotHeld
		case e.saved.Status != record.Pinned:
			h.mu.Unlock()
			return nil, nil, ErrNotPinned
		case e.busy == nil:
			jobCtx, j := h.take(e)
			j.yields = !onDemand
			h.running.Add(1)
			h.mu.Unlock()
			return e, jobCtx, nil
		}
		if onDemand && e.busy.yields {
			e.busy.cancel(errPreempted)
		}
		done := e.busy.done
		h.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// checked writes down that all is well.
func (h *Holder) checked(e *entry, c *checking) error {
	if c.added.Load() > 0 {
		if err := h.store.Commit(e.owner); err != nil {
			return err
		}
	}
	if n := c.repaired.Load(); n > 0 {
		h.log.Warn("pin repaired", "root", e.root.String(), "repaired", n, "blocks", c.done.Blocks)
	}
	err := h.save(e, false, func(s *saved) {
		s.Verified = time.Now().UTC().Truncate(time.Second)
		s.Blocks, s.Bytes = c.done.Blocks, c.done.Bytes
	})
	h.changed(e.root)
	return err
}

// broken writes down that a DAG that was whole is not any more.
func (h *Holder) broken(e *entry, missing int64, gone *absence) error {
	h.metrics.lost.Add(float64(missing))
	h.log.Error("pinned blocks are lost; trying to get them", "root", e.root.String(), "missing", missing, "error", gone)
	err := h.save(e, true, func(s *saved) {
		s.become(record.Pinning, "damaged: "+gone.reason())
		s.Missing = gone.cid.String()
	})
	h.changed(e.root)
	return err
}

// checking is the visitor that reads everything.
type checking struct {
	*walk
	h        *Holder
	e        *entry
	from     sources
	progress func(record.Progress)
	rate     int64

	begun, told time.Time
	done        record.Progress
	repaired    atomic.Int64
	added       atomic.Int64 // references
}

func (h *Holder) newChecking(e *entry, progress func(record.Progress), rate int64) *checking {
	c := &checking{h: h, e: e, from: h.sources(e), progress: progress, rate: rate, begun: time.Now(), told: time.Now()}
	if progress == nil {
		c.progress = func(record.Progress) {}
	}
	reads := parallel
	if rate > 0 {
		reads = 1 // nobody waits for it, and visitors need the disk
	}
	c.walk = newWalk(h.opts, reads, c)
	return c
}

func (c *checking) run(ctx context.Context) error {
	if err := c.h.store.References(c.e.owner, c.remember); err != nil {
		return err
	}
	err := c.walk.run(ctx, c.e.root)
	c.progress(c.done)
	return err
}

// Glance implements [dag.Visitor]: everything is read.
func (c *checking) Glance(context.Context, dag.Visit) (int64, bool, error) { return 0, false, nil }

// Read implements [dag.Visitor].
func (c *checking) Read(ctx context.Context, v dag.Visit) ([]byte, error) {
	b, err := c.h.store.Get(ctx, v.CID)
	if err == nil {
		if _, err = block.New(v.CID, b.RawData()); err == nil {
			return b.RawData(), c.protect(v)
		}
		// Its checksum is right, so the store will not find out by itself.
		c.h.log.Error("pinned block has the wrong bytes", "error", err)
		if err := c.h.store.Discard(ctx, v.CID); err != nil {
			return nil, err
		}
	} else if !ipld.IsNotFound(err) {
		return nil, err
	}
	return c.repair(ctx, v)
}

// repair fetches a block again. It is held once more than before, so that the commit
// at the end syncs it.
func (c *checking) repair(ctx context.Context, v dag.Visit) ([]byte, error) {
	b, _, err := c.from.get(ctx, v.CID)
	if err != nil {
		return nil, err
	}
	if err := c.h.store.PutHeld(ctx, c.e.owner, b); err != nil {
		// It could be had, but for the DAG it is as missing as before.
		return nil, &absence{cid: v.CID, err: err}
	}
	c.added.Add(1)
	c.repaired.Add(1)
	c.h.metrics.repaired.Inc()
	return b.RawData(), nil
}

// protect holds a block that the owner does not hold, because references were lost.
func (c *checking) protect(v dag.Visit) error {
	if v.Known {
		return nil
	}
	c.added.Add(1)
	return c.h.store.Hold(c.e.owner, v.CID)
}

// After implements [dag.Visitor].
func (c *checking) After(ctx context.Context, v dag.Visited) error {
	if ok, err := c.took(ctx, v); !ok {
		return err
	}
	if v.Fresh {
		c.done.Blocks++
		c.done.Bytes += v.Size
		c.h.metrics.verified.Add(float64(v.Size))
	}
	if now := time.Now(); now.Sub(c.told) >= progressEvery {
		c.told = now
		c.progress(c.done)
	}
	if c.rate == 0 {
		return nil
	}
	// Not before the time at which so many bytes have the right rate.
	due := c.begun.Add(time.Duration(float64(c.done.Bytes) / float64(c.rate) * float64(time.Second)))
	return work.Pause(ctx, time.Until(due))
}

// verifyAll checks what is pinned in the background, one after the other: first
// whether the store still has every block, which reads no block, then each once in
// Options.VerifyEvery.
func (h *Holder) verifyAll(swept <-chan struct{}) {
	defer h.running.Done()
	select {
	case <-swept: // who is being checked would be passed over
	case <-h.ctx.Done():
		return
	}
	for _, root := range h.pinnedBefore(time.Time{}) {
		h.checkPresence(root)
	}
	for every := h.opts.VerifyEvery; every > 0; {
		for _, root := range h.pinnedBefore(time.Now().Add(-every)) {
			_, err := h.verify(h.ctx, root, nil, h.opts.VerifyRate)
			if err != nil && h.ctx.Err() == nil && !errors.Is(err, ErrNotHeld) && !errors.Is(err, ErrNotPinned) && !errors.Is(err, errPreempted) {
				h.log.Error("pin not verified", "root", root.String(), "error", err)
			}
		}
		if work.Pause(h.ctx, min(every, time.Minute)) != nil {
			return
		}
	}
}

// Lost says that the store has lost a block that was held. It does not block. The roots
// that lack something are found in the background, and are "pinning" again until it is
// back.
func (h *Holder) Lost() { h.losses.Give() }

// heedLosses looks which roots lack something whenever the store has lost a block. The
// store does not know by whom a block is held, so all of them are looked through; losses
// that come meanwhile share the next look.
func (h *Holder) heedLosses() {
	defer h.running.Done()
	for {
		select {
		case <-h.losses:
		case <-h.ctx.Done():
			return
		}
		for _, root := range h.pinnedBefore(time.Time{}) {
			h.checkPresence(root)
		}
	}
}

// pinnedBefore returns the roots that were verified or, if they never were, pinned
// before a time, the longest ago first; all that are pinned if it is zero.
func (h *Holder) pinnedBefore(limit time.Time) []cid.Cid {
	type pinned struct {
		root cid.Cid
		at   time.Time
	}
	var all []pinned
	h.mu.Lock()
	for _, e := range h.entries {
		at := e.saved.Since
		if e.saved.Verified.After(at) {
			at = e.saved.Verified
		}
		if !e.let && e.saved.Status == record.Pinned && (limit.IsZero() || at.Before(limit)) {
			all = append(all, pinned{e.root, at})
		}
	}
	h.mu.Unlock()
	slices.SortFunc(all, func(a, b pinned) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.root.KeyString(), b.root.KeyString()))
	})
	roots := make([]cid.Cid, len(all))
	for i := range all {
		roots[i] = all[i].root
	}
	return roots
}

// checkPresence has a root pinned again of which the store has lost blocks, because
// their records were found to be bad.
func (h *Holder) checkPresence(root cid.Cid) {
	e, ctx, err := h.takePinned(h.ctx, root, false)
	if err != nil {
		return
	}
	var next time.Time
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.giveBack(e, next)
		h.running.Done()
	}()
	err = h.store.References(e.owner, func(hash multihash.Multihash) error {
		c := cid.NewCidV1(cid.Raw, hash)
		if _, err := h.store.GetSize(ctx, c); ipld.IsNotFound(err) {
			return &absence{cid: cid.NewCidV1(cid.Raw, slices.Clone(hash)), err: err}
		} else if err != nil {
			return err
		}
		return nil
	})
	if gone, ok := errors.AsType[*absence](err); ok {
		next = time.Now()
		if err = h.broken(e, 1, gone); err == nil {
			return
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLet) {
		h.log.Error("pin not checked", "root", root.String(), "error", err)
	}
}
