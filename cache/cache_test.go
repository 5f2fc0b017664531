package cache_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// layer is a next layer that holds blocks by multihash and counts what it is asked.
type layer struct {
	mu     sync.Mutex
	blocks map[string][]byte
	source block.Source
	asked  atomic.Int64
}

func (l *layer) Get(_ context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	l.asked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	data, ok := l.blocks[string(c.Hash())]
	if !ok {
		return nil, l.source, block.NotFound(c)
	}
	return blocktest.MadeUp(c, data), l.source, nil
}

// add puts a block of size bytes, made from n, into the layer.
func (l *layer) add(t testing.TB, n uint64, size int) cid.Cid {
	t.Helper()
	data := make([]byte, max(size, 8))
	binary.LittleEndian.PutUint64(data, n)
	c := rawCID(t, data)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocks == nil {
		l.blocks = make(map[string][]byte)
	}
	l.blocks[string(c.Hash())] = data
	return c
}

func rawCID(t testing.TB, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// getter lets a function be the next layer.
type getter func(context.Context, cid.Cid) (*block.Verified, block.Source, error)

func (g getter) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	return g(ctx, c)
}

func open(t testing.TB, size int64, next block.Getter) *cache.Cache {
	t.Helper()
	c := openWith(t, cache.Options{Bytes: size}, cache.Config{}, alone{next})
	t.Cleanup(func() { c.Close() })
	return c
}

