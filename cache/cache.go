package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// ErrClosed is returned for what is not in memory after [Cache.Close].
var ErrClosed = errors.New("cache is closed")

// Disk is the block store of this edge. Its methods may be called from many
// goroutines at once. What is not there is an error that ipld.IsNotFound recognises.
type Disk interface {
	Read(ctx context.Context, c cid.Cid) (*block.Verified, error)
	// Has and GetSize read no disk.
	Has(ctx context.Context, c cid.Cid) (bool, error)
	GetSize(ctx context.Context, c cid.Cid) (int, error)
	// ViewPart calls f with a part of a block, see the block store.
	ViewPart(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte) error) error
	Put(ctx context.Context, b blocks.Block) error
	DeleteBlock(ctx context.Context, c cid.Cid) error
	// Use counts one use of a block, which is what keeps it, and reports whether it
	// is there.
	Use(c cid.Cid) bool
	Pinned(c cid.Cid) bool
}

// Fleet decides whom to ask for what this edge lacks. Its methods may be called from
// many goroutines at once.
type Fleet interface {
	// Rank returns the place of this edge among the homes of a block: 0 for the first
	// home, -1 if it is none.
	Rank(c cid.Cid) int
	// Near reports whether this edge keeps a copy for its zone of a block that is at home
	// elsewhere.
	Near(c cid.Cid) bool
	// Get asks the homes of a block, of which this edge is not the first.
	Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error)
	// Fill gets a block that is at home here from siblings or the origin. There is
	// one Fill of a block at a time.
	Fill(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error)
	// Stored is told of every block that came, for whoever asked for it before.
	Stored(b *block.Verified)
	// Used is told that a block was used here that is at home elsewhere. It must not
	// block.
	Used(c cid.Cid)
}

// Admission decides whether a block that came from elsewhere goes to this disk.
type Admission interface {
	ToDisk(c cid.Cid, data []byte, home, near bool) bool
}

// Config is what a [Cache] works with.
type Config struct {
	Disk      Disk
	Admission Admission
	Log       *slog.Logger          // nil: nothing is logged
	Metrics   prometheus.Registerer // nil: nothing is registered
}

// Cache is the read path of an edge: its memory, its disk, and behind them the fleet.
// It is safe for concurrent use.
type Cache struct {
	disk  Disk
	admit Admission
	fleet Fleet // set by Connect
	log   *slog.Logger

	shards []*shard
	// seed spreads keys over the shards in a way that nobody outside can predict:
	// content can be ground until its hash ends as one likes.
	seed  maphash.Seed
	start time.Time // for moment

	budget   sync.Mutex // guards what follows
	capacity int64
	lent     int64

	joined   atomic.Uint64 // requests that waited for a flight another had started
	restored atomic.Uint64 // blocks that went from memory back to the disk
	writing  chan struct{} // a place for each of them that is being written

	reading chan struct{} // a place for each block that is being read from the disk
	quota   *block.Quota  // of the blocks that come from an origin, until their flight ends

	// life ends with Close, and every flight with it.
	life    context.Context
	end     context.CancelFunc
	flights sync.WaitGroup

	unregister func()
}

var _ block.Getter = (*Cache)(nil)

