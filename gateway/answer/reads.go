package answer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
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

// Source is [Blocks] for all requests together: it bounds how many wait for content that
// is not held here, and for how long.
type Source struct {
	blocks  Blocks
	parts   PartViewer // nil: none
	observe func(src block.Source, bytes int)
	misses  limiter
	exports *places
	timeout atomic.Int64
	direct  atomic.Bool
	held    atomic.Int64 // see Hold
	mayHold int64
	ended   context.Context // has ended: for reads that must not wait
}

// NewSource makes a source. It tells observe of every block that is read. Answers that are
// sent from memory may hold so many bytes, see [Source.Hold]; there is a least.
func NewSource(blocks Blocks, mayHold int64, observe func(src block.Source, bytes int)) *Source {
	parts, _ := blocks.(PartViewer)
	ended, end := context.WithCancel(context.Background())
	end()
	return &Source{blocks: blocks, parts: parts, observe: observe, exports: newPlaces(maxExports), mayHold: max(mayHold, minHeld), ended: ended}
}

// Limit sets how many requests may wait for content, how long each may, and whether
// content is read from the disk without bringing it into memory.
func (s *Source) Limit(waiting int, patience time.Duration, direct bool) {
	s.misses.most.Store(int64(waiting))
	s.timeout.Store(int64(patience))
	s.direct.Store(direct && s.parts != nil)
}

// Most is how many requests may wait for content.
func (s *Source) Most() int { return int(s.misses.most.Load()) }

// Patience is how long content is waited for.
func (s *Source) Patience() time.Duration { return time.Duration(s.timeout.Load()) }

// Waiting is how many requests wait for content that is not held here.
func (s *Source) Waiting() int64 { return s.misses.taken.Load() }

// Remembering is what exports remember, in bytes.
func (s *Source) Remembering() int64 { return s.exports.taken.Load() }

// InMemory returns a block that is in memory; nil otherwise.
func (s *Source) InMemory(c cid.Cid) *block.Verified {
	b, src, err := s.blocks.Get(s.ended, c)
	if err != nil || src != block.Memory {
		return nil
	}
	s.observe(src, len(b.RawData()))
	return b
}

// View calls f with a part of a raw block that is on the disk and is not to be brought into
// memory; see [unixfs.Blocks].
func (s *Source) View(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte)) (viewed bool) {
	if !s.direct.Load() {
		return false
	}
	_ = s.parts.ViewPart(ctx, c, size, from, to, func(data []byte) error {
		viewed = true
		s.observe(block.Disk, len(data))
		f(data)
		return nil
	})
	return viewed
}

// Index blocks that are read again and again are remembered for the length of a request:
// an edge whose cache is full must not fetch a folder again for its index.html.
const (
	rememberBlocks = 64
	rememberBytes  = 2 << 20
)

// Counts says how many blocks came from each place, and their bytes.
type Counts [len(block.Sources)]struct{ Blocks, Bytes uint64 }

// Reads is what one request reads: it bounds the wait for content, and notes what came
// from where. It implements [unixfs.Blocks]; all methods may be called from many goroutines
// at once. Errors of blocks are [*Failure].
type Reads struct {
	src   *Source
	start time.Time
	local atomic.Bool // only what is held here
	walk  bool        // not for a visitor: every block may take its time
	began atomic.Bool // the first byte is on its way

	mu        sync.Mutex
	counts    Counts
	originEnd time.Time     // until when origin waiting is counted
	origin    time.Duration // time spent waiting for the origin
	remember  map[cid.Cid]*block.Verified
	held      int  // bytes, by remember
	admitted  bool // holds a place among the misses
	ended     bool
	exporting int64 // bytes of the places for exports
	holding   int64 // bytes, see Hold
}

// Begin begins to read for a request that came in at start.
func (s *Source) Begin(start time.Time) *Reads { return &Reads{src: s, start: start} }

// Local returns reads that take only what is held here.
func (s *Source) Local() *Reads {
	r := &Reads{src: s, walk: true}
	r.local.Store(true)
	return r
}

// Walk returns reads that are not for a visitor.
func (s *Source) Walk() *Reads { return &Reads{src: s, walk: true} }

// OnlyLocal has the request take only what is held here, or no longer.
func (r *Reads) OnlyLocal(only bool) { r.local.Store(only) }

// Answering says that the first byte is on its way: from then on, each block may take as
// long as all of them together before.
func (r *Reads) Answering() { r.began.Store(true) }

// Get implements [unixfs.Blocks].
func (r *Reads) Get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	if err := block.CheckCID(c); err != nil {
		return nil, BadCID(err)
	}
	if c.Prefix().MhType == multihash.IDENTITY {
		return inlineBlock(c)
	}
	if b := r.remembered(c); b != nil {
		return b, nil
	}
	if err := r.admit(ctx, c); err != nil {
		return nil, err
	}
	begin := time.Now()
	ctx, cancel := context.WithDeadlineCause(ctx, r.Deadline(), errRetrievalTimeout)
	defer cancel()
	b, src, err := r.src.blocks.Get(ctx, c)
	if err == nil {
		b, err = b.As(c)
	}
	if err != nil {
		return nil, fetchFailure(ctx, c, err)
	}
	r.fetched(b, src, begin, time.Now())
	r.src.observe(src, len(b.RawData()))
	return b, nil
}

