package origin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/shoal-cdn/shoal/block"
)

// The tests of this file run in a bubble with a clock of its own: a real HTTP
// server and the origin's real client, joined by pipes in memory. A bubble ends
// only when every goroutine in it has ended.

// pipes is a network of one listener.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubble runs f with a Set of one gateway origin that h answers for.
func bubble(t *testing.T, h http.Handler, change func(*Options), f func(t *testing.T, s *Set)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		srv := &http.Server{Handler: h}
		go srv.Serve(network)
		o := gatewayOptions("http://origin.example")
		if change != nil {
			change(&o)
		}
		s, err := New(o, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		transportOf(s, 0).DialContext = network.dial
		f(t, s)
		s.Close()
		srv.Close()
	})
}

// hang answers nothing until the client goes away.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drip sends the bytes of a block in pieces.
func drip(b *block.Verified, piece int, every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b.RawData())))
		for data := b.RawData(); len(data) > 0; data = data[min(piece, len(data)):] {
			if _, err := w.Write(data[:min(piece, len(data))]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-time.After(every):
			case <-r.Context().Done():
				return
			}
		}
	}
}

func TestSlownessHasAnEnd(t *testing.T) {
	b := makeBlock(t, 100_000)
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		took time.Duration
		want error // nil: served
	}{
		"no header":            {hang, 10 * time.Second, errNoHeader},
		"header, then nothing": {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); hang(w, r) }, 5 * time.Second, errStalled},
		"one byte a second":    {drip(b, 1, time.Second), 5 * time.Second, errStalled},
		"just fast enough":     {drip(b, stallBytes+100, 4*time.Second), 25 * time.Second, errTotal},
		"slow":                 {drip(b, 10_000, time.Second), 10 * time.Second, nil},
		"slow error page":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); w.(http.Flusher).Flush(); hang(w, r) }, drainTimeout, ipld.ErrNotFound{}},
		"error page in droplets": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			drip(b, 1, 100*time.Millisecond)(w, r)
		}, drainTimeout, ipld.ErrNotFound{}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tc.h, func(o *Options) { o.Attempts = 1 }, func(t *testing.T, s *Set) {
				started := time.Now()
				err := fetch(t, s, t.Context(), b.Cid())
				if took := time.Since(started); took < tc.took-time.Second || took > tc.took+time.Second {
					t.Errorf("took %s, want about %s", took, tc.took)
				}
				switch {
				case ipld.IsNotFound(tc.want):
					if !ipld.IsNotFound(err) {
						t.Errorf("got %v", err)
					}
				case !errors.Is(err, tc.want):
					t.Errorf("got %v, want %v", err, tc.want)
				case err != nil && requests(s, outcomeTimeout) != 1:
					t.Error("not counted as a timeout")
				}
			})
		})
	}
}

