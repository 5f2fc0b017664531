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
}

const (
	// dialTimeout bounds connecting (TCP, and then TLS once more).
	dialTimeout = 5 * time.Second
	// headerTimeout bounds one attempt until the response's header is there,
	// connecting and redirects included.
	headerTimeout = 10 * time.Second
	// stallTimeout ends a body of which less than 4 KiB arrived in this time.
	stallTimeout = 5 * time.Second
	// totalTimeout bounds one block from one origin: the wait for a turn, all
	// attempts and the pauses between them.
	totalTimeout = 25 * time.Second

	// notFoundTTL is how long "not found" is remembered for one block.
	notFoundTTL = 3 * time.Second
	// failureTTL is how long a failure is remembered for one block, and how long an
	// origin is left alone after a 429 that does not say for how long.
	failureTTL = time.Second
	// maxRetryAfter caps the pause that an origin may ask for with Retry-After.
	maxRetryAfter = 2 * time.Minute

	// breakerFailures is how many failed attempts within half a minute open an
	// origin's circuit breaker, when they are also at least as many as the
	// successful ones.
	breakerFailures = 10
	// breakerOpen is how long an open breaker refuses requests before it lets one
	// through to see whether the origin recovered.
	breakerOpen = 5 * time.Second
)

// DefaultOptions returns the defaults, without any origin.
func DefaultOptions() Options { return Options{Concurrency: 64, Attempts: 3} }

// Validate reports the first wrong value, naming the field, the value and what
// was expected. It does not look at the network or at the disk.
func (o Options) Validate() error {
	for _, f := range []struct {
		name          string
		value, lo, hi int
	}{
		{"Concurrency", o.Concurrency, 1, 4096},
		{"Attempts", o.Attempts, 1, 10},
	} {
		if f.value < f.lo || f.value > f.hi {
			return fmt.Errorf("origin %s: %d: expected a number from %d to %d", f.name, f.value, f.lo, f.hi)
		}
	}
	for i, s := range o.Origins {
		if err := s.validate(); err != nil {
			return fmt.Errorf("origins[%d].%w", i, err)
		}
	}
	return nil
}
