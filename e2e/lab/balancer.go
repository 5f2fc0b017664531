package lab

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Balancer spreads requests over the edges that say they are ready. It asks each
// edge every tenth of a second, and does not repeat requests that failed.
type Balancer struct {
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu      sync.Mutex
	watched map[*Edge]context.CancelFunc
	ready   map[*Edge]bool
	turn    int
	order   []*Edge
}

const probeEvery = 100 * time.Millisecond

// NewBalancer starts to watch the edges. Close it.
func NewBalancer(edges ...*Edge) *Balancer {
	b := &Balancer{watched: map[*Edge]context.CancelFunc{}, ready: map[*Edge]bool{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for _, e := range edges {
		b.watch(e)
	}
	return b
}

func (b *Balancer) watch(e *Edge) {
	ctx, cancel := context.WithCancel(b.ctx)
	b.mu.Lock()
	b.watched[e] = cancel
	b.order = append(b.order, e)
	b.mu.Unlock()
	b.wg.Go(func() {
		for ctx.Err() == nil {
			ready := e.Ready(ctx)
			b.mu.Lock()
			b.ready[e] = ready && ctx.Err() == nil
			b.mu.Unlock()
			select {
			case <-time.After(probeEvery):
			case <-ctx.Done():
			}
		}
	})
}

// Replace watches another edge instead of one that has ended.
func (b *Balancer) Replace(old, with *Edge) {
	b.mu.Lock()
	b.watched[old]()
	delete(b.watched, old)
	b.ready[old] = false
	for i, e := range b.order {
		if e == old {
			b.order = append(b.order[:i], b.order[i+1:]...)
			break
		}
	}
	b.mu.Unlock()
	b.watch(with)
}

// Pick returns the next edge that is ready, or nil if none is.
func (b *Balancer) Pick() *Edge {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.order {
		b.turn = (b.turn + 1) % len(b.order)
		if e := b.order[b.turn]; b.ready[e] {
			return e
		}
	}
	return nil
}

// Load asks for files of the site, at random, so many at once, until stop is closed
// and every request has been answered.
func (b *Balancer) Load(s *Site, atOnce int, t *Tally, stop <-chan struct{}) {
	paths := s.Paths()
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				e := b.Pick()
				if e == nil {
					_ = pause(b.ctx)
					continue
				}
				ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
				t.Add(e.Fetch(ctx, s, paths[rand.IntN(len(paths))]))
				cancel()
			}
		})
	}
	wg.Wait()
}

// Close ends the watching.
func (b *Balancer) Close() {
	b.cancel()
	b.wg.Wait()
}