func TestTotalTimeBoundsTheRetries(t *testing.T) {
	bubble(t, http.HandlerFunc(hang), func(o *Options) { o.Attempts = 10 }, func(t *testing.T, s *Set) {
		started := time.Now()
		err := fetch(t, s, t.Context(), makeBlock(t, 1).Cid())
		var unavailable *block.UnavailableError
		if took := time.Since(started); took != 25*time.Second || !errors.As(err, &unavailable) {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestNotFoundIsRememberedForAMoment(t *testing.T) {
	b := makeBlock(t, 100)
	g := newTrustless()
	bubble(t, g, nil, func(t *testing.T, s *Set) {
		for range 1000 {
			if err := fetch(t, s, t.Context(), b.Cid()); !ipld.IsNotFound(err) {
				t.Fatal(err)
			}
		}
		if n := g.requests.Load(); n != 1 || avoided(s, reasonRemembered) != 999 {
			t.Errorf("%d requests", n)
		}
		g.mu.Lock()
		g.blocks[b.Cid().String()] = b.RawData()
		g.mu.Unlock()
		time.Sleep(3 * time.Second)
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
			t.Errorf("published since: %v", err)
		}
	})
}

func TestFailureIsRememberedForAMoment(t *testing.T) {
	var n atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Add(1); status(403)(w, r) })
	bubble(t, h, nil, func(t *testing.T, s *Set) {
		b := makeBlock(t, 100)
		for range 10 {
			fetch(t, s, t.Context(), b.Cid())
		}
		if n.Load() != 1 {
			t.Errorf("%d requests", n.Load())
		}
		time.Sleep(time.Second)
		fetch(t, s, t.Context(), b.Cid())
		if n.Load() != 2 {
			t.Errorf("%d requests", n.Load())
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(time.Minute, time.Minute)
	for range memoryEntries + 100 {
		c := makeBlock(t, 16).Cid()
		m.note(c, block.NotFound(c))
	}
	if n := m.entries.Len(); n != memoryEntries {
		t.Errorf("%d entries", n)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		code  int
		value func() string
		want  time.Duration
	}{
		"429 in seconds": {429, func() string { return "30" }, 30 * time.Second},
		"503 in seconds": {503, func() string { return "7" }, 7 * time.Second},
		"503 by date":    {503, func() string { return in(90 * time.Second) }, 90 * time.Second},
		"429 by date":    {429, func() string { return in(30 * time.Second) }, 30 * time.Second},
		"429 without":    {429, func() string { return "" }, time.Second},
		"too long":       {429, func() string { return "2000000000" }, 2 * time.Minute},
		"far future":     {503, func() string { return in(1000 * time.Hour) }, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			b := makeBlock(t, 100)
			g := newTrustless(b)
			var n atomic.Int64
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 1 {
					status(tc.code, "Retry-After", tc.value())(w, r)
					return
				}
				g.ServeHTTP(w, r)
			})
			bubble(t, h, nil, func(t *testing.T, s *Set) {
				for _, c := range []*block.Verified{makeBlock(t, 1), b} {
					err := fetch(t, s, t.Context(), c.Cid())
					var unavailable *block.UnavailableError
					if !errors.As(err, &unavailable) || unavailable.RetryAfter != tc.want {
						t.Fatalf("got %v, retry after %s, want %s", err, unavailable.RetryAfter, tc.want)
					}
				}
				time.Sleep(tc.want - time.Millisecond)
				fetch(t, s, t.Context(), b.Cid())
				if n.Load() != 1 || avoided(s, reasonPaused) != 2 {
					t.Errorf("%d requests during the pause", n.Load())
				}
				time.Sleep(time.Millisecond)
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Errorf("after the pause: %v", err)
				}
			})
		})
	}
}

func TestOnlySoManyRequestsAtOnce(t *testing.T) {
	b := makeBlock(t, 100)
	var now atomic.Int64
	var release chan struct{} // made in the bubble
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now.Add(1)
		defer now.Add(-1)
		select {
		case <-release:
			w.Write(b.RawData())
		case <-r.Context().Done():
		}
	})
	bubble(t, h, func(o *Options) { o.Concurrency = 4 }, func(t *testing.T, s *Set) {
		release = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var served, gone atomic.Int64
		for i := range 32 {
			ctx := ctx
			if i >= 16 {
				ctx = t.Context()
			}
			wg.Go(func() {
				if fetch(t, s, ctx, b.Cid()) == nil {
					served.Add(1)
				} else {
					gone.Add(1)
				}
			})
		}
		synctest.Wait()
		if now.Load() != 4 {
			t.Errorf("%d requests under way", now.Load())
		}
		cancel()
		synctest.Wait()
		if now.Load() != 4 {
			t.Errorf("%d requests under way after some were given up", now.Load())
		}
		close(release)
		wg.Wait()
		if served.Load() != 16 || gone.Load() != 16 {
			t.Errorf("%d served, %d gone", served.Load(), gone.Load())
		}
	})
}

// sick is an origin whose health can be changed.
type sick struct {
	*trustless
	mode atomic.Pointer[http.HandlerFunc]
	n    atomic.Int64
}

func (s *sick) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.n.Add(1)
	if h := s.mode.Load(); h != nil {
		(*h)(w, r)
		return
	}
	s.trustless.ServeHTTP(w, r)
}

func (s *sick) set(h http.HandlerFunc) { s.mode.Store(&h) }

func breakerState(s *Set) gobreaker.State { return s.origins()[0].source.(*gateway).breaker.State() }

