package origin

import (
	"errors"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// A failure is why one origin did not give a block that it may have.
type failure struct {
	outcome outcome
	// retry says that the same request may succeed a moment later.
	retry bool
	// blame says that the origin is unwell, and not just this one block.
	blame bool
	// wait is how long the origin asked us to stay away; 0 when it did not.
	wait time.Duration
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// outcomeOf names how a request ended for the metrics.
func outcomeOf(err error) outcome {
	var f *failure
	switch {
	case err == nil:
		return outcomeOK
	case ipld.IsNotFound(err):
		return outcomeNotFound
	case errors.As(err, &f):
		return f.outcome
	}
	return outcomeError
}

// Why a request was ended from this side. They are causes of contexts.
var (
	errClosed   = errors.New("the origins were closed")
	errTotal    = errors.New("no block within the total time")
	errNoHeader = errors.New("no response header in time")
	errStalled  = errors.New("the response stalled")
)
