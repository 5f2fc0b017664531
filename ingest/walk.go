package ingest

import (
	"context"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

// holdBatch is how many blocks a walk holds in one call.
const holdBatch = 256

// walk checks that every block below root is on this edge, and passes their CIDs
// to hold, if there is one. A block that is missing or wrong is a [problem.BadRequest] naming it,
// and so is a DAG over a limit.
func (in *Ingester) walk(ctx context.Context, root cid.Cid, hold func(...cid.Cid) error) error {
	var batch []cid.Cid
	flush := func() error {
		if hold == nil || len(batch) == 0 {
			return nil
		}
		if err := hold(batch...); err != nil {
			return fmt.Errorf("hold %d blocks below %s: %w", len(batch), root, err)
		}
		batch = batch[:0]
		return nil
	}
	err := visit(ctx, in.store.Get, in.store.Has, root, func(v dag.Visited) error {
		switch {
		case ipld.IsNotFound(v.Err):
			return badInput("the DAG of %s is not complete: block %s is missing", root, v.CID)
		case v.Err != nil || v.Inline:
			return v.Err
		}
		if batch = append(batch, v.CID); len(batch) < holdBatch {
			return nil
		}
		return flush()
	})
	if isFault(err) {
		return badInput("the DAG of %s: %w", root, err)
	}
	if err != nil {
		return err
	}
	return flush()
}

// isFault reports whether an error of a walk is for good: it is the DAG that is wrong,
// and not this edge that could not read it.
func isFault(err error) bool {
	for _, is := range []error{dag.ErrMalformed, dag.ErrCodec, dag.ErrLimit, block.ErrUnsupported} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// visit calls see for each block of the DAG below root, a parent before its children.
// It reads only blocks that can have links, with get; of leaves it asks whether they are
// there, with has. Neither asks anybody else. Blocks inside their CID (identity) are
// reported, too, although they are stored nowhere.
func visit[B blocks.Block](ctx context.Context, get getter[B], has func(context.Context, cid.Cid) (bool, error), root cid.Cid, see func(dag.Visited) error) error {
	return dag.NewWalk(dag.DefaultLimits(), visitor[B]{get, has, see}).Run(ctx, root)
}

// getter returns a block. One that it does not find is an error that ipld.IsNotFound
// recognises.
type getter[B blocks.Block] func(ctx context.Context, c cid.Cid) (B, error)

type visitor[B blocks.Block] struct {
	get getter[B]
	has func(context.Context, cid.Cid) (bool, error)
	see func(dag.Visited) error
}

// Glance implements [dag.Visitor].
func (w visitor[B]) Glance(ctx context.Context, v dag.Visit) (int64, bool, error) {
	switch present, err := w.has(ctx, v.CID); {
	case err != nil:
		return 0, false, fmt.Errorf("look for block %s: %w", v.CID, err)
	case !present:
		return 0, false, block.NotFound(v.CID)
	}
	return 0, true, nil
}

// Read implements [dag.Visitor].
func (w visitor[B]) Read(ctx context.Context, v dag.Visit) ([]byte, error) {
	b, err := w.get(ctx, v.CID)
	if err != nil {
		return nil, fmt.Errorf("read block %s: %w", v.CID, err)
	}
	return b.RawData(), nil
}

// After implements [dag.Visitor].
func (w visitor[B]) After(_ context.Context, v dag.Visited) error { return w.see(v) }