func TestBreakerOpensAndRecovers(t *testing.T) {
	b := makeBlock(t, 100)
	h := &sick{trustless: newTrustless(b)}
	h.set(status(500))
	bubble(t, h, func(o *Options) { o.Attempts = 1 }, func(t *testing.T, s *Set) {
		fail := func() error { return fetch(t, s, t.Context(), makeBlock(t, 8).Cid()) }
		for range 10 {
			fail()
		}
		if breakerState(s) != gobreaker.StateOpen {
			t.Fatalf("after 10 failures: %s", breakerState(s))
		}
		var unavailable *block.UnavailableError
		for range 100 {
			if err := fail(); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "too many failures") {
				t.Fatalf("got %v", err)
			}
		}
		if h.n.Load() != 10 || avoided(s, reasonOpen) != 100 {
			t.Errorf("%d requests", h.n.Load())
		}
		time.Sleep(5*time.Second + 1) // half-open: one may try, and fails
		if fail(); h.n.Load() != 11 || breakerState(s) != gobreaker.StateOpen {
			t.Errorf("%d requests, %s", h.n.Load(), breakerState(s))
		}
		h.mode.Store(nil)
		time.Sleep(5*time.Second + 1)
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil || breakerState(s) != gobreaker.StateClosed {
			t.Errorf("recovered: %v, %s", err, breakerState(s))
		}
	})
}

func TestBreakerLetsOneThrough(t *testing.T) {
	b := makeBlock(t, 100)
	h := &sick{trustless: newTrustless(b)}
	h.set(status(500))
	bubble(t, h, func(o *Options) { o.Attempts = 1 }, func(t *testing.T, s *Set) {
		for range 10 {
			fetch(t, s, t.Context(), makeBlock(t, 8).Cid())
		}
		h.set(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second); h.trustless.ServeHTTP(w, r) })
		time.Sleep(5*time.Second + 1)
		var wg sync.WaitGroup
		var served atomic.Int64
		for range 20 {
			wg.Go(func() {
				if fetch(t, s, t.Context(), b.Cid()) == nil {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		if served.Load() != 1 || h.n.Load() != 11 || breakerState(s) != gobreaker.StateClosed {
			t.Errorf("%d served, %d requests, %s", served.Load(), h.n.Load(), breakerState(s))
		}
	})
}

// TestProbeOutlivesItsVisitor: whoever happens to carry the probe may leave, and
// the breaker still learns that the origin recovered.
func TestProbeOutlivesItsVisitor(t *testing.T) {
	h := &sick{trustless: newTrustless()}
	h.set(status(500))
	bubble(t, h, func(o *Options) { o.Attempts = 1 }, func(t *testing.T, s *Set) {
		for range 10 {
			fetch(t, s, t.Context(), makeBlock(t, 8).Cid())
		}
		h.set(func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second); h.trustless.ServeHTTP(w, r) })
		time.Sleep(5*time.Second + 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		started := time.Now()
		if err := fetch(t, s, ctx, makeBlock(t, 8).Cid()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(started); took != 10*time.Millisecond {
			t.Errorf("the visitor waited %s", took)
		}
		time.Sleep(2 * time.Second)
		if breakerState(s) != gobreaker.StateClosed {
			t.Errorf("breaker %s", breakerState(s))
		}
	})
}

func TestCloseEndsAProbe(t *testing.T) {
	h := &sick{trustless: newTrustless()}
	h.set(status(500))
	bubble(t, h, func(o *Options) { o.Attempts = 1 }, func(t *testing.T, s *Set) {
		for range 10 {
			fetch(t, s, t.Context(), makeBlock(t, 8).Cid())
		}
		h.set(hang)
		time.Sleep(5*time.Second + 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		fetch(t, s, ctx, makeBlock(t, 8).Cid())
		started := time.Now()
		s.Close()
		if time.Since(started) != 0 {
			t.Errorf("Close took %s", time.Since(started))
		}
	})
}

// TestStrangersCannotOpenTheBreaker: what speaks about one CID, or about one
// visitor's patience, says nothing about the origin.
func TestStrangersCannotOpenTheBreaker(t *testing.T) {
	b := makeBlock(t, 100)
	tooLarge := func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, zeros{}, block.MaxSize+1) }
	for name, mode := range map[string]http.HandlerFunc{
		"missing": status(404), "gone": status(410), "unknown codec": status(400), "not allowed": status(403),
		"not found in time": status(504), "too large": tooLarge, "impatience": hang,
	} {
		t.Run(name, func(t *testing.T) {
			h := &sick{trustless: newTrustless(b)}
			h.set(mode)
			bubble(t, h, nil, func(t *testing.T, s *Set) {
				for range 30 {
					ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
					if fetch(t, s, ctx, makeBlock(t, 8).Cid()) == nil {
						t.Error("served")
					}
					cancel()
				}
				h.mode.Store(nil)
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil || breakerState(s) != gobreaker.StateClosed {
					t.Errorf("%v, breaker %s", err, breakerState(s))
				}
			})
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
