package hold

import (
	"fmt"
	"time"
)

// Options are the limits of a [Holder]. Start from [DefaultOptions].
type Options struct {
	// DAGs is how many are walked at once. A quarter of the places, at least one, is
	// for DAGs that are not known to be large; a single place is for all.
	DAGs int

	// MaxBlocks, MaxDepth and MaxLinks bound one DAG: its blocks, the links on the way
	// from the root to a block, the links of one block. A block that is walked
	// takes up to 32 bytes of memory until its walk is over.
	MaxBlocks, MaxDepth, MaxLinks int

	// RetryFirst and RetryMost are the pauses before the second try and between later
	// ones; they double from one to the other, and begin again when a try brought
	// something new.
	RetryFirst, RetryMost time.Duration
	// GiveUp is how long a block may be nowhere before the root fails.
	GiveUp time.Duration

	// VerifyEvery is how often each root is read through; 0 never.
	VerifyEvery time.Duration
	// VerifyRate bounds that, in bytes per second. Checks on demand are not bounded.
	VerifyRate int64
}

const (
	// parallel and parallelBytes bound what one walk fetches at once.
	parallel      = 16
	parallelBytes = 8 << 20
	// fetchTimeout bounds how long one source may take for one block.
	fetchTimeout = time.Minute
	// retryFailed is how long a root that has failed is left alone, whoever asks
	// for it again, unless new origins are named. One that did not fit is looked at again
	// that often, too.
	retryFailed = time.Hour
)

// DefaultOptions keeps what is fetched at once below 64 MiB and pins DAGs of up to ten
// million blocks (2.5 TB in blocks of 256 KiB).
func DefaultOptions() Options {
	return Options{
		DAGs: 8, MaxBlocks: 10_000_000, MaxDepth: 4096, MaxLinks: 1 << 16,
		RetryFirst: 2 * time.Second, RetryMost: 30 * time.Minute, GiveUp: 24 * time.Hour,
		VerifyEvery: 7 * 24 * time.Hour, VerifyRate: 8 << 20,
	}
}

// Validate reports the first setting that cannot work.
func (o Options) Validate() error {
	for _, n := range []struct {
		name        string
		value       int64
		least, most int64
	}{
		{"DAGs", int64(o.DAGs), 1, 1024},
		{"MaxBlocks", int64(o.MaxBlocks), 1, 1 << 32},
		{"MaxDepth", int64(o.MaxDepth), 1, 1 << 32},
		{"MaxLinks", int64(o.MaxLinks), 1, 1 << 32},
		{"VerifyRate", o.VerifyRate, 1 << 10, 1 << 40},
	} {
		if n.value < n.least || n.value > n.most {
			return fmt.Errorf("pin: %s: %d: expected %d to %d", n.name, n.value, n.least, n.most)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"RetryFirst", o.RetryFirst, time.Millisecond},
		{"RetryMost", o.RetryMost, o.RetryFirst}, {"GiveUp", o.GiveUp, 0}, {"VerifyEvery", o.VerifyEvery, 0},
	} {
		if d.value < d.least {
			return fmt.Errorf("pin: %s: %s: expected at least %s", d.name, d.value, d.least)
		}
	}
	return nil
}
