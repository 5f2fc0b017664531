package blockstore

import (
	"fmt"
	"testing"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

var benchSizes = []int{4 << 10, 256 << 10}

func benchStore(b *testing.B, size int) (*Store, []*block.Verified) {
	s := openStore(b, b.TempDir(), 512<<20)
	var blocks []*block.Verified
	for i := range min(1000, 200<<20/size) {
		blocks = append(blocks, storetest.Block(i, size))
		mustPut(b, s, blocks[i])
	}
	b.SetBytes(int64(size))
	b.ResetTimer()
	return s, blocks
}

func BenchmarkGet(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, blocks := benchStore(b, size)
			for i := range b.N {
				if _, err := s.Get(ctx, blocks[i*7%len(blocks)].Cid()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkView(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, blocks := benchStore(b, size)
			for i := range b.N {
				if err := s.View(ctx, blocks[i*7%len(blocks)].Cid(), func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHas(b *testing.B) {
	s, blocks := benchStore(b, 4<<10)
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			if !has(s, blocks[i%len(blocks)].Cid()) {
				b.Fail()
			}
		}
	})
}

// BenchmarkPut stores into a store that is full, so that it makes room as well.
func BenchmarkPut(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openStore(b, b.TempDir(), 64<<20)
			data := storetest.Data(1, size+1<<20)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				// What is measured is the store, so the bytes need not be the block's.
				c := storetest.Block(i, 8).Cid()
				if err := s.Put(ctx, blocktest.MadeUp(c, data[i%(1<<20):][:size])); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
