package list

import (
	"fmt"
	"time"
)

// Options say how eagerly an edge keeps its list like the others'.
type Options struct {
	// Interval is how often an edge compares its list with that of one sibling, each
	// in turn, and tries one again that could not be reached. A sibling that appears
	// is compared with at once.
	Interval time.Duration
	// Timeout ends a call that carries much and is not answered. One that carries
	// little ends sooner, after an Interval.
	Timeout time.Duration
	// Outbox bounds what waits to be told to one sibling, in bytes. A sibling for
	// whom more would wait is left to find out when lists are compared.
	Outbox int
}

// DefaultOptions returns the values that fit all but very distant fleets.
func DefaultOptions() Options {
	return Options{Interval: time.Second, Timeout: 10 * time.Second, Outbox: 4 << 20}
}

// Validate checks the values.
func (o Options) Validate() error {
	switch {
	case o.Interval < 10*time.Millisecond:
		return fmt.Errorf("interval %v: 10ms or more is expected", o.Interval)
	case o.Timeout < 10*time.Millisecond:
		return fmt.Errorf("timeout %v: 10ms or more is expected", o.Timeout)
	case o.Outbox < maxMessage:
		return fmt.Errorf("outbox %d: at least %d bytes are expected", o.Outbox, maxMessage)
	}
	return nil
}
