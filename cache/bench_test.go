package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/cache"
)

func filled(b *testing.B, n int) (*cache.Cache, []cid.Cid) {
	l := &layer{}
	c := open(b, 1<<30, l)
	ids := make([]cid.Cid, n)
	for i := range ids {
		ids[i] = l.add(b, uint64(i), 4<<10)
		get(b, c, ids[i], block.Memory)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return c, ids
}

func BenchmarkHit(b *testing.B) {
	c, ids := filled(b, 1<<14)
	for i := range b.N {
		if _, _, err := c.Get(context.Background(), ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c, ids := filled(b, 1<<14)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, _, err := c.Get(context.Background(), ids[i%len(ids)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMiss is what the cache adds to a fetch: the layer below answers at once.
func BenchmarkMiss(b *testing.B) {
	l := &layer{}
	id := l.add(b, 1, 4<<10)
	c := open(b, 0, l)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Get(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryPerBlock reports the charge divided by what the heap grew, for a
// cache filled with blocks as the layers below make them.
func BenchmarkMemoryPerBlock(b *testing.B) {
	for _, size := range []int{8, 300, 4 << 10, 40_000, 256<<10 + 14, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := min(200_000, 256<<20/(size+500))
			for b.Loop() {
				var i int
				source := getter(func(_ context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
					return blocktest.MadeUp(id, make([]byte, size)), block.Disk, nil
				})
				c := open(b, 1<<30, source)
				before := heap()
				for i = range n {
					data := fmt.Append(nil, i)
					if _, _, err := c.Get(context.Background(), rawCID(b, data)); err != nil {
						b.Fatal(err)
					}
				}
				grown := heap() - before
				b.ReportMetric(float64(c.Bytes())/float64(grown), "charged/heap")
				b.ReportMetric(float64(grown)/float64(c.Len())-float64(size), "overhead-B/block")
				c.Close()
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
