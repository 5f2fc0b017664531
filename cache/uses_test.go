package cache_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/cache/cachetest"
)

// fleetOf is home to what rank says, and notes what it is told.
type fleetOf struct {
	*layer
	rank   int
	near   bool
	mu     sync.Mutex
	used   []cid.Cid
	stored int
}

func (f *fleetOf) Rank(cid.Cid) int  { return f.rank }
func (f *fleetOf) Near(cid.Cid) bool { return f.near }
func (f *fleetOf) Fill(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	return f.Get(ctx, c)
}

func (f *fleetOf) Used(c cid.Cid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = append(f.used, c)
}

func (f *fleetOf) Stored(*block.Verified) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored++
}

// on runs f in a bubble with an edge that has a memory of one shard and a disk.
func on(t *testing.T, rank int, f func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf)) {
	synctest.Test(t, func(t *testing.T) {
		d, fl := cachetest.New(), &fleetOf{layer: &layer{source: block.Origin}, rank: rank}
		c := openWith(t, cache.Options{Bytes: 1 << 20}, cache.Config{Disk: d, Admission: cachetest.Admission{}}, fl)
		defer c.Close()
		f(t, c, d, fl)
	})
}

func TestUsesInMemoryReachTheDisk(t *testing.T) {
	on(t, 0, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 100)
		get(t, c, id, block.Origin)
		synctest.Wait()
		if d.Len() != 1 || d.Uses(id) != 0 || fl.stored != 1 {
			t.Fatalf("%d blocks on disk, %d uses, told of %d", d.Len(), d.Uses(id), fl.stored)
		}
		for range 3 {
			for range 100 { // one use in a second is enough
				get(t, c, id, block.Memory)
			}
			time.Sleep(2 * time.Second)
		}
		if n := d.Uses(id); n != 3 {
			t.Errorf("the disk counted %d uses in three seconds", n)
		}
	})
}

func TestUsesOfWhatIsAtHomeElsewhereReachTheFleet(t *testing.T) {
	on(t, 1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 100)
		get(t, c, id, block.Origin)
		for range 100 {
			get(t, c, id, block.Memory)
		}
		if len(fl.used) != 1 || fl.used[0] != id || d.Len() != 0 {
			t.Errorf("told of %d uses, %d blocks on disk", len(fl.used), d.Len())
		}
	})
}

// What is at home elsewhere and here for the zone goes to the disk when it is used again.
func TestTheZonesCopyGoesToTheDiskAtItsSecondUse(t *testing.T) {
	on(t, -1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		fl.near = true
		id := fl.add(t, 1, 100)
		if _, _, err := c.Relay(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d.Len() != 0 {
			t.Fatal("it is on the disk at its first use")
		}
		get(t, c, id, block.Memory)
		synctest.Wait()
		if d.Len() != 1 || len(fl.used) != 1 {
			t.Errorf("%d blocks on the disk, the fleet was told of %d uses", d.Len(), len(fl.used))
		}
	})
}

// What the disk has let go of although it is in use is written again.
func TestUseBringsABlockBackToTheDisk(t *testing.T) {
	on(t, 0, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 100)
		get(t, c, id, block.Origin)
		synctest.Wait()
		_ = d.DeleteBlock(t.Context(), id)
		c.Use(id)
		synctest.Wait()
		if ok, _ := d.Has(t.Context(), id); !ok || d.Uses(id) == 0 {
			t.Error("it was not written again")
		}
		if c.Touch(rawCID(t, []byte("nobody has this"))) {
			t.Error("a block that nobody has was found")
		}
	})
}

// A held block is found however little memory there is, and its bytes are in nobody's
// list meanwhile.
func TestHeldBlocksStay(t *testing.T) {
	on(t, 1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 1000)
		get(t, c, id, block.Origin)
		before := c.Bytes()
		b := get(t, c, id, block.Memory)
		held := c.Hold(b)
		if held != before || c.Bytes() != 0 {
			t.Fatalf("%d bytes are held of %d, and %d are in the list", held, before, c.Bytes())
		}
		if again := c.Hold(b); again != 0 {
			t.Errorf("%d bytes are held twice", again)
		}
		c.Resize(0)
		if !has(c, id) {
			t.Fatal("it is gone")
		}
		if b, err := c.GetLocal(t.Context(), id); err != nil || b.Cid() != id {
			t.Fatalf("got %v, %v", b, err)
		}
		if n := c.Release(id); n != 0 || !has(c, id) {
			t.Errorf("%d bytes were let go while one hold is left", n)
		}
		c.Resize(1 << 20)
		if n := c.Release(id); n != held || c.Bytes() != held || !has(c, id) {
			t.Errorf("%d bytes were let go, %d are in the list", n, c.Bytes())
		}
	})
}

