package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/gateway/answer"
)

// treeIndex knows which CIDs lie inside the sites' trees.
//
// A tree is walked when somebody first asks for a CID that may be inside it, once
// for each root: only index blocks are read, leaves are known from the links to
// them. Visitors cannot cause more than that one walk, because a tree is kept for
// as long as it is a site's, and a failed walk is not repeated before a growing
// pause is over. A tree over a limit (see [dag.Limits]) is given up for good, and what
// lies inside it is then served under the site's name only.
//
// What is kept of each CID is 8 bytes: a hash of its multihash under a key that
// changes with each start, so that nobody can search for content that collides.
type treeIndex struct {
	ctx     context.Context
	blocks  *answer.Source
	resolve func(context.Context, path.ImmutablePath) (cid.Cid, error)
	log     *slog.Logger
	seed    maphash.Seed
	most    int           // hashes in all trees together
	wait    time.Duration // how long a visitor waits for a walk
	walking chan struct{} // bounds walks at once

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	trees   map[string]*tree // by root path
}

// tree is one walk and its result.
type tree struct {
	done     chan struct{} // closed when the walk has ended
	hashes   []uint64      // sorted
	err      error
	retry    time.Time // a failed walk may be repeated then
	failures int
}

const (
	maxTreeHashes = 2 << 20 // 16 MiB
	maxTreeWalks  = 2
	treePatience  = 10 * time.Second
	treeRetryMin  = 30 * time.Second
	treeRetryMax  = time.Hour

	// Index blocks that a walk fetches at once.
	treeParallel      = 16
	treeParallelBytes = 8 << 20
)

var errTreeTooLarge = fmt.Errorf("the CIDs of all sites together take too much memory: more than %d CIDs, %w", maxTreeHashes, dag.ErrLimit)

type treeAnswer int

const (
	treeLacks treeAnswer = iota
	treeHas
	treeUnknown // a tree could not be read, or not yet
)

func newTreeIndex(ctx context.Context, source *answer.Source, resolve func(context.Context, path.ImmutablePath) (cid.Cid, error), log *slog.Logger) *treeIndex {
	return &treeIndex{
		ctx: ctx, blocks: source, resolve: resolve, log: log,
		seed: maphash.MakeSeed(), most: maxTreeHashes, wait: treePatience,
		walking: make(chan struct{}, maxTreeWalks), trees: map[string]*tree{},
	}
}

// contains says whether c lies in one of the trees.
func (x *treeIndex) contains(ctx context.Context, roots []path.ImmutablePath, c cid.Cid) treeAnswer {
	h := x.hash(c)
	pending := x.started(roots)
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	answer := treeLacks
	// Trees that are known answer before anyone waits for one that is not.
	slices.SortStableFunc(pending, func(a, b *tree) int { return a.rank() - b.rank() })
	for _, t := range pending {
		select {
		case <-t.done:
			if _, ok := slices.BinarySearch(t.hashes, h); ok {
				return treeHas
			}
			if t.err != nil && !errors.Is(t.err, dag.ErrLimit) {
				answer = treeUnknown
			}
		case <-ctx.Done():
			answer = treeUnknown
		}
	}
	return answer
}

func (t *tree) rank() int {
	select {
	case <-t.done:
		return 0
	default:
		return 1
	}
}

// started returns the trees of the roots, beginning the walks that are due, and
// forgets the trees that no site has any more.
func (x *treeIndex) started(roots []path.ImmutablePath) []*tree {
	x.mu.Lock()
	defer x.mu.Unlock()
	current := make(map[string]*tree, len(roots))
	for _, r := range roots {
		key := r.String()
		t, ok := x.trees[key]
		if !ok || t.due(time.Now()) {
			t = x.start(r, t)
		}
		current[key] = t
	}
	x.trees = current
	out := make([]*tree, 0, len(current))
	for _, t := range current {
		out = append(out, t)
	}
	return out
}

// due reports whether the walk failed long enough ago.
func (t *tree) due(now time.Time) bool {
	return t.rank() == 0 && t.err != nil && !errors.Is(t.err, dag.ErrLimit) && now.After(t.retry)
}

// start begins a walk in the background; before is the failed one, if any.
func (x *treeIndex) start(root path.ImmutablePath, before *tree) *tree {
	t := &tree{done: make(chan struct{})}
	if before != nil {
		t.failures = before.failures
	}
	if x.closed {
		t.err = context.Canceled
		close(t.done)
		return t
	}
	x.running.Go(func() {
		defer close(t.done)
		begin := time.Now()
		t.hashes, t.err = x.walk(root)
		if t.err != nil {
			pause := min(treeRetryMin<<min(t.failures, 10), treeRetryMax)
			t.failures++
			t.retry = time.Now().Add(pause)
			x.log.Warn("read the tree of a site: its inner CIDs are not served", "root", root.String(), "err", t.err)
			return
		}
		x.log.Info("read the tree of a site", "root", root.String(), "cids", len(t.hashes), "took", time.Since(begin))
	})
	return t
}

// walk returns the hashes of all CIDs under root, sorted.
func (x *treeIndex) walk(root path.ImmutablePath) (hashes []uint64, err error) {
	select {
	case x.walking <- struct{}{}:
		defer func() { <-x.walking }()
	case <-x.ctx.Done():
		return nil, x.ctx.Err()
	}
	top, err := x.resolve(x.ctx, root)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", root, err)
	}
	limits := dag.DefaultLimits()
	limits.Blocks, limits.Parallel, limits.ParallelBytes = x.most, treeParallel, treeParallelBytes
	v := treeVisitor{x: x, reads: x.blocks.Walk()}
	if err := dag.NewWalk(limits, &v).Run(x.ctx, top); err != nil {
		return nil, fmt.Errorf("the DAG of %s: %w", top, err)
	}
	if x.exceeded(len(v.hashes)) {
		return nil, errTreeTooLarge
	}
	slices.Sort(v.hashes)
	return v.hashes, nil
}

// exceeded reports whether n more hashes are more than all trees may have.
func (x *treeIndex) exceeded(n int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.trees {
		if t.rank() == 0 {
			n += len(t.hashes)
		}
	}
	return n > x.most
}

// treeVisitor writes down which CIDs a walk comes by.
type treeVisitor struct {
	x      *treeIndex
	reads  *answer.Reads
	hashes []uint64
}

// Glance implements [dag.Visitor]: that a leaf is linked to is all there is to know.
func (v *treeVisitor) Glance(context.Context, dag.Visit) (int64, bool, error) { return 0, true, nil }

// Read implements [dag.Visitor].
func (v *treeVisitor) Read(ctx context.Context, at dag.Visit) ([]byte, error) {
	b, err := v.reads.Get(ctx, at.CID)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", at.CID, err)
	}
	return b.RawData(), nil
}

// After implements [dag.Visitor]. A block that nobody has, or that cannot be decoded,
// ends its branch: nothing below it can be served.
func (v *treeVisitor) After(_ context.Context, at dag.Visited) error {
	if at.Fresh {
		v.hashes = append(v.hashes, v.x.hash(at.CID))
	}
	switch {
	case ipld.IsNotFound(at.Err), errors.Is(at.Err, dag.ErrMalformed), errors.Is(at.Err, dag.ErrCodec), errors.Is(at.Err, block.ErrUnsupported):
		return nil
	}
	return at.Err
}

func (x *treeIndex) hash(c cid.Cid) uint64 { return maphash.Bytes(x.seed, c.Hash()) }

// close waits for the walks, whose context has ended.
func (x *treeIndex) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.running.Wait()
}
