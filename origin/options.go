package origin

import (
	"fmt"
	"time"
)

// Options says which origins there are and how carefully they are asked. The
// limits apply to each gateway origin separately; car origins need none.
type Options struct {
	// Origins are asked in this order. None is fine: then nothing is ever found.
	Origins []Spec

	// Concurrency is how many requests one origin is sent at once; more wait for
	// their turn. Each may hold one block of up to block.MaxSize (2 MiB), so this
	// also bounds the memory that origins can make an edge use.
	Concurrency int
	// Attempts is how often one block is requested from one origin before it counts
	// as failed. 1 means no retries.
	Attempts int

	// DialTimeout bounds connecting (TCP, and then TLS once more).
	DialTimeout time.Duration
	// HeaderTimeout bounds one attempt until the response's header is there,
	// connecting and redirects included.
	HeaderTimeout time.Duration
	// StallTimeout ends a body of which less than 4 KiB arrived in this time.
	StallTimeout time.Duration
	// TotalTimeout bounds one block from one origin: the wait for a turn, all
	// attempts and the pauses between them.
	TotalTimeout time.Duration

	// NotFoundTTL is how long "not found" is remembered for one block.
	NotFoundTTL time.Duration
	// FailureTTL is how long a failure is remembered for one block, and how long an
	// origin is left alone after a 429 that does not say for how long.
	FailureTTL time.Duration
	// MaxRetryAfter caps the pause that an origin may ask for with Retry-After.
	MaxRetryAfter time.Duration

	// BreakerFailures is how many failed attempts within half a minute open an
	// origin's circuit breaker, when they are also at least as many as the
	// successful ones.
	BreakerFailures int
	// BreakerOpen is how long an open breaker refuses requests before it lets one
	// through to see whether the origin recovered.
	BreakerOpen time.Duration
}

// DefaultOptions returns the defaults, without any origin.
func DefaultOptions() Options {
	return Options{
		Concurrency:     64,
		Attempts:        3,
		DialTimeout:     5 * time.Second,
		HeaderTimeout:   10 * time.Second,
		StallTimeout:    5 * time.Second,
		TotalTimeout:    25 * time.Second,
		NotFoundTTL:     3 * time.Second,
		FailureTTL:      time.Second,
		MaxRetryAfter:   2 * time.Minute,
		BreakerFailures: 10,
		BreakerOpen:     5 * time.Second,
	}
}

// Validate reports the first wrong value, naming the field, the value and what
// was expected. It does not look at the network or at the disk.
func (o Options) Validate() error {
	for _, f := range []struct {
		name          string
		value, lo, hi int
	}{
		{"Concurrency", o.Concurrency, 1, 4096},
		{"Attempts", o.Attempts, 1, 10},
		{"BreakerFailures", o.BreakerFailures, 1, 1 << 20},
	} {
		if f.value < f.lo || f.value > f.hi {
			return fmt.Errorf("origin %s: %d: expected a number from %d to %d", f.name, f.value, f.lo, f.hi)
		}
	}
	for _, f := range []struct {
		name   string
		value  time.Duration
		lo, hi time.Duration
	}{
		{"DialTimeout", o.DialTimeout, time.Millisecond, time.Hour},
		{"HeaderTimeout", o.HeaderTimeout, time.Millisecond, time.Hour},
		{"StallTimeout", o.StallTimeout, time.Millisecond, time.Hour},
		{"TotalTimeout", o.TotalTimeout, time.Millisecond, time.Hour},
		{"NotFoundTTL", o.NotFoundTTL, 0, time.Minute},
		{"FailureTTL", o.FailureTTL, 0, time.Minute},
		{"MaxRetryAfter", o.MaxRetryAfter, 0, 24 * time.Hour},
		{"BreakerOpen", o.BreakerOpen, time.Millisecond, time.Hour},
	} {
		if f.value < f.lo || f.value > f.hi {
			return fmt.Errorf("origin %s: %s: expected a duration from %s to %s", f.name, f.value, f.lo, f.hi)
		}
	}
	for i, s := range o.Origins {
		if err := s.validate(); err != nil {
			return fmt.Errorf("origins[%d].%w", i, err)
		}
	}
	return nil
}
