package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// ErrClosed is returned for what is not in memory after [Cache.Close].
var ErrClosed = errors.New("memory cache is closed")

// Cache is a byte-bounded LRU cache of blocks in front of another layer. It is
// safe for concurrent use.
type Cache struct {
	next   block.Getter
	shards []*shard
	// seed spreads keys over the shards in a way that nobody outside can predict:
	// content can be ground until its hash ends as one likes.
	seed maphash.Seed

	budget   sync.Mutex // guards what follows
	capacity int64
	lent     int64

	joined atomic.Uint64 // requests that waited for a flight another had started

	// life ends with Close, and every flight with it.
	life    context.Context
	end     context.CancelFunc
	flights sync.WaitGroup

	unregister func()
}

var _ block.Getter = (*Cache)(nil)

// New returns an empty cache in front of next. Its metrics go to reg, which may
// be nil.
func New(opts Options, next block.Getter, reg prometheus.Registerer) (*Cache, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	n := shardCount(opts.Bytes)
	life, end := context.WithCancel(context.Background())
	c := &Cache{
		next:     next,
		capacity: opts.Bytes,
		shards:   make([]*shard, n),
		seed:     maphash.MakeSeed(),
		life:     life,
		end:      end,
	}
	for i := range c.shards {
		c.shards[i] = newShard(opts.Bytes / int64(n))
	}
	unregister, err := c.register(reg)
	if err != nil {
		end()
		return nil, fmt.Errorf("cache: register metrics: %w", err)
	}
	c.unregister = unregister
	return c, nil
}

// Get returns the block from memory, or fetches it from the next layer together
// with everyone else who wants it now. The Source is [block.Memory] on a hit and
// otherwise what the next layer reported, also for those who joined its flight.
//
// When ctx ends first, Get returns at once with an error that wraps its cause.
// The next layer sees neither ctx's deadline nor its end; it sees the values of
// the ctx that started the flight (so that a trace shows what caused a fetch), and
// must not let them decide the answer, which others may share.
func (c *Cache) Get(ctx context.Context, id cid.Cid) (blocks.Block, block.Source, error) {
	key := keyOf(id)
	sh := c.shardOf(key)
	if b, ok := sh.get(key); ok {
		return as(b, id), block.Memory, nil
	}
	if err := block.CheckCID(id); err != nil {
		return nil, 0, err
	}
	if b, ok, err := inline(id); ok {
		return b, block.Memory, err
	}
	if ctx.Err() != nil {
		return nil, 0, ended(ctx, id)
	}
	b, f, err := c.board(ctx, sh, key, id)
	if err != nil {
		return nil, 0, err
	}
	if b != nil {
		return as(b, id), block.Memory, nil
	}
	return f.wait(ctx, id)
}

// Peek returns the block if it is in memory, without counting as a use of it.
func (c *Cache) Peek(id cid.Cid) (blocks.Block, bool) {
	key := keyOf(id)
	b, ok := c.shardOf(key).peek(key)
	if !ok {
		return nil, false
	}
	return as(b, id), true
}

// Has reports whether the block is in memory, without counting as a use of it.
func (c *Cache) Has(id cid.Cid) bool {
	key := keyOf(id)
	_, ok := c.shardOf(key).peek(key)
	return ok
}

// Remove forgets the block, and sees to it that a fetch under way now does not
// bring it back. It reports whether the block was in memory.
func (c *Cache) Remove(id cid.Cid) bool {
	key := keyOf(id)
	return c.shardOf(key).remove(key)
}

// Clear forgets every block, and sees to it that the fetches under way now do not
// bring any back.
func (c *Cache) Clear() {
	for _, sh := range c.shards {
		sh.clear()
	}
}

// Lend takes bytes out of the budget for somebody who keeps the same content in
// another form, evicting what no longer fits; a negative number gives them back.
// At least an eighth of the budget is never lent.
func (c *Cache) Lend(bytes int64) {
	c.budget.Lock()
	defer c.budget.Unlock()
	c.lent += bytes
	c.share()
}

// Resize changes [Options.Bytes], evicting what no longer fits. The cache keeps the
// number of shards that it was made with, so one that shrinks to a small part of its
// size no longer takes the largest blocks. A negative size counts as 0.
func (c *Cache) Resize(bytes int64) {
	c.budget.Lock()
	defer c.budget.Unlock()
	c.capacity = max(bytes, 0)
	c.share()
}

// Capacity is the memory that may be held, lent bytes included.
func (c *Cache) Capacity() int64 {
	c.budget.Lock()
	defer c.budget.Unlock()
	return c.capacity
}

// share divides what is not lent among the shards. The caller holds budget.
func (c *Cache) share() {
	left := max(c.capacity-c.lent, c.capacity/8)
	for _, sh := range c.shards {
		sh.resize(left / int64(len(c.shards)))
	}
}

// Bytes is the memory that the cached blocks hold, their overhead included.
func (c *Cache) Bytes() int64 { return c.sum().bytes }

// Len is the number of blocks in memory.
func (c *Cache) Len() int { return c.sum().entries }

// Close cancels the fetches under way, waits until they have ended, forgets every
// block and withdraws the metrics. Get afterwards returns [ErrClosed].
func (c *Cache) Close() error {
	c.end()
	for _, sh := range c.shards {
		sh.close()
	}
	c.flights.Wait()
	c.unregister()
	return nil
}

func (c *Cache) shardOf(key string) *shard {
	return c.shards[maphash.String(c.seed, key)&uint64(len(c.shards)-1)]
}

// keyOf returns the multihash in a CID's binary form. It is a part of that string:
// [cid.Cid.Hash] would copy it, on every hit.
func keyOf(id cid.Cid) string {
	s := id.KeyString()
	if id.Defined() && id.Version() == 0 {
		return s
	}
	for range 2 { // the varints of version and codec
		for len(s) > 0 && s[0] >= 0x80 {
			s = s[1:]
		}
		if len(s) > 0 {
			s = s[1:]
		}
	}
	return s
}

// as returns b under the CID that was asked for.
func as(b blocks.Block, id cid.Cid) blocks.Block {
	if b.Cid() == id {
		return b
	}
	return block.Trusted(id, b.RawData())
}

// inline returns the block of a CID that carries its own content.
func inline(id cid.Cid) (b blocks.Block, ok bool, err error) {
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
