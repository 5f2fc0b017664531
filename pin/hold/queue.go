package hold

import (
	"container/heap"
	"context"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
)

// largeDAG is how many blocks a DAG has before it counts as large.
const largeDAG = 4096

// queue is a heap of entries by when they are due; the entries know their place.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements [heap.Interface].
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.at, e.queue = len(*q), q
	*q = append(*q, e)
}

// Pop implements [heap.Interface].
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.at, e.queue = -1, nil
	return e
}

// plan has e tried at due. The caller holds mu.
func (h *Holder) plan(e *entry, due time.Time) {
	h.unplan(e)
	e.due = due
	if e.large {
		heap.Push(&h.large, e)
	} else {
		heap.Push(&h.small, e)
	}
	h.wake.Give()
}

func (h *Holder) unplan(e *entry) {
	if e.queue != nil {
		heap.Remove(e.queue, e.at)
	}
}

// schedule begins attempts as they become due and as there are places.
func (h *Holder) schedule(swept chan<- struct{}) {
	defer h.running.Done()
	h.sweep()
	close(swept)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := h.beginDue()
		if wait >= 0 {
			timer.Reset(wait)
		}
		select {
		case <-h.wake:
		case <-timer.C:
		case <-h.ctx.Done():
			return
		}
	}
}

// beginDue begins what is due, and returns in how long something else will be; -1
// for never, or when a place must become free first.
func (h *Holder) beginDue() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for h.walks < h.opts.DAGs && h.ctx.Err() == nil {
		e := h.nextDue(now)
		if e == nil {
			break
		}
		heap.Remove(e.queue, e.at)
		h.walks++
		ctx, j := h.take(e)
		if j.large = e.large; j.large {
			h.largeWalks++
		}
		h.running.Go(func() {
			next := h.attempt(ctx, e)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.walks--
			delete(h.claims, e)
			if j.large {
				h.largeWalks--
			}
			h.giveBack(e, next)
		})
	}
	if h.walks >= h.opts.DAGs {
		return -1
	}
	wait := time.Duration(-1)
	for _, q := range []queue{h.small, h.large} {
		if len(q) > 0 {
			if in := max(q[0].due.Sub(now), time.Millisecond); (wait < 0 || in < wait) && (q[0].due.After(now)) {
				wait = in
			}
		}
	}
	return wait
}

// nextDue returns the entry to try next, or nil.
func (h *Holder) nextDue(now time.Time) *entry {
	var next *entry
	if len(h.small) > 0 && !h.small[0].due.After(now) {
		next = h.small[0]
	}
	if len(h.large) > 0 && !h.large[0].due.After(now) && h.placeForLarge() && (next == nil || h.large[0].due.Before(next.due)) {
		next = h.large[0]
	}
	return next
}

// placeForLarge reports whether another large DAG may be walked.
func (h *Holder) placeForLarge() bool {
	if h.opts.DAGs == 1 {
		return true
	}
	return h.largeWalks < h.opts.DAGs-max(1, h.opts.DAGs/4)
}

// grow notes that the DAG of e is large, and reports whether its walk may go on.
func (h *Holder) grow(e *entry) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.large = true
	if e.busy.large {
		return true
	}
	if !h.placeForLarge() {
		return false
	}
	e.busy.large = true
	h.largeWalks++
	return true
}

// take gives an entry that is at rest to the caller alone, until giveBack. The
// caller holds mu. The context ends when the root is let go.
func (h *Holder) take(e *entry) (context.Context, *job) {
	ctx, cancel := context.WithCancelCause(h.ctx)
	e.busy = &job{cancel: cancel, done: make(chan struct{})}
	return ctx, e.busy
}

// giveBack ends what take began, and plans the next try unless next is zero. The
// caller holds mu.
func (h *Holder) giveBack(e *entry, next time.Time) {
	if e.saved.Status != record.Pinning {
		e.dismissPeers()
	}
	e.busy.cancel(nil)
	close(e.busy.done)
	e.busy = nil
	if s := e.saved.Status; next.IsZero() && (s == record.Queued || s == record.Pinning) {
		next = time.Now() // it was let go and is wanted again since
	}
	switch {
	case e.let:
		h.leave(e)
	case !next.IsZero():
		h.plan(e, next)
	}
	h.wake.Give()
}
