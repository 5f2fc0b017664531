package block

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Quota bounds the bytes of blocks that are on their way: read from an origin, and neither
// kept nor written yet. Without it a burst of large ones takes as much memory as there are
// requests. It is safe for concurrent use.
type Quota struct {
	free *semaphore.Weighted
	most int64
}

// NewQuota returns a quota of so many bytes.
func NewQuota(most int64) *Quota { return &Quota{semaphore.NewWeighted(most), most} }

// share is what one fetch has of a quota. One goroutine at a time uses it.
type share struct {
	quota *Quota
	has   int64
}

type shareKey struct{}

// Begin returns the context of one fetch, for [Reserve]. When end is called, what the fetch
// has reserved is free again.
func (q *Quota) Begin(ctx context.Context) (fetch context.Context, end func()) {
	s := &share{quota: q}
	return context.WithValue(ctx, shareKey{}, s), s.release
}

// Reserve waits until so many bytes of a block may come in for the fetch that ctx is of. It
// has them until the fetch ends, or reserves anew. An error is the cause of ctx's end.
// Without a quota it does nothing.
func Reserve(ctx context.Context, bytes int64) error {
	s, _ := ctx.Value(shareKey{}).(*share)
	if s == nil {
		return nil
	}
	// Who has some and waits for more would wait for others who do.
	s.release()
	bytes = min(bytes, s.quota.most)
	if s.quota.free.Acquire(ctx, bytes) != nil {
		return context.Cause(ctx)
	}
	s.has = bytes
	return nil
}

func (s *share) release() {
	s.quota.free.Release(s.has)
	s.has = 0
}