func TestPurgeForgetsHeldBlocks(t *testing.T) {
	on(t, 1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		a, b := fl.add(t, 1, 1000), fl.add(t, 2, 1000)
		bytes := c.Hold(get(t, c, a, block.Origin), get(t, c, b, block.Origin))
		if !remove(c, a) || has(c, a) {
			t.Error("a is still there")
		}
		c.Clear()
		if has(c, b) {
			t.Error("b is still there")
		}
		get(t, c, a, block.Origin)
		if n := c.Release(a, b); n != bytes {
			t.Errorf("%d bytes were let go of %d", n, bytes)
		}
		if c.Release(rawCID(t, []byte("not held"))) != 0 {
			t.Error("what is not held takes bytes")
		}
	})
}

// What was purged while it was held is found again when somebody holds it anew.
func TestHeldAgainAfterAPurge(t *testing.T) {
	on(t, 1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 1000)
		b := get(t, c, id, block.Origin)
		bytes := c.Hold(b)
		remove(c, id)
		if more := c.Hold(b); more != 0 || !has(c, id) {
			t.Errorf("%d bytes more are held, found: %v", more, has(c, id))
		}
		if n := c.Release(id) + c.Release(id); n != bytes {
			t.Errorf("%d bytes were let go of %d", n, bytes)
		}
	})
}

func TestHottestFirst(t *testing.T) {
	on(t, 1, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		var ids []cid.Cid
		for i := range 4 {
			ids = append(ids, fl.add(t, uint64(i), 1000))
			get(t, c, ids[i], block.Origin)
		}
		for i, uses := range []int{1, 3, 2, 0} {
			for range uses {
				get(t, c, ids[i], block.Memory)
				time.Sleep(2 * time.Second)
			}
		}
		b, err := c.GetLocal(t.Context(), ids[2])
		if err != nil {
			t.Fatal(err)
		}
		c.Hold(b)
		if got := c.Hottest(1 << 20); len(got) != 3 || got[0] != ids[1] || got[1] != ids[2] || got[2] != ids[0] {
			t.Errorf("got %v of %v", got, ids)
		}
		if got := c.Hottest(2500); len(got) != 2 {
			t.Errorf("got %d blocks of 1000 bytes into 2500", len(got))
		}
	})
}

// Pins keep what comes themselves.
func TestAsideKeepsNothingInMemory(t *testing.T) {
	on(t, 0, func(t *testing.T, c *cache.Cache, d *cachetest.Disk, fl *fleetOf) {
		id := fl.add(t, 1, 100)
		if _, src, err := c.Aside().Get(t.Context(), id); err != nil || src != block.Origin || c.Len() != 0 {
			t.Fatalf("from %s, %v, %d in memory", src, err, c.Len())
		}
		synctest.Wait()
		if _, src, _ := c.Fill(t.Context(), id); src != block.Disk || c.Len() != 0 {
			t.Errorf("a sibling's fill came from %s, and left %d in memory", src, c.Len())
		}
	})
}

// A purge that comes while the disk is written wins, too.
func TestPurgeWinsOverAWriteUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{Disk: cachetest.New()}
		l := &layer{source: block.Origin}
		id := l.add(t, 1, 100)
		c := openWith(t, cache.Options{}, cache.Config{Disk: d, Admission: cachetest.Admission{}}, alone{l})
		defer c.Close()
		get(t, c, id, block.Origin)
		// Without memory, who comes while it is written finds it in the flight.
		if _, _, err := c.Get(t.Context(), id); err != nil || l.asked.Load() != 1 {
			t.Fatalf("asked %d times, %v", l.asked.Load(), err)
		}
		if _, err := c.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if d.Len() != 0 {
			t.Error("a purged block came back")
		}
	})
}

// slowDisk takes a second to write.
type slowDisk struct{ *cachetest.Disk }

func (d *slowDisk) Put(ctx context.Context, b blocks.Block) error {
	time.Sleep(time.Second)
	return d.Disk.Put(ctx, b)
}
