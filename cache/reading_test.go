package cache_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
)

// busyDisk takes a second for each block, and counts how many it reads at once.
type busyDisk struct {
	noDisk
	now, most, calls atomic.Int64
}

func (d *busyDisk) Read(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	d.calls.Add(1)
	if n := d.now.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	time.Sleep(time.Second)
	d.now.Add(-1)
	return d.noDisk.Read(ctx, c)
}

// A crowd that asks for different blocks has a bounded number of them read at once, and
// who hangs up before it is their turn has none read.
func TestFewBlocksAreReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &busyDisk{}
		next := getter(func(_ context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
			return nil, block.Origin, block.NotFound(c)
		})
		c := openWith(t, cache.Options{Bytes: 1 << 20}, cache.Config{Disk: d}, alone{next})
		defer c.Close()
		ctx, hangUp := context.WithCancel(context.Background())
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() { _, _, _ = c.Get(ctx, rawCID(t, []byte(fmt.Sprint(i)))) })
		}
		time.Sleep(1500 * time.Millisecond) // two turns have begun
		hangUp()
		all.Wait()
		time.Sleep(10 * time.Second)
		if d.most.Load() != 32 || d.calls.Load() != 64 {
			t.Errorf("%d blocks were read at once, and %d in all", d.most.Load(), d.calls.Load())
		}
	})
}
