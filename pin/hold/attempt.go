package hold

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
)

// errParked ends a walk that turned out to be of a large DAG while there is no
// place for one.
var errParked = errors.New("waits for a place among the large ones")

// attempt tries to get all of a DAG held, and returns when to try again; zero for
// not at all. The caller has taken e.
func (h *Holder) attempt(ctx context.Context, e *entry) (next time.Time) {
	if h.stillShort(e) {
		return time.Now().Add(retryFailed)
	}
	begun := time.Now()
	if err := h.save(e, false, func(s *saved) {
		// While something is tried again, why it has to be stays to be read.
		s.become(record.Pinning, s.Reason)
	}); err != nil {
		return h.ended(ctx, e, nil, err)
	}
	h.changed(e.root)
	f := h.newFetching(e)
	err := f.run(ctx)
	if err == nil {
		err = h.finish(e, f)
	}
	if err == nil {
		h.metrics.attempts.WithLabelValues("pinned").Inc()
		h.log.Info("pinned", "root", e.root.String(), "blocks", f.blocks, "bytes", f.bytes,
			"fetched", f.fetched.Load(), "seconds", time.Since(begun).Seconds())
		h.changed(e.root)
		return time.Time{}
	}
	return h.ended(ctx, e, f, err)
}

// stillShort reports whether a DAG that did not fit would not fit now either.
func (h *Holder) stillShort(e *entry) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return e.saved.Status == record.Failed && h.store.Room() < e.saved.Needed
}

// finish makes a complete DAG durable and then says so.
func (h *Holder) finish(e *entry, f *fetching) error {
	if err := h.store.Commit(e.owner); err != nil {
		return f.storeError(err)
	}
	return h.save(e, true, func(s *saved) {
		s.become(record.Pinned, "")
		s.Blocks, s.Bytes, s.Whole = f.blocks, f.bytes, true
		s.Tries, s.Missing, s.Lacking, s.Needed, s.Free = 0, "", time.Time{}, 0, 0
		s.Total = max(s.Total, f.bytes)
	})
}

// checkpoint makes durable what is held so far. The state comes first: an owner
// without one is released at the next start.
func (h *Holder) checkpoint(e *entry) error {
	e.writing.Lock()
	known := e.onDisk
	e.writing.Unlock()
	if !known {
		if err := h.save(e, true, func(*saved) {}); err != nil {
			return err
		}
	}
	return h.store.Commit(e.owner)
}

// ended deals with an attempt that did not succeed, and returns when to try again.
func (h *Holder) ended(ctx context.Context, e *entry, f *fetching, err error) time.Time {
	if ctx.Err() != nil || errors.Is(err, errLet) {
		h.metrics.attempts.WithLabelValues("stopped").Inc()
		if h.ctx.Err() != nil && f != nil && !h.isLet(e) {
			h.keep(e, f)
		}
		return time.Now()
	}
	if errors.Is(err, errParked) {
		h.keep(e, f)
		return time.Now()
	}
	var refused *refusal
	var short *shortage
	var gone *absence
	switch {
	case errors.As(err, &refused):
		return h.fail(e, "refused", refused.text, func(s *saved) { s.Needed, s.Free, s.Missing = 0, 0, "" })
	case errors.As(err, &short):
		return h.fail(e, "full", short.Error(), func(s *saved) { s.Needed, s.Free, s.Missing = short.needed, short.free, "" })
	case errors.As(err, &gone):
		h.keep(e, f)
		return h.lacks(e, f, gone)
	}
	h.metrics.attempts.WithLabelValues("trouble").Inc()
	h.log.Error("pin not finished; trying again", "root", e.root.String(), "error", err)
	return h.later(e, func(s *saved) {
		s.become(record.Pinning, "this edge cannot write to its disk at the moment")
	})
}

func (h *Holder) isLet(e *entry) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return e.let
}

