package dag

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// Limits bound one walk.
type Limits struct {
	// Blocks is the most blocks that the DAG may have. Each takes up to 32 bytes of
	// memory until the walk is over.
	Blocks int
	// Depth is the most links on the way from the root to a block.
	Depth int
	// Links is the most links of one block, see [MaxLinks].
	Links int
	// Pending is the most memory, in bytes, for the links that are still to be followed.
	Pending int
	// Parallel and ParallelBytes bound what is read at once. A link that does not say
	// how much is behind it counts as 1 MiB.
	Parallel      int
	ParallelBytes int64
}

// DefaultLimits let an edge walk DAGs of up to ten million blocks (2.5 TB in blocks of
// 256 KiB), one block at a time.
func DefaultLimits() Limits {
	return Limits{Blocks: 10_000_000, Depth: 4096, Links: MaxLinks, Pending: 32 << 20, Parallel: 1, ParallelBytes: block.MaxSize}
}

// assumedSize is what a link counts as that does not say how much is behind it:
// the most that the usual importers put into a block.
const assumedSize = 1 << 20

// Visit is one block on the way of a walk.
type Visit struct {
	CID   cid.Cid
	Depth int  // links on the way from the root
	Known bool // its multihash was given to [Walk.Remember]
	Fresh bool // its multihash was not met before in this walk
	// Inline says that the CID carries the content in itself: there is no block.
	Inline bool

	size int64 // what reading it counts as
}

// Visited is what became of a visit.
type Visited struct {
	Visit
	Size int64  // of the block, in bytes
	Data []byte // nil for a leaf that was not read
	// Err is why the block could not be had, or why its links could not be read; see
	// [Scan] for the latter, and [block.CheckCID] for CIDs that are not even tried.
	Err error
}

// Visitor does what a walk is for.
type Visitor interface {
	// Glance deals with a leaf that needs no reading, and returns its size; false
	// sends the visit on to Read.
	Glance(ctx context.Context, v Visit) (size int64, ok bool, err error)
	// Read returns the bytes of a block. It is called from several goroutines at once.
	Read(ctx context.Context, v Visit) ([]byte, error)
	// After is called for each visit, a parent before its children, from the goroutine
	// of the walk, which goes on once it returns. An error ends the walk; nil lets it
	// go on, also past a visit that has one: below a block whose links could not be
	// read, those are followed that came before the fault.
	After(ctx context.Context, v Visited) error
}

// Walk goes through the DAG below a root, depth first, each block once. Make one with
// [NewWalk]; it serves one Run.
type Walk struct {
	limits  Limits
	visitor Visitor
	seen    *seen
	todo    frontier

	done          chan Visited
	inFlight      int
	inFlightBytes int64
}

// NewWalk returns a walk that tells v what it comes by.
func NewWalk(limits Limits, v Visitor) *Walk {
	return &Walk{limits: limits, visitor: v, seen: newSeen(), todo: frontier{limit: limits.Pending}, done: make(chan Visited, limits.Parallel)}
}

// Remember has visits of a block say that it is known. It may be called before Run.
func (w *Walk) Remember(h multihash.Multihash) { w.seen.mark(h, markKnown) }

// Run visits everything below root. It returns nil, what After returned, the cause of
// ctx's end, or an error that wraps [ErrLimit]. When it returns, Read is not running
// any more.
func (w *Walk) Run(ctx context.Context, root cid.Cid) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for ; w.inFlight > 0; w.inFlight-- {
			<-w.done
		}
	}()
	if err := w.plan(Link{CID: root}, 0); err != nil {
		return err
	}
	w.todo.scanned(0)
	for !w.todo.empty() || w.inFlight > 0 {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step begins the visit that comes next if there is room for it, or else takes in
// one that has ended.
func (w *Walk) step(ctx context.Context) error {
	if w.mayBegin() {
		return w.begin(ctx, w.todo.pop())
	}
	select {
	case v := <-w.done:
		w.inFlight--
		w.inFlightBytes -= v.size
		return w.end(ctx, v)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *Walk) mayBegin() bool {
	if w.todo.empty() || w.inFlight == w.limits.Parallel || len(w.done) > 0 {
		return false
	}
	return w.inFlight == 0 || w.inFlightBytes+w.todo.size() <= w.limits.ParallelBytes
}

func (w *Walk) begin(ctx context.Context, v Visit) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := block.CheckCID(v.CID); err != nil {
		return w.end(ctx, Visited{Visit: v, Err: err})
	}
	if data, ok := Inline(v.CID); ok {
		v.Inline = true
		return w.end(ctx, Visited{Visit: v, Size: int64(len(data)), Data: data})
	}
	if IsLeaf(v.CID) {
		if size, ok, err := w.visitor.Glance(ctx, v); ok || err != nil {
			return w.end(ctx, Visited{Visit: v, Size: size, Err: err})
		}
	}
	w.inFlight++
	w.inFlightBytes += v.size
	go func() {
		data, err := w.visitor.Read(ctx, v)
		w.done <- Visited{Visit: v, Size: int64(len(data)), Data: data, Err: err}
	}()
	return nil
}

// end takes in a visit and plans those to what the block points to.
func (w *Walk) end(ctx context.Context, v Visited) error {
	if v.Err == nil {
		var over error // a limit of the whole DAG
		v.Err = Scan(v.CID, v.Data, w.limits.Links, func(l Link) error {
			over = w.plan(l, v.Depth+1)
			return over
		})
		if over != nil {
			return over
		}
	}
	if err := w.visitor.After(ctx, v); err != nil {
		return err
	}
	w.todo.scanned(v.Depth + 1)
	return nil
}

// plan notes a link that was not met before.
func (w *Walk) plan(l Link, depth int) error {
	m := codecMark(l.CID)
	before := w.seen.mark(l.CID.Hash(), m)
	if before&m != 0 {
		return nil
	}
	if depth > w.limits.Depth {
		return fmt.Errorf("it leads more than %d links away from its root, %w", w.limits.Depth, ErrLimit)
	}
	if w.seen.met > w.limits.Blocks {
		return fmt.Errorf("it has more than %d blocks, %w", w.limits.Blocks, ErrLimit)
	}
	if l.Size <= 0 {
		l.Size = assumedSize
	}
	l.Size = min(l.Size, block.MaxSize)
	flags := byte(0)
	if before&markKnown != 0 {
		flags |= flagKnown
	}
	if before&markMet == 0 {
		flags |= flagFresh
	}
	return w.todo.add(l, flags)
}
