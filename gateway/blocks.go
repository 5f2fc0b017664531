package gateway

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// Blocks is where content comes from.
type Blocks interface {
	// Get returns a verified block and where it was found; see [block.Getter]
	// for the errors. It may be called from many goroutines at once. With a ctx that
	// has ended it returns at once, and a block only if that is in memory.
	block.Getter
	// Has reports whether the block is held on this edge, in memory or on disk.
	// It must be quick: nothing is fetched.
	Has(ctx context.Context, c cid.Cid) (bool, error)
}

// PartViewer is what [Blocks] may offer besides: to read a part of a block that is on
// this edge's disk. It calls f with the bytes from..to of the block, which has size
// bytes; they are f's only until it returns. When the block is not there, f is not
// called.
type PartViewer interface {
	ViewPart(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte) error) error
}

// blockService is boxo's read-only view of [Blocks]. It checks each CID, bounds
// the wait, and writes down in the request's record what came from where.
type blockService struct {
	blocks   Blocks
	misses   *missLimiter
	pages    *places // for answers that are made in memory
	exports  *places // for what exports remember
	metrics  *metrics
	timeout  atomic.Int64 // nanoseconds to wait for content, see Options.RetrievalTimeout
	parallel int          // blocks in flight for one GetBlocks
}

var _ blockservice.BoundedBlockService = (*blockService)(nil)

var errReadOnly = errors.New("the gateway's block service is read-only")

// GetBlock returns one block.
func (s *blockService) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	rec := recordOf(ctx)
	if trail, ok := ctx.Value(trailKey{}).(*trail); ok {
		trail.add(c)
	}
	if err := block.CheckCID(c); err != nil {
		return nil, s.fail(rec, badCID(err))
	}
	if c.Prefix().MhType == multihash.IDENTITY {
		return identityBlock(c)
	}
	if b, ok := rec.remembered(c); ok {
		return b, nil
	}
	local, err := s.admit(ctx, rec, c)
	if err != nil {
		return nil, err
	}
	if !local && isLocalOnly(ctx) {
		return nil, block.NotFound(c)
	}
	return s.fetch(ctx, rec, c)
}

// admit takes a place among the misses for the request, unless it has one or
// the block is held here. It reports whether the block is held here, where that
// had to be found out.
func (s *blockService) admit(ctx context.Context, rec *requestRecord, c cid.Cid) (local bool, err error) {
	localOnly := isLocalOnly(ctx)
	if !localOnly && (rec.walk || rec.hasPlace()) {
		return false, nil
	}
	// When the question cannot be answered, the block counts as not held.
	if local, _ = s.blocks.Has(ctx, c); local || localOnly {
		return local, nil
	}
	if !s.misses.admit(rec) {
		return false, s.fail(rec, errBusy(s.misses.limit()))
	}
	return false, nil
}

func (s *blockService) fetch(ctx context.Context, rec *requestRecord, c cid.Cid) (blocks.Block, error) {
	begin := time.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, rec.deadline(s.patience()), errRetrievalTimeout)
	defer cancel()
	b, src, err := s.blocks.Get(ctx, c)
	if err != nil {
		return nil, s.fail(rec, fetchFailure(ctx, c, err))
	}
	if b, err = b.As(c); err != nil {
		return nil, s.fail(rec, fetchFailure(ctx, c, err))
	}
	rec.fetched(b, src, begin, time.Now())
	s.metrics.block(src, len(b.RawData()))
	return b, nil
}

func (s *blockService) fail(rec *requestRecord, f *failure) error {
	rec.failed(f)
	return f.forBoxo()
}

// identityBlock takes the content out of the CID itself.
func identityBlock(c cid.Cid) (blocks.Block, error) {
	mh, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, badCID(err).forBoxo()
	}
	return block.New(c, mh.Digest)
}

