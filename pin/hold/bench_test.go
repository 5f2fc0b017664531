package hold

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
	"github.com/shoal-cdn/shoal/pin/record"
)

// counted is a fleet that has a DAG of any number of small leaves without keeping
// them: only the nodes above them are in memory.
type counted struct {
	nodes  map[string]*block.Verified
	leaves map[string]int
	served atomic.Int64
}

const countedLeaf = 200 // bytes

func leafData(i int) []byte {
	data := make([]byte, countedLeaf)
	binary.LittleEndian.PutUint64(data, uint64(i))
	return data
}

func newCounted(n int) (*counted, cid.Cid) {
	f := &counted{nodes: map[string]*block.Verified{}, leaves: make(map[string]int, n)}
	var level []*block.Verified
	for i := 0; i < n; i += 174 {
		var below []*block.Verified
		for j := i; j < min(n, i+174); j++ {
			b := sumAs(cid.Raw, leafData(j))
			f.leaves[string(b.Cid().Hash())] = j
			below = append(below, b)
		}
		level = append(level, folder(below...))
	}
	for {
		for _, b := range level {
			f.nodes[string(b.Cid().Hash())] = b
		}
		if len(level) == 1 {
			return f, level[0].Cid()
		}
		var above []*block.Verified
		for i := 0; i < len(level); i += 174 {
			above = append(above, folder(level[i:min(len(level), i+174)]...))
		}
		level = above
	}
}

func (f *counted) Get(_ context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	f.served.Add(1)
	if b := f.nodes[string(c.Hash())]; b != nil {
		return b, block.Sibling, nil
	}
	i, ok := f.leaves[string(c.Hash())]
	if !ok {
		return nil, block.Sibling, block.NotFound(c)
	}
	return blocktest.MadeUp(c, leafData(i)), block.Sibling, nil
}

// BenchmarkMillionBlocks pins one DAG of a million blocks, and reports how much the
// heap grew at most, with and without what the store's own index takes.
func BenchmarkMillionBlocks(b *testing.B) {
	const n = 1_000_000
	fleet, root := newCounted(n)
	for b.Loop() {
		store := newStore(b, 1<<30)
		h, err := New(DefaultOptions(), Config{Store: store, Fetch: path{store, fleet}, Datastore: dssync.MutexWrap(ds.NewMapDatastore())})
		if err != nil {
			b.Fatal(err)
		}
		before, most := heapInUse(), uint64(0)
		h.Start()
		begun := time.Now()
		h.Hold(root, nil)
		for s, _ := h.State(root); s.Status != record.Pinned; s, _ = h.State(root) {
			if s.Status == record.Failed {
				b.Fatal(s.Reason)
			}
			most = max(most, heapInUse())
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Since(begun)
		after := heapInUse()
		b.ReportMetric(float64(most-before)/n, "peakB/block")
		b.ReportMetric(float64(after-before)/n, "keptB/block")
		b.ReportMetric(float64(n)/took.Seconds(), "blocks/s")
		begun = time.Now()
		if _, err := h.Verify(b.Context(), root, nil); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/time.Since(begun).Seconds(), "verified/s")
		begun = time.Now()
		h.Let(root)
		h.Close()
		b.ReportMetric(time.Since(begun).Seconds(), "let-s")
		store.Close()
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPut compares storing a block with storing and holding it.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10} {
		for _, held := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/held=%v", size, held), func(b *testing.B) {
				store := newStore(b, 4<<30)
				data := storetest.Data(1, size)
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					binary.LittleEndian.PutUint64(data, uint64(i))
					v := sumAs(cid.Raw, data)
					var err error
					if held {
						err = store.PutHeld(b.Context(), "pin/x", v)
						if i%2000 == 1999 { // the store must not fill up
							err = store.Release("pin/x")
						}
					} else {
						err = store.Put(b.Context(), v)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEvict stores into a full store, of which a part is pinned.
func BenchmarkEvict(b *testing.B) {
	const size = 32 << 10
	for _, percent := range []int{0, 25, 50, 75} {
		b.Run(fmt.Sprintf("pinned=%d%%", percent), func(b *testing.B) {
			const room = 128 << 20
			store := newStore(b, room)
			i := 0
			data := storetest.Data(1, size)
			put := func(held bool) {
				binary.LittleEndian.PutUint64(data, uint64(i))
				i++
				v := sumAs(cid.Raw, data)
				var err error
				if held {
					err = store.PutHeld(b.Context(), "pin/x", v)
				} else {
					err = store.Put(b.Context(), v)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			for store.Stats().PinnedBytes < room/100*int64(percent) {
				put(true)
				put(false) // between each other, as they come
			}
			for store.Stats().EvictedBytes < room {
				put(false)
			}
			before := store.Stats()
			b.SetBytes(size)
			for b.Loop() {
				put(false)
			}
			after := store.Stats()
			b.ReportMetric(float64(after.WrittenBytes-before.WrittenBytes)/float64(after.StoredBytes-before.StoredBytes), "written/stored")
		})
	}
}

// BenchmarkOpen opens a Holder of 100 000 roots, and lists them.
func BenchmarkOpen(b *testing.B) {
	const n = 100_000
	data := dssync.MutexWrap(ds.NewMapDatastore())
	h, err := New(DefaultOptions(), Config{Datastore: data})
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		s := saved{Report: record.Report{Share: record.Share{Status: record.Pinned, Blocks: 100, Bytes: 1 << 20, Since: time.Now()}}, Whole: true}
		if err := h.write(sumAs(cid.Raw, leafData(i)).Cid(), &s, false); err != nil {
			b.Fatal(err)
		}
	}
	before := heapInUse()
	for b.Loop() {
		if h, err = New(DefaultOptions(), Config{Datastore: data}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heapInUse()-before)/n, "B/root")
	begun, listed := time.Now(), 0
	for range h.All() {
		listed++
	}
	if listed != n {
		b.Fatalf("%d listed", listed)
	}
	b.ReportMetric(time.Since(begun).Seconds()*1000, "list-ms")
}
