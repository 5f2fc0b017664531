package swarm

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/block"
)

// failures remembers for a moment which blocks could not be had, so that a crowd
// that asks for one does not become a crowd at the origin. It is guarded by
// Swarm.mu.
type failures struct {
	keep time.Duration
	m    map[string]failure
	n    atomic.Int64 // len(m), for a look without the lock
}

type failure struct {
	err   error
	until time.Time
}

const (
	// maxFailures bounds the memory: some 10 MiB.
	maxFailures = 1 << 15
	// maxErrorMemory is the longest that an origin's wish to be left alone is
	// heeded here; the origin room has its own means.
	maxErrorMemory = 5 * time.Second
)

func newFailures(keep time.Duration) *failures {
	return &failures{keep: keep, m: map[string]failure{}}
}

// hearsay is a failure that siblings remember. Whoever remembers it, too, does so no
// longer than they: otherwise two homes that ask each other would keep it alive.
type hearsay struct {
	error
	left time.Duration // 0 from siblings of an earlier version
}

func (h *hearsay) Unwrap() error { return h.error }

// left returns for how long an error is remembered on.
func (f *failures) left(mh string) time.Duration {
	e, ok := f.m[mh]
	if !ok {
		return 0
	}
	return max(0, time.Until(e.until))
}

// get returns the error that is remembered for a block, or nil.
func (f *failures) get(mh string) error {
	e, ok := f.m[mh]
	if !ok {
		return nil
	}
	if time.Now().After(e.until) {
		f.forget(mh)
		return nil
	}
	return e.err
}

func (f *failures) add(mh string, err error) {
	keep := f.keep
	var unavailable *block.UnavailableError
	if errors.As(err, &unavailable) && unavailable.RetryAfter > keep {
		keep = min(unavailable.RetryAfter, max(maxErrorMemory, keep))
	}
	if h, ok := errors.AsType[*hearsay](err); ok {
		keep = min(keep, h.left)
	}
	now := time.Now()
	if len(f.m) >= maxFailures {
		for k, e := range f.m {
			if now.After(e.until) {
				delete(f.m, k)
			}
		}
		if len(f.m) >= maxFailures {
			clear(f.m)
		}
	}
	f.m[mh] = failure{err, now.Add(keep)}
	f.n.Store(int64(len(f.m)))
}

// some reports whether any failure is remembered. It needs no lock.
func (f *failures) some() bool { return f.n.Load() > 0 }

// forget has a block be looked for again at once.
func (f *failures) forget(mh string) {
	delete(f.m, mh)
	f.n.Store(int64(len(f.m)))
}

func (f *failures) clear() {
	clear(f.m)
	f.n.Store(0)
}