// GetBlocks returns blocks as they arrive, several at a time. What could not be
// fetched is left out: the reader finds out which it lacks.
func (s *blockService) GetBlocks(ctx context.Context, cids []cid.Cid) <-chan blocks.Block {
	out := make(chan blocks.Block)
	next := make(chan cid.Cid)
	var workers sync.WaitGroup
	for range min(s.parallel, len(cids)) {
		workers.Go(func() {
			for c := range next {
				b, err := s.GetBlock(ctx, c)
				if err != nil {
					continue // blocks before it may still be wanted
				}
				select {
				case out <- b:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() {
		defer close(out)
		feed(ctx, next, cids)
		workers.Wait()
	}()
	return out
}

// feed hands out the CIDs in order, until all are out or ctx ends.
func feed(ctx context.Context, next chan<- cid.Cid, cids []cid.Cid) {
	defer close(next)
	for _, c := range cids {
		select {
		case next <- c:
		case <-ctx.Done():
			return
		}
	}
}

// Blockstore returns the same blocks as a store. boxo's sessions read there, and
// take a block that it lacks for one that nobody has.
func (s *blockService) Blockstore() blockstore.Blockstore { return readStore{s} }

// Exchange returns nil: what [Blocks] lacks, nobody has.
func (s *blockService) Exchange() exchange.Interface { return nil }

// Allowlist lets every hash function through to GetBlock, whose check is
// stricter and whose errors say more.
func (s *blockService) Allowlist() verifcid.Allowlist { return allowAll{} }

type allowAll struct{}

func (allowAll) IsAllowed(uint64) bool    { return true }
func (allowAll) MinDigestSize(uint64) int { return 0 }
func (allowAll) MaxDigestSize(uint64) int { return math.MaxInt }

// AddBlock always fails.
func (s *blockService) AddBlock(context.Context, blocks.Block) error { return errReadOnly }

// AddBlocks always fails.
func (s *blockService) AddBlocks(context.Context, []blocks.Block) error { return errReadOnly }

// DeleteBlock always fails.
func (s *blockService) DeleteBlock(context.Context, cid.Cid) error { return errReadOnly }

// Close does nothing.
func (s *blockService) Close() error { return nil }

// readStore is blockService in the form of a block store.
type readStore struct{ s *blockService }

func (r readStore) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	return r.s.GetBlock(ctx, c)
}

func (r readStore) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if c.Prefix().MhType == multihash.IDENTITY {
		return true, nil
	}
	return r.s.blocks.Has(ctx, c)
}

func (r readStore) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	b, err := r.s.GetBlock(ctx, c)
	if err != nil {
		return 0, err
	}
	return len(b.RawData()), nil
}

func (readStore) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (readStore) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (readStore) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }
func (readStore) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	return nil, errors.New("the gateway's block service does not list its keys")
}

// patience is how long content is waited for.
func (s *blockService) patience() time.Duration { return time.Duration(s.timeout.Load()) }

// missLimiter counts the requests that wait for content which is not held here.
type missLimiter struct{ most, taken atomic.Int64 }

// Waiting returns how many requests wait for content that is not held here.
func (g *Gateway) Waiting() int64 { return g.misses.taken.Load() }

func (l *missLimiter) limit() int { return int(l.most.Load()) }

// resize changes how many places there are. Whoever has one keeps it.
func (l *missLimiter) resize(n int) { l.most.Store(int64(n)) }

// admit gives the request a place, if one is free. It keeps it until leave.
func (l *missLimiter) admit(rec *requestRecord) bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.admitted || rec.ended {
		// After the end, only blocks fetched ahead are left; they end with ctx.
		return rec.admitted
	}
	for n := l.taken.Load(); n < l.most.Load(); n = l.taken.Load() {
		if l.taken.CompareAndSwap(n, n+1) {
			rec.admitted = true
			break
		}
	}
	return rec.admitted
}

// leave frees the request's place, if it has one.
func (l *missLimiter) leave(rec *requestRecord) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.ended = true
	if rec.admitted {
		rec.admitted = false
		l.taken.Add(-1)
	}
}

func (r *requestRecord) hasPlace() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitted
}

// trail is which blocks were asked for, in order.
type trail struct {
	mu   sync.Mutex
	cids []cid.Cid
	seen map[cid.Cid]bool
}

type trailKey struct{}

func (t *trail) add(c cid.Cid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[cid.Cid]bool{}
	}
	if !t.seen[c] {
		t.seen[c] = true
		t.cids = append(t.cids, c)
	}
}

type localOnlyKey struct{}

// localOnly makes reads under ctx take only what is held here.
func localOnly(ctx context.Context) context.Context {
	return context.WithValue(ctx, localOnlyKey{}, true)
}

func isLocalOnly(ctx context.Context) bool {
	only, _ := ctx.Value(localOnlyKey{}).(bool)
	return only
}