func openWith(t testing.TB, opts cache.Options, cfg cache.Config, fleet cache.Fleet) *cache.Cache {
	t.Helper()
	if cfg.Disk == nil {
		cfg.Disk = noDisk{}
	}
	if cfg.Admission == nil {
		cfg.Admission = admits(false)
	}
	c, err := cache.New(opts, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Connect(fleet)
	return c
}

// alone is the fleet of an edge that is home to everything.
type alone struct{ block.Getter }

func (alone) Rank(cid.Cid) int       { return 0 }
func (alone) Near(cid.Cid) bool      { return false }
func (alone) Stored(*block.Verified) {}
func (alone) Used(cid.Cid)           {}
func (a alone) Fill(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	return a.Getter.Get(ctx, c)
}

// admits lets every block to the disk, or none.
type admits bool

func (a admits) ToDisk(cid.Cid, []byte, bool, bool) bool { return bool(a) }

// noDisk is a disk without room.
type noDisk struct{}

func (noDisk) Read(_ context.Context, c cid.Cid) (*block.Verified, error) {
	return nil, block.NotFound(c)
}
func (noDisk) Has(context.Context, cid.Cid) (bool, error)        { return false, nil }
func (noDisk) GetSize(_ context.Context, c cid.Cid) (int, error) { return -1, block.NotFound(c) }
func (noDisk) ViewPart(_ context.Context, c cid.Cid, _, _, _ int, _ func([]byte) error) error {
	return block.NotFound(c)
}
func (noDisk) Put(context.Context, blocks.Block) error    { return errors.New("no room") }
func (noDisk) DeleteBlock(context.Context, cid.Cid) error { return nil }
func (noDisk) Use(cid.Cid) bool                           { return false }
func (noDisk) Pinned(cid.Cid) bool                        { return false }

// has reports whether the cache has the block.
func has(c *cache.Cache, id cid.Cid) bool {
	ok, _ := c.Has(context.Background(), id)
	return ok
}

// remove forgets the block, and reports whether it was there.
func remove(c *cache.Cache, id cid.Cid) bool {
	size, _ := c.Delete(context.Background(), id)
	return size > 0
}

func get(t testing.TB, c *cache.Cache, id cid.Cid, want block.Source) *block.Verified {
	t.Helper()
	b, src, err := c.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if src != want || b.Cid() != id {
		t.Fatalf("got %s from %s, want %s from %s", b.Cid(), src, id, want)
	}
	return b
}

func TestMissThenHit(t *testing.T) {
	l := &layer{source: block.Origin}
	id := l.add(t, 1, 1000)
	c := open(t, 1<<20, l)
	first := get(t, c, id, block.Origin)
	second := get(t, c, id, block.Memory)
	if !bytes.Equal(first.RawData(), second.RawData()) || l.asked.Load() != 1 {
		t.Fatalf("asked %d times", l.asked.Load())
	}
	if c.Len() != 1 || c.Bytes() != 1024+cache.Overhead {
		t.Fatalf("holds %d blocks, %d bytes", c.Len(), c.Bytes())
	}
}

func TestSameBytesUnderAnotherCID(t *testing.T) {
	l := &layer{source: block.Disk}
	v1 := l.add(t, 1, 100)
	c := open(t, 1<<20, l)
	get(t, c, v1, block.Disk)
	for _, id := range []cid.Cid{cid.NewCidV0(v1.Hash()), cid.NewCidV1(cid.DagCBOR, v1.Hash()), cid.NewCidV1(cid.Libp2pKey+1<<20, v1.Hash())} {
		get(t, c, id, block.Memory)
		if b, err := c.GetLocal(context.Background(), id); err != nil || b.Cid() != id || !has(c, id) {
			t.Fatalf("%s is not found under its own CID", id)
		}
	}
	if l.asked.Load() != 1 || c.Len() != 1 {
		t.Fatalf("asked %d times, holds %d blocks", l.asked.Load(), c.Len())
	}
}

func TestErrorsAreNotRemembered(t *testing.T) {
	l := &layer{}
	c := open(t, 1<<20, l)
	other := &layer{}
	id := other.add(t, 7, 10)
	for range 2 {
		if b, _, err := c.Get(context.Background(), id); !ipld.IsNotFound(err) || b != nil {
			t.Fatalf("got %v, %v; want not found", b, err)
		}
	}
	l.add(t, 7, 10)
	get(t, c, id, block.Memory) // what the layer reports: its zero Source
	if l.asked.Load() != 3 {
		t.Fatalf("asked %d times, want 3", l.asked.Load())
	}
}

func TestBadCIDsReachNobody(t *testing.T) {
	l := &layer{}
	c := open(t, 1<<20, l)
	md5, _ := multihash.Sum([]byte("x"), multihash.MD5, -1)
	long, _ := multihash.Sum(make([]byte, block.MaxIdentitySize+1), multihash.IDENTITY, -1)
	for _, id := range []cid.Cid{cid.Undef, cid.NewCidV1(cid.Raw, md5), cid.NewCidV1(cid.Raw, long)} {
		if _, _, err := c.Get(context.Background(), id); !errors.Is(err, block.ErrUnsupported) {
			t.Errorf("%.40s: got %v, want ErrUnsupported", id, err)
		}
		if has(c, id) || remove(c, id) {
			t.Errorf("%.40s is in the cache", id)
		}
	}
	if l.asked.Load() != 0 {
		t.Fatalf("asked %d times", l.asked.Load())
	}
}

func TestIdentityIsAnsweredOnTheSpot(t *testing.T) {
	l := &layer{}
	c := open(t, 1<<20, l)
	for _, s := range []string{"", "a fish"} {
		mh, _ := multihash.Sum([]byte(s), multihash.IDENTITY, -1)
		b := get(t, c, cid.NewCidV1(cid.Raw, mh), block.Memory)
		if string(b.RawData()) != s {
			t.Fatalf("got %q, want %q", b.RawData(), s)
		}
	}
	if l.asked.Load() != 0 || c.Len() != 0 {
		t.Fatalf("asked %d times, keeps %d", l.asked.Load(), c.Len())
	}
}

func TestLargeBlocksPassThrough(t *testing.T) {
	l := &layer{source: block.Disk}
	small, large := l.add(t, 1, 100), l.add(t, 2, 2000)
	c := open(t, 2000, l)
	get(t, c, small, block.Disk)
	get(t, c, large, block.Disk)
	get(t, c, large, block.Disk)
	get(t, c, small, block.Memory)
	if c.Len() != 1 {
		t.Fatalf("holds %d blocks", c.Len())
	}
}

func TestZeroBytesKeepsNothing(t *testing.T) {
	l := &layer{source: block.Disk}
	id := l.add(t, 1, 0)
	c := open(t, 0, l)
	get(t, c, id, block.Disk)
	get(t, c, id, block.Disk)
	if c.Len() != 0 || c.Bytes() != 0 {
		t.Fatalf("holds %d blocks, %d bytes", c.Len(), c.Bytes())
	}
}

func TestSpareCapacityIsCharged(t *testing.T) {
	data := append(make([]byte, 0, 1<<20), "a small part of a large buffer"...)
	id := rawCID(t, data)
	c := open(t, 8<<20, getter(func(context.Context, cid.Cid) (*block.Verified, block.Source, error) {
		return blocktest.MadeUp(id, data), block.Disk, nil
	}))
	get(t, c, id, block.Disk)
	if got := c.Bytes(); got < 1<<20 {
		t.Fatalf("charged %d bytes for a block that holds on to 1 MiB", got)
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	l := &layer{source: block.Disk}
	ids := []cid.Cid{l.add(t, 0, 1000), l.add(t, 1, 1000), l.add(t, 2, 1000)}
	c := open(t, 2*(1024+cache.Overhead), l)
	get(t, c, ids[0], block.Disk)
	get(t, c, ids[1], block.Disk)
	get(t, c, ids[0], block.Memory)
	has(c, ids[1]) // is not a use
	has(c, ids[1])
	get(t, c, ids[2], block.Disk)
	if !has(c, ids[0]) || has(c, ids[1]) || !has(c, ids[2]) {
		t.Fatalf("kept %v %v %v", has(c, ids[0]), has(c, ids[1]), has(c, ids[2]))
	}
}

func TestRemoveAndClear(t *testing.T) {
	l := &layer{source: block.Disk}
	a, b := l.add(t, 1, 10), l.add(t, 2, 10)
	c := open(t, 1<<20, l)
	get(t, c, a, block.Disk)
	get(t, c, b, block.Disk)
	if !remove(c, cid.NewCidV0(a.Hash())) || remove(c, a) || has(c, a) {
		t.Fatal("a was not removed once")
	}
	c.Clear()
	if has(c, b) || c.Len() != 0 || c.Bytes() != 0 {
		t.Fatalf("holds %d blocks, %d bytes after Clear", c.Len(), c.Bytes())
	}
	get(t, c, b, block.Disk)
}

func TestWrongBlockIsRefused(t *testing.T) {
	l := &layer{}
	asked, other := l.add(t, 1, 10), l.add(t, 2, 10)
	for name, tc := range map[string]struct {
		give *block.Verified
		want error
	}{
		"another block": {blocktest.MadeUp(other, []byte("x")), block.ErrMismatch},
		"no block":      {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, 1<<20, getter(func(context.Context, cid.Cid) (*block.Verified, block.Source, error) {
				return tc.give, block.Disk, nil
			}))
			b, _, err := c.Get(context.Background(), asked)
			if err == nil || b != nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("got %v, %v", b, err)
			}
			if c.Len() != 0 {
				t.Fatal("it was kept")
			}
		})
	}
}