// keep protects through a crash what an unfinished attempt has brought.
func (h *Holder) keep(e *entry, f *fetching) {
	if f.blocks == 0 {
		return
	}
	if err := h.checkpoint(e); err != nil && !errors.Is(err, errLet) {
		h.log.Warn("what was fetched for a pin is protected only until the next restart", "root", e.root.String(), "error", err)
	}
}

// lacks deals with an attempt that could not have some block.
func (h *Holder) lacks(e *entry, f *fetching, gone *absence) time.Time {
	now := time.Now().UTC()
	outcome := "unavailable"
	if gone.nowhere {
		outcome = "not_found"
	}
	h.mu.Lock()
	lacking, whole := e.saved.Lacking, e.saved.Whole
	h.mu.Unlock()
	switch {
	case !gone.nowhere:
		lacking = time.Time{}
	case lacking.IsZero(), f.fetched.Load() > 0:
		lacking = now
	}
	if gone.nowhere && now.Sub(lacking) >= h.opts.GiveUp && !whole {
		reason := fmt.Sprintf("block %s was not found for %s", gone.cid, brief(h.opts.GiveUp))
		return h.fail(e, outcome, reason, func(s *saved) { s.Needed, s.Free, s.Missing, s.Lacking = 0, 0, gone.cid.String(), lacking })
	}
	h.metrics.attempts.WithLabelValues(outcome).Inc()
	h.log.Info("pin not complete; trying again", "root", e.root.String(), "missing", f.missing, "error", gone)
	if f.fetched.Load() > 0 {
		e.pause.Reset()
	}
	next := h.later(e, func(s *saved) {
		s.become(record.Pinning, gone.reason())
		s.Missing, s.Lacking = gone.cid.String(), lacking
		s.Blocks, s.Bytes = max(s.Blocks, f.blocks), max(s.Bytes, f.bytes)
	})
	if end := lacking.Add(h.opts.GiveUp); !lacking.IsZero() && !whole && next.After(end) {
		next = end
	}
	return next
}

// later notes that a try has ended without all blocks, and returns when the next
// one is.
func (h *Holder) later(e *entry, change func(*saved)) time.Time {
	err := h.save(e, false, func(s *saved) {
		s.Tries++
		change(s)
	})
	if err != nil && !errors.Is(err, errLet) {
		h.log.Error("state of a pin not written", "root", e.root.String(), "error", err)
	}
	h.changed(e.root)
	return time.Now().Add(e.pause.NextBackOff())
}

// fail ends the protection of a DAG that cannot be pinned. The state comes first: if a
// kill comes in between, the next start releases the owner. What was whole once is not
// given up but tried again.
func (h *Holder) fail(e *entry, outcome, reason string, change func(*saved)) time.Time {
	h.mu.Lock()
	whole := e.saved.Whole
	h.mu.Unlock()
	h.metrics.attempts.WithLabelValues(outcome).Inc()
	h.log.Warn("pin failed", "root", e.root.String(), "reason", reason, "kept", whole)
	if whole {
		return h.later(e, func(s *saved) { s.become(record.Pinning, "damaged, and not repaired: "+reason) })
	}
	err := h.save(e, true, func(s *saved) {
		s.Tries++
		s.become(record.Failed, reason)
		s.Blocks, s.Bytes = 0, 0
		change(s)
	})
	if errors.Is(err, errLet) {
		return time.Now()
	}
	if err == nil {
		err = h.store.Release(e.owner)
	}
	if err != nil {
		h.log.Error("failed pin not released; trying again", "root", e.root.String(), "error", err)
		return h.later(e, func(s *saved) { s.become(record.Pinning, reason) })
	}
	h.mu.Lock()
	e.blocks.Store(0)
	e.bytes.Store(0)
	e.large = false
	short := e.saved.Needed > 0
	if short && !e.let {
		h.short[e] = true
	}
	h.mu.Unlock()
	h.changed(e.root)
	if short {
		return time.Now().Add(retryFailed)
	}
	return time.Time{}
}

// brief prints a duration without trailing zeros: 24h.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