// inlineBlock takes the content out of the CID itself.
func inlineBlock(c cid.Cid) (*block.Verified, error) {
	data, ok := dag.Inline(c)
	if !ok {
		return nil, BadCID(block.ErrUnsupported)
	}
	b, err := block.New(c, data)
	if err != nil {
		return nil, BadCID(err)
	}
	return b, nil
}

// admit takes a place among the misses for the request, unless it has one or
// the block is held here.
func (r *Reads) admit(ctx context.Context, c cid.Cid) error {
	local := r.local.Load()
	if !local && (r.walk || r.hasPlace()) {
		return nil
	}
	// When the question cannot be answered, the block counts as not held.
	if held, _ := r.src.blocks.Has(ctx, c); held {
		return nil
	}
	if local {
		return fetchFailure(ctx, c, block.NotFound(c))
	}
	if !r.src.misses.admit(r) {
		return Busy(r.src.Most())
	}
	return nil
}

// Has implements [unixfs.Blocks].
func (r *Reads) Has(ctx context.Context, c cid.Cid) bool {
	if c.Prefix().MhType == multihash.IDENTITY {
		return true
	}
	held, _ := r.src.blocks.Has(ctx, c)
	return held
}

// View implements [unixfs.Blocks].
func (r *Reads) View(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte)) bool {
	if !r.walk && !r.Hold(int64(size)) {
		src, viewed := r.src.sparingly(ctx, c, size, from, to, f)
		if viewed {
			r.Note(src, size)
			r.src.observe(src, size)
		}
		return viewed
	}
	return r.src.View(ctx, c, size, from, to, func(data []byte) {
		r.Note(block.Disk, len(data))
		f(data)
	})
}

// Note counts a block that was read besides.
func (r *Reads) Note(src block.Source, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[src].Blocks++
	r.counts[src].Bytes += uint64(bytes)
}

// fetched notes a block and where it came from.
func (r *Reads) fetched(b *block.Verified, src block.Source, begin, end time.Time) {
	size := len(b.RawData())
	if int(src) < len(r.counts) {
		r.Note(src, size)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if src == block.Origin {
		// Fetches overlap; time that two of them wait is counted once.
		if begin.Before(r.originEnd) {
			begin = r.originEnd
		}
		if end.After(begin) {
			r.origin += end.Sub(begin)
			r.originEnd = end
		}
	}
	// Raw blocks are file content, which is read once.
	if b.Cid().Prefix().Codec == cid.Raw || len(r.remember) >= rememberBlocks || r.held+size > rememberBytes {
		return
	}
	if r.remember == nil {
		r.remember = make(map[cid.Cid]*block.Verified)
	}
	r.remember[b.Cid()] = b
	r.held += size
}

func (r *Reads) remembered(c cid.Cid) *block.Verified {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remember[c]
}

// Counts returns what was read, and how long the origin was waited for.
func (r *Reads) Counts() (Counts, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts, r.origin
}

// Farthest returns the farthest source that was needed so far; none is true when
// no block was needed.
func (r *Reads) Farthest() (src block.Source, none bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	none = true
	for s, n := range r.counts {
		if n.Blocks > 0 {
			src, none = block.Source(s), false
		}
	}
	return src, none
}

// Deadline is when waiting for the next block, or for a name, must end: until the first
// byte everything together has the source's patience, afterwards each block has.
func (r *Reads) Deadline() time.Time {
	if r.walk || r.began.Load() {
		return time.Now().Add(r.src.Patience())
	}
	return r.start.Add(r.src.Patience())
}

// End frees the places that the request has.
func (r *Reads) End() {
	r.src.misses.leave(r)
	r.src.exports.give(r.exporting)
	r.exporting = 0
	r.mu.Lock()
	defer r.mu.Unlock()
	r.src.Release(r.holding)
	r.holding = 0
}

// limiter counts the requests that wait for content which is not held here.
type limiter struct{ most, taken atomic.Int64 }

// admit gives the request a place, if one is free. It keeps it until leave.
func (l *limiter) admit(r *Reads) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admitted || r.ended {
		// After the end, only blocks fetched ahead are left; they end with ctx.
		return r.admitted
	}
	for n := l.taken.Load(); n < l.most.Load(); n = l.taken.Load() {
		if l.taken.CompareAndSwap(n, n+1) {
			r.admitted = true
			break
		}
	}
	return r.admitted
}

// leave frees the request's place, if it has one.
func (l *limiter) leave(r *Reads) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.admitted {
		r.admitted = false
		l.taken.Add(-1)
	}
}

func (r *Reads) hasPlace() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitted
}
