package block

import (
	"context"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Source says where a block was found. A larger value is farther away, so the
// maximum over the blocks of a response is the farthest place that it reached.
type Source uint8

// The places a block can come from, nearest first.
const (
	Memory  Source = iota // the cache in this process
	Disk                  // this edge's block store
	Sibling               // another edge of the fleet
	Origin                // where content comes from when no edge has it
)

// Sources lists every Source, nearest first.
var Sources = [...]Source{Memory, Disk, Sibling, Origin}

// String returns the name used in metrics and in the Cache-Status header.
func (s Source) String() string {
	switch s {
	case Memory:
		return "memory"
	case Disk:
		return "disk"
	case Sibling:
		return "sibling"
	case Origin:
		return "origin"
	}
	return fmt.Sprintf("source(%d)", uint8(s))
}

// Getter is one layer on the path of a miss: memory, then disk, then siblings,
// then the origin.
//
// Get returns the block and where it was found. A block that nobody has is an
// [ipld.ErrNotFound]; content that may exist but cannot be had now is an
// [*UnavailableError]; when ctx ends first, the error wraps its cause. Get may be
// called from many goroutines at once. The block's bytes must not be changed.
type Getter interface {
	Get(ctx context.Context, c cid.Cid) (*Verified, Source, error)
}

// NotFound returns the error for a block that was looked for and is not there.
// [ipld.IsNotFound] recognises it, also when wrapped.
func NotFound(c cid.Cid) error { return ipld.ErrNotFound{Cid: c} }

// UnavailableError says that a block could not be fetched although it may exist:
// the place that should have it failed, was overloaded, or sent wrong bytes.
type UnavailableError struct {
	Cid cid.Cid
	// From names who failed, in an operator's words ("origin https://..."). It is
	// for logs and never shown to a visitor.
	From string
	// RetryAfter is how long the other side asked us to wait; 0 when it did not.
	RetryAfter time.Duration
	Err        error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("block %s: %s: %v", e.Cid, e.From, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }
