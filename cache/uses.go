package cache

import (
	"cmp"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// All tiers are one cache, so a use in any of them is a use of the block on the disk
// of its home: otherwise the disks would let go of exactly what is asked for most,
// because the memory in front of them answers it. A hit only compares two numbers; a
// block is counted once in a moment, which is enough, as a disk counts to three and
// writes for seconds before it looks.

// moment is the unit in which uses are counted: about a second. The first one is 1.
func (c *Cache) moment() uint32 { return uint32(time.Since(c.start)>>30) + 1 }

// maxRestoring is how many blocks are written back to the disk at once.
const maxRestoring = 4

// Use counts a use of blocks that were not asked for one by one, because something that
// is kept stands for them: a finished answer, a path that is remembered, the map of a
// file. Whoever keeps it should call Use no more than once a second for the same.
func (c *Cache) Use(ids ...cid.Cid) {
	for _, id := range ids {
		home := c.fleet.Rank(id) == 0
		c.touch(id, home || c.fleet.Near(id))
		if !home {
			c.fleet.Used(id)
		}
	}
}

// Touch counts a use that a sibling reports of a block at home here, or here for the
// zone, and returns whether it is here.
func (c *Cache) Touch(id cid.Cid) bool { return c.touch(id, true) }

// touch counts a use on the disk. What is not there (any more) goes there from memory, if
// this edge keeps it: it is at home here, or here for the zone, and this use is not the
// first.
func (c *Cache) touch(id cid.Cid, keeps bool) bool {
	if c.disk.Use(id) {
		return true
	}
	b, ok := c.shardOf(block.Key(id)).peek(block.Key(id))
	if !ok || !keeps {
		return ok
	}
	select {
	case c.writing <- struct{}{}:
	default:
		return true // the next use will see to it
	}
	c.flights.Add(1)
	go func() {
		defer c.flights.Done()
		defer func() { <-c.writing }()
		if c.Put(c.life, b) == nil {
			c.disk.Use(id)
			c.restored.Add(1)
		}
	}()
	return true
}

// Hold keeps blocks in memory for as long as something stands for them that is kept
// elsewhere and shares their bytes, so that whoever asks for one of them gets it. Each
// Hold needs a Release of the same blocks. It returns how many bytes are held now and
// were not before: they do not count against the cache's own budget, and whoever holds
// them should take them from it with [Cache.Lend].
func (c *Cache) Hold(bs ...*block.Verified) (bytes int64) {
	for _, b := range bs {
		bytes += c.shardOf(block.Key(b.Cid())).hold(b)
	}
	return bytes
}

// Release ends a Hold, and returns how many bytes are held no longer.
func (c *Cache) Release(ids ...cid.Cid) (bytes int64) {
	for _, id := range ids {
		bytes += c.shardOf(block.Key(id)).release(block.Key(id))
	}
	return bytes
}

// Hottest returns blocks in memory that were used since they came, those that were
// used most first, up to a number of bytes in all.
func (c *Cache) Hottest(bytes int64) []cid.Cid {
	var all []heat
	for _, sh := range c.shards {
		all = sh.heats(all)
	}
	slices.SortFunc(all, func(a, b heat) int { return cmp.Compare(b.uses, a.uses) })
	var ids []cid.Cid
	for _, h := range all {
		if bytes -= h.size; bytes < 0 {
			break
		}
		ids = append(ids, h.id)
	}
	return ids
}
