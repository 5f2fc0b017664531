package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
	"github.com/shoal-cdn/shoal/work"
)

// Local is what a purge needs of the layers that hold blocks on this edge, seen as
// one: a block is there when memory or disk has it, and Delete takes it out of
// both.
//
// Pinned reports whether some owner holds a block. Delete removes one that nobody
// holds and returns its size in bytes; a block that is not here, or that an owner
// has come to hold since, is left as it is and counts 0.
type Local interface {
	GetLocal(ctx context.Context, c cid.Cid) (*block.Verified, error)
	Has(ctx context.Context, c cid.Cid) (bool, error)
	Pinned(c cid.Cid) bool
	Delete(ctx context.Context, c cid.Cid) (bytes int64, err error)
}

// Purge makes this edge forget what path names: a CID, or /ipfs/CID and a path
// below it. The path is followed through local blocks, and of the DAG below it
// whatever is here is removed.
//
// Content that something holds is refused with a [*PinnedError]. With unpin, the
// import of the path's first CID and that of the CID that it leads to are released
// first; blocks that another import shares stay and are counted as kept. What is
// not here, and no import either, is an [*AbsentError].
func (in *Ingester) Purge(ctx context.Context, local Local, path string, unpin bool) (task.PurgeResult, error) {
	root, names, err := parsePath(path)
	if err != nil {
		return task.PurgeResult{}, err
	}
	target, err := resolve(ctx, local.GetLocal, root, names)
	if unpin && (err == nil || problem.Of(err) == problem.NotFound) {
		if err := in.unpinned(ctx, local, root, target); err != nil {
			return task.PurgeResult{}, err
		}
	}
	if err != nil {
		return task.PurgeResult{}, err
	}
	unpinned := false
	if unpin {
		if unpinned, err = in.Unpin(root, target); err != nil {
			return task.PurgeResult{}, err
		}
	}
	if local.Pinned(target) {
		return task.PurgeResult{}, &PinnedError{CID: target, Tried: unpin, Imports: in.holders(ctx, local, target)}
	}
	done, err := in.remove(ctx, local, target)
	if err != nil {
		return done, err
	}
	if done.Removed == 0 && done.Kept == 0 && !unpinned {
		return done, &AbsentError{CID: target}
	}
	in.log.Info("purged", "path", path, "cid", target, "unpinned", unpinned, "blocks", done.Removed, "bytes", done.Bytes, "kept", done.Kept)
	return done, nil
}

// letGoWithin bounds how long a purge waits for the pins to let go on the disk.
const letGoWithin = 2 * time.Second

// unpinned removes the operator's pins of the root of a path and of what it names, which
// may be unknown.
func (in *Ingester) unpinned(ctx context.Context, local Local, root, target cid.Cid) error {
	if in.pins == nil {
		return nil
	}
	roots := []cid.Cid{root}
	if target.Defined() && target != root {
		roots = append(roots, target)
	}
	if err := in.pins.Drop(ctx, roots...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, letGoWithin)
	defer cancel()
	for local.Pinned(target) && !in.pins.Listed(target) {
		if work.Pause(ctx, 5*time.Millisecond) != nil {
			return nil // something else holds it, which the purge will say
		}
	}
	return nil
}

// Unpin releases the imports of the given roots and reports whether there were any.
func (in *Ingester) Unpin(roots ...cid.Cid) (bool, error) {
	in.keep.Lock()
	defer in.keep.Unlock()
	released := false
	for _, committed := range in.store.Owners() {
		for _, root := range roots {
			if committed != Owner(root) {
				continue
			}
			if err := in.store.Release(committed); err != nil {
				return released, fmt.Errorf("release the import of %s: %w", root, err)
			}
			released = true
			break
		}
	}
	return released, nil
}

// remove deletes what is here of the DAG below root. A block that cannot be decoded goes,
// too, with what it is seen to link to.
func (in *Ingester) remove(ctx context.Context, local Local, root cid.Cid) (task.PurgeResult, error) {
	done := task.PurgeResult{CID: root.String()}
	var here []cid.Cid
	err := visit(ctx, local.GetLocal, local.Has, root, func(v dag.Visited) error {
		switch {
		case isFault(v.Err):
			in.log.Warn("purge: what a block links to is not known and stays", "error", v.Err)
		case ipld.IsNotFound(v.Err):
			return nil
		case v.Err != nil:
			return v.Err
		}
		if !v.Inline {
			here = append(here, v.CID)
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("list the blocks below %s: %w", root, err)
	}
	for _, c := range here {
		if err := context.Cause(ctx); err != nil {
			return done, err
		}
		if local.Pinned(c) {
			done.Kept++
			continue
		}
		n, err := local.Delete(ctx, c)
		if err != nil {
			return done, fmt.Errorf("remove block %s: %w", c, err)
		}
		if n > 0 {
			done.Removed++
			done.Bytes += n
		}
	}
	return done, nil
}

var errFound = errors.New("found")

// holders returns the roots of the imports that hold c.
func (in *Ingester) holders(ctx context.Context, local Local, c cid.Cid) []cid.Cid {
	var roots []cid.Cid
	for _, root := range in.Held() {
		err := visit(ctx, local.GetLocal, local.Has, root, func(v dag.Visited) error {
			if string(v.CID.Hash()) == string(c.Hash()) {
				return errFound
			}
			return nil
		})
		if errors.Is(err, errFound) {
			roots = append(roots, root)
		}
	}
	return roots
}

// PinnedError says that a purge was refused because something holds the content.
type PinnedError struct {
	CID     cid.Cid
	Tried   bool      // unpin was asked for, and did not release it
	Imports []cid.Cid // roots of the imports that hold it; none when a pin does
}

func (e *PinnedError) Error() string {
	switch {
	case len(e.Imports) == 0:
		return fmt.Sprintf("%s is pinned; unpin it first, or purge it with unpin=true if the pin is the operator's", e.CID)
	case e.Tried || e.Imports[0] != e.CID:
		return fmt.Sprintf("%s is kept as part of the import of %s; purge that with unpin=true, or leave it", e.CID, e.Imports[0])
	}
	return fmt.Sprintf("%s is kept because it was imported here; purge it with unpin=true to release that import", e.CID)
}

// Reason implements [problem.Of]'s interface.
func (e *PinnedError) Reason() problem.Reason { return problem.Pinned }

// AbsentError says that content is not on this edge.
type AbsentError struct{ CID cid.Cid }

func (e *AbsentError) Error() string { return fmt.Sprintf("%s is not on this edge", e.CID) }

// Reason implements [problem.Of]'s interface.
func (e *AbsentError) Reason() problem.Reason { return problem.NotFound }
