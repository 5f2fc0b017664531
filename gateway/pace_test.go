package gateway

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// paced is a pacer with processors that are as busy as the test says.
type paced struct {
	*pacer
	share atomic.Uint64 // late goroutines of a thousand
}

func withPaced(t *testing.T, f func(t *testing.T, p *paced)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		p := &paced{pacer: newPacer(ctx)}
		p.crowded = func() float64 { return float64(p.share.Load()) / 1000 }
		f(t, p)
		end()
		synctest.Wait()
		if p.ticks >= 0 {
			t.Error("somebody looks still")
		}
	})
}

// hitsAt counts so many hits per second until the function returned is called.
func (p *paced) hitsAt(perSecond int64) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			p.hits.Add(perSecond / 1000)
			time.Sleep(time.Millisecond)
		}
	})
	return func() { stop(); done.Wait() }
}

// begins counts who begins in d, when so many always want to.
func (p *paced) begins(t *testing.T, crowd int, d time.Duration) (n int64) {
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	var begun atomic.Int64
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for p.wait(ctx, crowd) == nil && ctx.Err() == nil {
				begun.Add(1)
				time.Sleep(time.Millisecond) // what it takes
			}
		})
	}
	all.Wait()
	return begun.Load()
}

func TestPace(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	const least = 2 * leastPace
	for name, tc := range map[string]struct {
		late        uint64 // of a thousand
		hits        int64  // per second
		least, most int64  // of 20 000 long answers that would begin in two seconds
	}{
		"time to spare":                {100, 64_000, 19_000, 20_100},
		"no hits":                      {900, 0, 19_000, 20_100},
		"short of processors":          {900, 128_000, 7000, 9500},
		"short of them, with few hits": {900, 5000, least - 50, 4 * least},
	} {
		t.Run(name, func(t *testing.T) {
			withPaced(t, func(t *testing.T, p *paced) {
				p.share.Store(tc.late)
				end := p.hitsAt(tc.hits)
				if n := p.begins(t, 10, 2*time.Second); n < tc.least || n > tc.most {
					t.Errorf("%d began in two seconds", n)
				}
				end()
			})
		})
	}
}

// Whoever waits goes on as soon as there are no hits any more, or time to spare.
func TestPaceOpens(t *testing.T) {
	for name, relieve := range map[string]func(p *paced, end func()){
		"no hits":       func(_ *paced, end func()) { end() },
		"time to spare": func(p *paced, _ func()) { p.share.Store(0) },
	} {
		t.Run(name, func(t *testing.T) {
			withPaced(t, func(t *testing.T, p *paced) {
				p.share.Store(900)
				var once sync.Once
				stop := p.hitsAt(64_000)
				end := func() { once.Do(stop) }
				defer end()
				if n := p.begins(t, 10, time.Second); n > 5000 {
					t.Errorf("%d began: that is no pace", n)
				}
				relieve(p, end)
				p.begins(t, 10, time.Second)
				if n := p.begins(t, 10, time.Second); n < 9500 {
					t.Errorf("%d began in a second with nothing in their way", n)
				}
			})
		})
	}
}

// A place in the queue is bounded in number and in time, and the first one goes first.
func TestPaceQueue(t *testing.T) {
	withPaced(t, func(t *testing.T, p *paced) {
		p.share.Store(900)
		end := p.hitsAt(64_000)
		p.begins(t, 10, time.Second)
		var order []int
		var mu sync.Mutex
		var all sync.WaitGroup
		gone, leave := context.WithCancel(t.Context())
		defer leave()
		for i := range 20 {
			ctx := t.Context()
			if i == 10 {
				ctx = gone
			}
			all.Go(func() {
				err := p.wait(ctx, 20)
				mu.Lock()
				defer mu.Unlock()
				if order = append(order, i); (err != nil) != (i == 10) {
					t.Errorf("%d: %v", i, err)
				}
			})
			synctest.Wait()
			if i == 10 {
				leave()
				synctest.Wait()
			}
		}
		if err := p.wait(t.Context(), 1); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("one more than may wait: %v", err)
		}
		all.Wait()
		end()
		for at, i := range order {
			if i != 10 && (at-i > 8 || i-at > 8) { // some begin together
				t.Errorf("the order was %v", order)
				break
			}
		}
	})
}

// The runtime says how long goroutines wait.
func TestSchedLoad(t *testing.T) {
	var s schedLoad
	s.late()
	var all sync.WaitGroup
	for range 10_000 {
		all.Go(func() {})
	}
	all.Wait()
	if share := s.late(); share < 0 || share > 1 {
		t.Errorf("a share of %g", share)
	}
	if len(s.sample) == 0 || s.sample[0].Value.Float64Histogram() == nil {
		t.Error("the runtime does not tell")
	}
}