// TestBoundUnderRandomLoad compares a cache of one shard with a plain model after
// every step, and a cache of many shards with its bound.
func TestBoundUnderRandomLoad(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			l := &layer{source: block.Disk}
			const capacity = 300_000
			c := open(t, capacity, l)
			m := &model{capacity: capacity}
			var ids []cid.Cid
			for i := range 400 {
				ids = append(ids, l.add(t, uint64(i), rng.IntN(1<<rng.IntN(17))))
			}
			for step := range 6000 {
				id := ids[int(float64(len(ids))*rng.Float64()*rng.Float64())]
				switch rng.IntN(20) {
				case 0:
					if got, want := remove(c, id), m.remove(id); got != want {
						t.Fatalf("step %d: Remove: got %v, want %v", step, got, want)
					}
				case 1:
					if got, want := has(c, id), m.find(id) >= 0; got != want {
						t.Fatalf("step %d: Has: got %v, want %v", step, got, want)
					}
				default:
					want := block.Disk
					if m.use(id) {
						want = block.Memory
					}
					b := get(t, c, id, want)
					if want == block.Disk {
						m.add(id, len(b.RawData()))
					}
				}
				if int64(m.bytes()) != c.Bytes() || len(m.list) != c.Len() || c.Bytes() > capacity {
					t.Fatalf("step %d: holds %d blocks, %d bytes; want %d, %d", step, c.Len(), c.Bytes(), len(m.list), m.bytes())
				}
			}
			if m.evicted == 0 {
				t.Fatal("the load never filled the cache")
			}
		})
	}
}

// model is an LRU list written for plainness: most recent first.
type model struct {
	capacity, evicted int
	list              []modelEntry
}

type modelEntry struct {
	id   cid.Cid
	cost int
}

func (m *model) find(id cid.Cid) int {
	for i, e := range m.list {
		if e.id == id {
			return i
		}
	}
	return -1
}

func (m *model) use(id cid.Cid) bool {
	i := m.find(id)
	if i < 0 {
		return false
	}
	e := m.list[i]
	copy(m.list[1:i+1], m.list[:i])
	m.list[0] = e
	return true
}

func (m *model) remove(id cid.Cid) bool {
	i := m.find(id)
	if i >= 0 {
		m.list = append(m.list[:i], m.list[i+1:]...)
	}
	return i >= 0
}

func (m *model) add(id cid.Cid, size int) {
	cost := modelCharge(size)
	if cost > m.capacity {
		return
	}
	for m.bytes()+cost > m.capacity {
		m.list = m.list[:len(m.list)-1]
		m.evicted++
	}
	m.list = append([]modelEntry{{id, cost}}, m.list...)
}

func (m *model) bytes() (n int) {
	for _, e := range m.list {
		n += e.cost
	}
	return n
}

// modelCharge rounds up to 16 steps between powers of two, 8 at the least, and
// to pages above 32 KiB.
func modelCharge(size int) int {
	step := 8
	for step*16 <= size && size <= 32<<10 {
		step *= 2
	}
	if size > 32<<10 {
		step = 8 << 10
	}
	return (size+step-1)/step*step + cache.Overhead
}

