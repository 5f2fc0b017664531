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
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"
)

// treeIndex knows which CIDs lie inside the sites' trees.
//
// A tree is walked when somebody first asks for a CID that may be inside it, once
// for each root: only index blocks are read, leaves are known from the links to
// them. Visitors cannot cause more than that one walk, because a tree is kept for
// as long as it is a site's, and a failed walk is not repeated before a growing
// pause is over. A tree that would exceed the memory bound is given up for good,
// and what lies inside it is then served under the site's name only.
//
// What is kept of each CID is 8 bytes: a hash of its multihash under a key that
// changes with each start, so that nobody can search for content that collides.
type treeIndex struct {
	ctx     context.Context
	blocks  *blockService
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
	treeBatch     = 16 // index blocks fetched at once by a walk
	treePatience  = 10 * time.Second
	treeRetryMin  = 30 * time.Second
	treeRetryMax  = time.Hour
)

var errTreeTooLarge = errors.New("the sites have too many CIDs to keep in memory")

type treeAnswer int

const (
	treeLacks treeAnswer = iota
	treeHas
	treeUnknown // a tree could not be read, or not yet
)

func newTreeIndex(ctx context.Context, service *blockService, resolve func(context.Context, path.ImmutablePath) (cid.Cid, error), log *slog.Logger) *treeIndex {
	return &treeIndex{
		ctx: ctx, blocks: service, resolve: resolve, log: log,
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
			if t.err != nil && !errors.Is(t.err, errTreeTooLarge) {
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
	return t.rank() == 0 && t.err != nil && !errors.Is(t.err, errTreeTooLarge) && now.After(t.retry)
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
	ctx := withRecord(x.ctx, &requestRecord{start: time.Now(), sites: &siteTable{}, walk: true})
	top, err := x.resolve(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", root, err)
	}
	seen := map[uint64]struct{}{x.hash(top): {}}
	frontier := []cid.Cid{top}
	for len(frontier) > 0 {
		// From the end, which goes deep first and keeps the frontier short.
		cut := max(0, len(frontier)-treeBatch)
		children, err := x.children(ctx, frontier[cut:])
		if err != nil {
			return nil, err
		}
		frontier = frontier[:cut]
		for _, c := range children {
			h := x.hash(c)
			if _, ok := seen[h]; ok {
				continue
			}
			seen[h] = struct{}{}
			if c.Prefix().Codec != cid.Raw {
				frontier = append(frontier, c)
			}
		}
		if x.exceeded(len(seen)) {
			return nil, errTreeTooLarge
		}
	}
	hashes = make([]uint64, 0, len(seen))
	for h := range seen {
		hashes = append(hashes, h)
	}
	slices.Sort(hashes)
	return hashes, nil
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

// children reads index blocks, several at once, and returns what they link to.
// A block that nobody has ends its branch: nothing below it can be served.
func (x *treeIndex) children(ctx context.Context, cids []cid.Cid) ([]cid.Cid, error) {
	found := make([][]cid.Cid, len(cids))
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range cids {
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("read the links of %s: panic: %v", c, p)
				}
			}()
			b, err := x.blocks.GetBlock(ctx, c)
			if f, ok := asFailure(err); ok && ipld.IsNotFound(f.cause) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", c, err)
			}
			found[i] = links(b)
			return nil
		})
	}
	err := group.Wait()
	return slices.Concat(found...), err
}

// links returns what a block links to. A block that cannot be read, or whose codec is not
// known, has no links that could be followed.
func links(b blocks.Block) (out []cid.Cid) {
	next, err := linksOf(b)
	if err != nil {
		return nil
	}
	for {
		c, err := next()
		if err != nil || !c.Defined() {
			return out
		}
		out = append(out, c)
	}
}

func (x *treeIndex) hash(c cid.Cid) uint64 { return maphash.Bytes(x.seed, c.Hash()) }

// close waits for the walks, whose context has ended.
func (x *treeIndex) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.running.Wait()
}
