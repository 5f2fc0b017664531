package list

import (
	"fmt"
	"time"
)

// Options say how eagerly an edge keeps its list like the others'.
type Options struct {
	// Interval is how often an edge compares its list with that of one sibling, each
	// in turn of up to eight, and tries one again that could not be reached. Up to eight
	// siblings are compared with as soon as they appear, which is noticed as often.
	Interval time.Duration
}

const (
	// timeout ends a call that carries much and is not answered. One that carries
	// little ends sooner, after an Interval.
	timeout = 10 * time.Second
	// outbox bounds what waits to be told to one sibling, in bytes. A sibling for
	// whom more would wait is left to find out when lists are compared.
	outbox = 4 << 20
)

// DefaultOptions returns the values that fit all but very distant fleets.
func DefaultOptions() Options {
	return Options{Interval: time.Second}
}

// Validate checks the values.
func (o Options) Validate() error {
	if o.Interval < 10*time.Millisecond {
		return fmt.Errorf("interval %v: 10ms or more is expected", o.Interval)
	}
	return nil
}