func TestBoundUnderConcurrentLoad(t *testing.T) {
	l := &layer{source: block.Disk}
	const capacity = 64 << 20 // several shards
	c := open(t, capacity, l)
	var ids []cid.Cid
	for i := range 600 {
		ids = append(ids, l.add(t, uint64(i), 256<<10))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 2))
			for i := range 2000 {
				id := ids[rng.IntN(len(ids))]
				b, _, err := c.Get(context.Background(), id)
				if err != nil || b.Cid() != id {
					t.Errorf("got %v, %v", b, err)
					return
				}
				switch {
				case i%50 == 0:
					remove(c, id)
				case i%997 == 0:
					c.Clear()
				}
				if got := c.Bytes(); got > capacity {
					t.Errorf("holds %d bytes, the limit is %d", got, capacity)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		remove(c, id)
	}
	if c.Bytes() != 0 || c.Len() != 0 {
		t.Fatalf("%d bytes, %d blocks after removing all", c.Bytes(), c.Len())
	}
}

func TestOptions(t *testing.T) {
	if err := cache.DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	_, err := cache.New(cache.Options{Bytes: -1}, cache.Config{})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("Bytes: -1")) {
		t.Fatalf("got %v, want an error that names the field and the value", err)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	l := &layer{source: block.Disk}
	c := openWith(t, cache.Options{Bytes: 3000}, cache.Config{Metrics: reg}, alone{l})
	get(t, c, l.add(t, 1, 1000), block.Disk)
	get(t, c, l.add(t, 2, 1000), block.Disk)
	get(t, c, l.add(t, 3, 1000), block.Disk)
	want := map[string]float64{
		"shoal_cache_bytes":           2 * (1024 + cache.Overhead),
		"shoal_cache_capacity_bytes":  3000,
		"shoal_cache_entries":         2,
		"shoal_cache_evictions_total": 1,
		"shoal_cache_joined_total":    0,
		"shoal_cache_restored_total":  0,
	}
	if got := gather(t, reg); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := cache.New(cache.Options{}, cache.Config{Metrics: reg}); err == nil {
		t.Error("a second cache registered the same metrics")
	}
	if got := gather(t, reg); !maps.Equal(got, want) {
		t.Errorf("after a refused second cache: %v, want %v", got, want)
	}
	c.Close()
	if got := gather(t, reg); len(got) != 0 {
		t.Errorf("left after Close: %v", got)
	}
}

func gather(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got
}

// What is lent is taken from the blocks at once, and comes back.
func TestLend(t *testing.T) {
	const budget = 64 << 20
	c := open(t, budget, &endless{})
	fill := func() int64 {
		for i := range 200 {
			data := bytes.Repeat([]byte{byte(i)}, 512<<10)
			mh, _ := multihash.Sum(data, multihash.SHA2_256, -1)
			if _, _, err := c.Get(context.WithValue(t.Context(), endlessKey{}, data), cid.NewCidV1(cid.Raw, mh)); err != nil {
				t.Fatal(err)
			}
		}
		return c.Bytes()
	}
	full := fill()
	if full < budget/2 {
		t.Fatalf("%d bytes of %d are used", full, budget)
	}
	c.Lend(budget / 2)
	if got := c.Bytes(); got > budget/2 {
		t.Errorf("half is lent, and %d bytes are still used", got)
	}
	if got := fill(); got > budget/2 {
		t.Errorf("half is lent, and %d bytes are used again", got)
	}
	c.Lend(budget) // more than there is
	if got := c.Bytes(); got > budget/8 {
		t.Errorf("%d bytes are used of the eighth that is left", got)
	}
	c.Lend(-budget - budget/2)
	if got := fill(); got < budget/2 {
		t.Errorf("all is back, and %d bytes are used", got)
	}
}

type endlessKey struct{}

// endless has the block whose bytes the context carries.
type endless struct{}

func (*endless) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	b, err := block.New(c, ctx.Value(endlessKey{}).([]byte))
	return b, block.Origin, err
}

func TestResize(t *testing.T) {
	l := &layer{source: block.Disk}
	c := open(t, 64<<20, l)
	ids := make([]cid.Cid, 64)
	for i := range ids {
		ids[i] = l.add(t, uint64(i), 256<<10)
		get(t, c, ids[i], block.Disk)
	}
	held := c.Len()
	c.Resize(8 << 20)
	if c.Bytes() > 8<<20 || c.Len() == 0 || c.Len() >= held || c.Capacity() != 8<<20 {
		t.Errorf("%d bytes in %d blocks of %d", c.Bytes(), c.Len(), held)
	}
	c.Resize(256 << 20)
	for _, id := range ids {
		if _, _, err := c.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if c.Len() != len(ids) {
		t.Errorf("%d of %d blocks fit", c.Len(), len(ids))
	}
	c.Lend(255 << 20)
	if c.Resize(0); c.Bytes() != 0 {
		t.Errorf("%d bytes", c.Bytes())
	}
}