// New returns a cache with nothing in memory. [Cache.Connect] must follow before it
// is used.
func New(opts Options, cfg Config) (*Cache, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	n := shardCount(opts.Bytes)
	life, end := context.WithCancel(context.Background())
	c := &Cache{
		disk: cfg.Disk, admit: cfg.Admission, log: cfg.Log, capacity: opts.Bytes,
		shards: make([]*shard, n), seed: maphash.MakeSeed(), start: time.Now(),
		writing: make(chan struct{}, maxRestoring), reading: make(chan struct{}, maxReading), quota: block.NewQuota(max(opts.Bytes/8, leastOnTheWay)), life: life, end: end,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for i := range c.shards {
		c.shards[i] = newShard(opts.Bytes / int64(n))
	}
	unregister, err := c.register(cfg.Metrics)
	if err != nil {
		end()
		return nil, fmt.Errorf("cache: register metrics: %w", err)
	}
	c.unregister = unregister
	return c, nil
}

// Connect says who is asked for what this edge lacks. It is called once, before
// anything else.
func (c *Cache) Connect(fleet Fleet) { c.fleet = fleet }

// Get returns the block from memory, from the disk or from elsewhere, and keeps it in
// memory. The Source is where it was found, also for those who joined the fetch.
//
// When ctx ends first, Get returns at once with an error that wraps its cause; a block
// that is in memory is returned even then. A fetch sees neither ctx's deadline nor its
// end; it sees the values of the ctx that started it (so that a trace shows what caused
// it), and must not let them decide the answer, which others may share.
func (c *Cache) Get(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
	if b, ok := c.inMemory(id); ok {
		return b, block.Memory, nil
	}
	if err := block.CheckCID(id); err != nil {
		return nil, 0, err
	}
	if b, ok, err := inline(id); ok {
		return b, block.Memory, err
	}
	return c.join(ctx, id, purpose{fill: c.fleet.Rank(id) == 0, keep: true})
}

// Fill is Get for a block that the fleet has found to be at home here, on behalf of
// siblings: what comes goes to the disk and not into memory.
func (c *Cache) Fill(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
	if b, ok := c.inMemory(id); ok {
		return b, block.Memory, nil
	}
	return c.join(ctx, id, purpose{fill: true})
}

// Relay is Get on behalf of siblings that ask this edge instead of a block's home: it is
// their home in their zone, or the home has too much to do. What is asked for again
// goes to the disk.
func (c *Cache) Relay(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
	if b, ok := c.inMemory(id); ok {
		return b, block.Memory, nil
	}
	return c.join(ctx, id, purpose{fill: c.fleet.Rank(id) == 0, keep: true, near: true})
}

// Aside is Get for whoever keeps what comes on the disk itself, as pins do: it does not
// stay in memory, which belongs to visitors.
func (c *Cache) Aside() block.Getter { return aside{c} }

type aside struct{ *Cache }

// Get implements [block.Getter].
func (a aside) Get(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
	if b, ok := a.shardOf(block.Key(id)).peek(block.Key(id)); ok {
		b, err := b.As(id)
		return b, block.Memory, err
	}
	return a.join(ctx, id, purpose{fill: a.fleet.Rank(id) == 0})
}

// load is what a flight does: look on the disk, else have the fleet find the block.
func (c *Cache) load(ctx context.Context, f *flight) (*block.Verified, block.Source, error) {
	b, err := c.read(ctx, f.id)
	switch {
	case err == nil:
		return b, block.Disk, nil
	case ctx.Err() != nil: // nobody waits any more
		return nil, 0, ctx.Err()
	case !ipld.IsNotFound(err):
		// The disk failing is no reason to fail a request that others can answer.
		c.log.Warn("block store: read failed, asking further", "cid", f.id.String(), "err", err)
	}
	if f.fill {
		return c.fleet.Fill(ctx, f.id)
	}
	return c.fleet.Get(ctx, f.id)
}

// maxReading bounds the blocks that are read from the disk at once: each is memory that
// nobody counts, and more of them keep no disk busier.
const maxReading = 32

// leastOnTheWay is the least that blocks from origins may take before they are kept, in bytes.
const leastOnTheWay = 32 << 20

// read reads a block from the disk.
func (c *Cache) read(ctx context.Context, id cid.Cid) (*block.Verified, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
		return c.disk.Read(ctx, id)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// store tells whoever else asked for the block that a flight brought, and writes it to
// the disk if it belongs there: it is at home here, or is hot, or leads to others.
// A write that fails fails no request.
func (c *Cache) store(ctx context.Context, f *flight) {
	if f.src == block.Disk {
		return
	}
	c.fleet.Stored(f.b)
	home := f.fill && c.fleet.Rank(f.id) >= 0
	if !c.admit.ToDisk(f.id, f.b.RawData(), home, f.isNear() || c.fleet.Near(f.id)) || f.gone() {
		return
	}
	if err := c.disk.Put(ctx, f.b); err != nil {
		// The store counts its failed writes in a metric; one line for each block
		// would drown the log while a disk is full.
		c.log.Debug("block store: not kept", "cid", f.id.String(), "err", err)
	}
	if f.gone() {
		// Purged while it was written.
		_ = c.disk.DeleteBlock(ctx, f.id)
	}
}

// Has reports whether the block is on this edge, in memory or on disk. It reads no
// disk, and is no use of the block.
func (c *Cache) Has(ctx context.Context, id cid.Cid) (bool, error) {
	if _, ok := c.shardOf(block.Key(id)).peek(block.Key(id)); ok {
		return true, nil
	}
	return c.disk.Has(ctx, id)
}

// GetLocal returns the block from memory or disk, and asks nobody else.
func (c *Cache) GetLocal(ctx context.Context, id cid.Cid) (*block.Verified, error) {
	if b, ok := c.inMemory(id); ok {
		return b, nil
	}
	return c.disk.Read(ctx, id)
}

// ViewPart reads a part of a block from the disk, see [Disk].
func (c *Cache) ViewPart(ctx context.Context, id cid.Cid, size, from, to int, f func([]byte) error) error {
	return c.disk.ViewPart(ctx, id, size, from, to, f)
}

// Put keeps a block on the disk that is at home here.
func (c *Cache) Put(ctx context.Context, b *block.Verified) error {
	c.admit.ToDisk(b.Cid(), b.RawData(), true, false)
	return c.disk.Put(ctx, b)
}

// Pinned reports whether somebody holds the block on the disk.
func (c *Cache) Pinned(id cid.Cid) bool { return c.disk.Pinned(id) }

// Delete forgets a block that nobody holds on the disk, and returns its size in bytes,
// 0 if it was not there. A fetch under way now does not bring it back.
func (c *Cache) Delete(ctx context.Context, id cid.Cid) (int64, error) {
	if c.disk.Pinned(id) {
		return 0, nil
	}
	size, err := c.disk.GetSize(ctx, id)
	// The disk comes first, so that no request refills the memory from it.
	if err == nil {
		err = c.disk.DeleteBlock(ctx, id)
	} else if ipld.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("delete block %s: %w", id, err)
	}
	if b, ok := c.shardOf(block.Key(id)).remove(block.Key(id)); ok {
		size = len(b.RawData())
	}
	return int64(max(size, 0)), nil
}

// Close cancels the fetches under way, waits until they have ended, forgets every
// block in memory and withdraws the metrics. Get afterwards returns [ErrClosed].
func (c *Cache) Close() error {
	c.end()
	for _, sh := range c.shards {
		sh.close()
	}
	c.flights.Wait()
	c.unregister()
	return nil
}

// inMemory returns the block if it is in memory, and counts that as a use.
func (c *Cache) inMemory(id cid.Cid) (*block.Verified, bool) {
	key := block.Key(id)
	b, first, ok := c.shardOf(key).get(key, c.moment())
	if !ok {
		return nil, false
	}
	if first {
		c.Use(id)
	}
	b, err := b.As(id)
	return b, err == nil
}

func (c *Cache) shardOf(key string) *shard {
	return c.shards[maphash.String(c.seed, key)&uint64(len(c.shards)-1)]
}

// inline returns the block of a CID that carries its own content.
func inline(id cid.Cid) (b *block.Verified, ok bool, err error) {
	if id.Prefix().MhType != multihash.IDENTITY {
		return nil, false, nil
	}
	mh, err := multihash.Decode(id.Hash())
	if err != nil {
		return nil, true, fmt.Errorf("decode identity CID %s: %w", id, err)
	}
	v, err := block.New(id, mh.Digest)
	if err != nil {
		return nil, true, err
	}
	return v, true, nil
}
