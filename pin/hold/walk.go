package hold

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

// missesInARow is after how many absent blocks, one after the other, a walk
// stops: by then it is the source that is gone and not a block.
const missesInARow = 32

// walk goes through the DAG below a root and goes on past blocks that are absent.
type walk struct {
	*dag.Walk
	missing int64    // blocks that could not be had
	misses  int      // of them, how many since the last that could
	first   *absence // of them
}

// newWalk returns a walk that has as many blocks under way as parallel says.
func newWalk(opts Options, parallel int, v dag.Visitor) *walk {
	limits := dag.DefaultLimits()
	limits.Blocks, limits.Depth, limits.Links = opts.MaxBlocks, opts.MaxDepth, opts.MaxLinks
	limits.Parallel, limits.ParallelBytes = parallel, parallelBytes
	return &walk{Walk: dag.NewWalk(limits, v)}
}

// remember notes that the owner holds a block already.
func (w *walk) remember(h multihash.Multihash) error {
	w.Remember(h)
	return nil
}

// run returns nil when every block was dealt with, an *absence for the first that
// could not be had, or what ended the walk.
func (w *walk) run(ctx context.Context, root cid.Cid) error {
	err := w.Run(ctx, root)
	switch {
	case errors.Is(err, dag.ErrLimit):
		return refuse("%v", err)
	case err == nil && w.first != nil:
		return w.first
	}
	return err
}

// took takes in a visit. It returns true when there is a block that the owner is to
// hold, and an error when the walk must end.
func (w *walk) took(ctx context.Context, v dag.Visited) (bool, error) {
	if gone, ok := errors.AsType[*absence](v.Err); ok && ctx.Err() == nil {
		w.missing++
		w.misses++
		// What is nowhere says more than what cannot be reached now.
		if w.first == nil || gone.nowhere && !w.first.nowhere {
			w.first = gone
		}
		if w.misses >= missesInARow {
			return false, w.first
		}
		return false, nil
	}
	switch {
	case errors.Is(v.Err, block.ErrUnsupported):
		return false, refuse("a block cannot be verified: %v", v.Err)
	case errors.Is(v.Err, dag.ErrMalformed), errors.Is(v.Err, dag.ErrCodec), errors.Is(v.Err, dag.ErrLimit):
		return false, refuse("%v", v.Err)
	case v.Err != nil:
		return false, v.Err
	}
	w.misses = 0
	return !v.Inline, nil
}
