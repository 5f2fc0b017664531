package origin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/sony/gobreaker/v2"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/work"
)

// gateway is one trustless HTTP gateway. client.go has a single exchange with it;
// this file has what stands in front: memory, pause, turn, breaker, retries.
type gateway struct {
	base    *url.URL // without user info
	header  http.Header
	opts    Options
	log     *slog.Logger
	meter   *meter
	client  *http.Client
	memory  *memory
	pause   pause
	turns   chan struct{} // one token for each request under way
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	blamed  atomic.Pointer[failure] // the last thing that the breaker counted

	life    context.Context // ends with close
	end     context.CancelCauseFunc
	running work.Group // the callers of get, and probes whose caller has gone
}

func newGateway(spec Spec, o Options, log *slog.Logger, m *meter) (*gateway, error) {
	base, err := url.Parse(spec.URL)
	if err != nil {
		return nil, errors.New("not a URL") // its error quotes the password
	}
	g := &gateway{
		header: credentials(spec, base.User),
		opts:   o,
		log:    log,
		meter:  m,
		memory: newMemory(notFoundTTL, failureTTL),
		turns:  make(chan struct{}, o.Concurrency),
	}
	base.User = nil
	if base.Path == "" {
		base.Path = "/" // or JoinPath makes a relative path
	}
	g.base = base.JoinPath("ipfs")
	g.client = newClient(g.base, g.header, o)
	g.life, g.end = context.WithCancelCause(context.Background())
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Interval:     30 * time.Second,
		BucketPeriod: 3 * time.Second,
		MaxRequests:  1,
		Timeout:      breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.TotalFailures >= breakerFailures && c.TotalFailures >= c.TotalSuccesses
		},
		OnStateChange: func(_ string, from, to gobreaker.State) { g.breakerChanged(from, to) },
	})
	if ip := net.ParseIP(base.Hostname()); len(g.header) > 0 && base.Scheme == "http" && !ip.IsLoopback() {
		log.Warn("credentials for this origin travel unencrypted: use https")
	}
	return g, nil
}

func (g *gateway) get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	if err := g.memory.recall(c); err != nil {
		g.meter.avoid(reasonRemembered)
		return nil, err
	}
	if !g.running.Enter() {
		return nil, &failure{outcome: outcomeCanceled, err: errClosed}
	}
	defer g.running.Leave()

	all, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.life, func() { cancel(errClosed) })()
	all, stop := context.WithTimeoutCause(all, totalTimeout, errTotal)
	defer stop()

	b, err := g.retry(all, c)
	if err != nil && ctx.Err() == nil {
		g.memory.note(c, err)
	}
	return b, err
}

// retry tries until the block is there or another attempt makes no sense.
func (g *gateway) retry(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	var last error
	b, err := backoff.Retry(ctx, func() (*block.Verified, error) {
		b, err := g.try(ctx, c)
		if err == nil {
			return b, nil
		}
		// What the first attempt met says more than "the breaker is open now".
		if f, ok := errors.AsType[*failure](err); last == nil || !ok || f.outcome != "" {
			last = err
		}
		if f, ok := errors.AsType[*failure](err); !ok || !f.retry {
			return nil, backoff.Permanent(err)
		}
		return nil, err
	}, backoff.WithMaxTries(uint(g.opts.Attempts)), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 3, MaxInterval: 2 * time.Second,
	}))
	if err == nil {
		return b, nil
	}
	return nil, last
}

// try makes one request, if pause, turn and breaker let it.
func (g *gateway) try(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	if err := g.paused(); err != nil {
		return nil, err
	}
	select {
	case g.turns <- struct{}{}:
	default:
		select {
		case g.turns <- struct{}{}:
		case <-ctx.Done():
			g.meter.avoid(reasonBusy)
			return nil, &failure{err: fmt.Errorf("waiting for one of %d requests under way: %w", cap(g.turns), context.Cause(ctx))}
		}
	}
	// The origin may have asked for a pause while this caller was waiting.
	if err := g.paused(); err != nil {
		<-g.turns
		return nil, err
	}
	report, err := g.breaker.Allow()
	if err != nil {
		<-g.turns
		g.meter.avoid(reasonOpen)
		return nil, &failure{err: fmt.Errorf("left alone after too many failures: %w", err)}
	}
	if g.breaker.State() == gobreaker.StateHalfOpen {
		return g.probe(ctx, c, report)
	}
	defer func() { <-g.turns }()
	b, err := g.exchange(ctx, c)
	if healthy, known := g.verdict(err); known {
		report(healthy)
	}
	return b, err
}

// probe is the one request that a half-open breaker lets through. The breaker
// waits for its result, and a visitor who goes away gives none: so it runs to its
// end without them.
func (g *gateway) probe(ctx context.Context, c cid.Cid, report func(bool)) (*block.Verified, error) {
	type result struct {
		b   *block.Verified
		err error
	}
	done := make(chan result, 1)
	if !g.running.Go(func() {
		defer func() { <-g.turns }()
		probe, cancel := context.WithTimeoutCause(g.life, totalTimeout, errTotal)
		defer cancel()
		b, err := g.exchange(probe, c)
		healthy, known := g.verdict(err)
		report(healthy || !known && g.life.Err() == nil) // it answered, whatever it said
		done <- result{b, err}
	}) {
		<-g.turns
		report(true) // nothing was learnt, and nobody asks any more
		return nil, &failure{outcome: outcomeCanceled, err: errClosed}
	}
	select {
	case r := <-done:
		return r.b, r.err
	case <-ctx.Done():
		return nil, ended(ctx)
	}
}

// paused returns an error while the pause that the origin asked for lasts.
func (g *gateway) paused() error {
	left := g.pause.left()
	if left <= 0 {
		return nil
	}
	g.meter.avoid(reasonPaused)
	return &failure{wait: left, err: fmt.Errorf("it asked not to be asked for another %s", left.Round(time.Millisecond))}
}

// verdict says what the end of a request tells about the origin's health, and
// whether it tells anything.
func (g *gateway) verdict(err error) (healthy, known bool) {
	if err == nil || ipld.IsNotFound(err) {
		return true, true
	}
	f, ok := errors.AsType[*failure](err)
	if !ok || !f.blame {
		return false, false
	}
	g.blamed.Store(f)
	return false, true
}

// breakerChanged logs what an operator should know: that an origin is left alone
// and why, and that it is back. The probes in between are details.
func (g *gateway) breakerChanged(from, to gobreaker.State) {
	g.meter.state.Set(float64(to))
	switch {
	case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
		g.log.Warn("origin fails and is left alone", "retry_in", breakerOpen, "last_err", g.blamed.Load())
	case to == gobreaker.StateClosed:
		g.log.Info("origin is back")
	default:
		g.log.Debug("origin circuit breaker", "from", from.String(), "to", to.String())
	}
}

func (g *gateway) close() error {
	g.running.Close(func() { g.end(errClosed) })
	g.client.CloseIdleConnections()
	return nil
}

// pause is until when an origin wants to be left alone.
type pause struct {
	mu    sync.Mutex
	until time.Time
}

// extend makes the pause last d from now, if it would end sooner.
func (p *pause) extend(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.until)
}
