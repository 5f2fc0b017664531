package names

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// failover asks DNS resolvers in order until one has a definite answer. One that
// has failed several times in a row is asked last for a while, so that a dead
// first resolver does not cost every lookup its timeout.
type failover struct {
	resolvers []*upstream
	timeout   time.Duration // for one resolver
}

func (f *failover) txt(ctx context.Context, fqdn string) ([]string, time.Duration, error) {
	var errs []error
	for _, u := range f.order() {
		records, ttl, err := f.ask(ctx, u, fqdn)
		if _, denied := errors.AsType[*noRecordError](err); err == nil || denied {
			u.answered()
			return records, ttl, err
		}
		errs = append(errs, fmt.Errorf("ask %v: %w", u.resolver, err))
		if ctx.Err() != nil {
			break
		}
		// What a resolver says about one name is no fault of the resolver.
		if _, ok := errors.AsType[*rcodeError](err); ok {
			u.answered()
		} else {
			u.failed(err)
		}
	}
	return nil, 0, errors.Join(errs...)
}

func (f *failover) ask(ctx context.Context, u *upstream, fqdn string) ([]string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return u.resolver.txt(ctx, fqdn)
}

func (f *failover) order() []*upstream {
	var up, down []*upstream
	now := time.Now()
	for _, u := range f.resolvers {
		if u.avoided(now) {
			down = append(down, u)
		} else {
			up = append(up, u)
		}
	}
	return append(up, down...)
}

const (
	// downAfter failures in a row a place counts as down,
	downAfter = 3
	// and it is avoided, where there is another, for this long.
	downFor = 30 * time.Second
)

// upstream is a place that is asked, and how it has been doing.
type upstream struct {
	resolver txtResolver
	health
}

// health logs once that a place is down, and once that it is back.
type health struct {
	log   *slog.Logger
	what  string
	mu    sync.Mutex // guards what follows
	fails int
	until time.Time
}

func (h *health) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails >= downAfter {
		h.log.Info("answers again", "server", h.what)
	}
	h.fails, h.until = 0, time.Time{}
}

func (h *health) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails++; h.fails == downAfter {
		h.log.Warn("does not answer; names already known are served on", "server", h.what, "error", err)
	}
	if h.fails >= downAfter {
		h.until = time.Now().Add(downFor)
	}
}

func (h *health) avoided(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.until)
}
