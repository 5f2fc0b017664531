package hold

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

const (
	// assumedSize is what a link counts as that does not say how much is behind it:
	// the most that the usual importers put into a block.
	assumedSize = 1 << 20
	// missesInARow is after how many absent blocks, one after the other, a walk
	// stops: by then it is the source that is gone and not a block.
	missesInARow = 32
)

// visit is one block on the way of a walk.
type visit struct {
	cid   cid.Cid
	depth int
	size  int64 // what fetching it counts as
	held  bool  // the owner held it when the walk began
	fresh bool  // this multihash was not met before
}

// visited is what became of a visit.
type visited struct {
	visit
	bytes int64 // of the block
	links []link
	err   error
}

// inspector does what a walk is for.
type inspector interface {
	// glance deals with a block without links that needs no reading, and returns its
	// size; false sends the visit on to inspect.
	glance(ctx context.Context, v visit) (size int64, ok bool, err error)
	// inspect returns the bytes of a block. It is called from several goroutines at
	// once. An *absence lets the walk go on with other blocks, any other error
	// ends it.
	inspect(ctx context.Context, v visit) (data []byte, err error)
	// after is called for each block that was dealt with, from one goroutine, in which
	// the walk goes on once it returns.
	after(ctx context.Context, v visited) error
}

// walk goes through the DAG below a root, depth first, each block once.
type walk struct {
	opts Options
	do   inspector
	seen *seen

	todo          []visit // the next one is the last
	done          chan visited
	inFlight      int
	inFlightBytes int64

	missing int64    // blocks that could not be had
	misses  int      // of them, how many since the last that could
	first   *absence // of them
}

func newWalk(opts Options, do inspector) *walk {
	return &walk{opts: opts, do: do, seen: newSeen(), done: make(chan visited, opts.Parallel)}
}

// remember notes that the owner holds a block already.
func (w *walk) remember(h multihash.Multihash) error {
	w.seen.mark(h, markHeld)
	return nil
}

// run returns nil when every block was dealt with, an *absence for the first that
// could not be had, or what ended the walk.
func (w *walk) run(ctx context.Context, root cid.Cid) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for ; w.inFlight > 0; w.inFlight-- {
			<-w.done
		}
	}()
	if err := w.plan(link{cid: root}, 0); err != nil {
		return err
	}
	for len(w.todo)+w.inFlight > 0 {
		if err := w.next(ctx); err != nil {
			return err
		}
		if w.misses >= missesInARow {
			break
		}
	}
	if w.first != nil {
		return w.first
	}
	return nil
}

// next begins the visit that comes next if there is room for it, or else takes in
// one that has ended.
func (w *walk) next(ctx context.Context) error {
	if w.mayBegin() {
		v := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		return w.begin(ctx, v)
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

func (w *walk) mayBegin() bool {
	if len(w.todo) == 0 || w.inFlight == w.opts.Parallel || len(w.done) > 0 {
		return false
	}
	return w.inFlight == 0 || w.inFlightBytes+w.todo[len(w.todo)-1].size <= w.opts.ParallelBytes
}

func (w *walk) begin(ctx context.Context, v visit) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if data, ok := identityData(v.cid); ok {
		links, err := linksOf(v.cid, data, w.opts.MaxLinks)
		if err != nil {
			return err
		}
		return w.planAll(visited{visit: v, links: links})
	}
	if isLeaf(v.cid) {
		size, ok, err := w.do.glance(ctx, v)
		if err != nil {
			return err
		}
		if ok {
			return w.end(ctx, visited{visit: v, bytes: size})
		}
	}
	w.inFlight++
	w.inFlightBytes += v.size
	go func() {
		data, err := w.do.inspect(ctx, v)
		got := visited{visit: v, bytes: int64(len(data)), err: err}
		if err == nil {
			got.links, got.err = linksOf(v.cid, data, w.opts.MaxLinks)
		}
		w.done <- got
	}()
	return nil
}

// end takes in a visit.
func (w *walk) end(ctx context.Context, v visited) error {
	if gone, ok := errors.AsType[*absence](v.err); ok && ctx.Err() == nil {
		w.missing++
		w.misses++
		// What is nowhere says more than what cannot be reached now.
		if w.first == nil || gone.nowhere && !w.first.nowhere {
			w.first = gone
		}
		return nil
	}
	if v.err != nil {
		return v.err
	}
	w.misses = 0
	if err := w.do.after(ctx, v); err != nil {
		return err
	}
	return w.planAll(v)
}

// planAll plans the visits to what a block points to, the first link next.
func (w *walk) planAll(v visited) error {
	for i := len(v.links) - 1; i >= 0; i-- {
		if err := w.plan(v.links[i], v.depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) plan(l link, depth int) error {
	if err := block.CheckCID(l.cid); err != nil {
		return refuse("a block cannot be verified: %v", err)
	}
	m := codecMark(l.cid)
	before := w.seen.mark(l.cid.Hash(), m)
	if before&m != 0 {
		return nil
	}
	if depth > w.opts.MaxDepth {
		return refuse("block %s is %d links away from the root; the limit is %d", l.cid, depth, w.opts.MaxDepth)
	}
	if w.seen.met > w.opts.MaxBlocks {
		return refuse("it has more than %d blocks, the limit", w.opts.MaxBlocks)
	}
	size := int64(assumedSize)
	if l.size > 0 {
		size = min(l.size, block.MaxSize)
	}
	w.todo = append(w.todo, visit{cid: l.cid, depth: depth, size: size, held: before&markHeld != 0, fresh: before&markMet == 0})
	return nil
}

// String tells a log how far the walk is.
func (w *walk) String() string {
	return fmt.Sprintf("%d blocks met, %d to come, %d missing", w.seen.met, len(w.todo)+w.inFlight, w.missing)
}
