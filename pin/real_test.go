package pin

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/record"
)

// realFleet is a fleet of edges with real lists, holders, databases and block stores,
// over calls in memory.
type realFleet struct {
	t      testing.TB
	mu     sync.Mutex
	edges  map[string]*realEdge
	origin map[string][]byte // by multihash
}

type realEdge struct {
	*Pins
	fleet *realFleet
	name  string
	dir   string
	store *blockstore.Store
}

func newRealFleet(t testing.TB) *realFleet {
	return &realFleet{t: t, edges: map[string]*realEdge{}, origin: map[string][]byte{}}
}

func (f *realFleet) start(name, dir string) *realEdge {
	f.t.Helper()
	o := blockstore.DefaultOptions()
	o.Dir, o.Capacity = dir+"/blocks", 64<<20
	store, err := blockstore.New(o, nil, prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	e := &realEdge{fleet: f, name: name, dir: dir, store: store}
	opts := DefaultOptions()
	opts.Dir, opts.Grace, opts.Look = dir+"/pins", 200*time.Millisecond, 10*time.Millisecond
	opts.List.Interval, opts.Hold.RetryFirst = 20*time.Millisecond, 20*time.Millisecond
	if e.Pins, err = New(opts, Config{Store: store, Fetch: e, Fleet: e}); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.edges[name] = e
	f.mu.Unlock()
	return e
}

func (e *realEdge) stop() {
	e.fleet.mu.Lock()
	delete(e.fleet.edges, e.name)
	e.fleet.mu.Unlock()
	if err := e.Close(); err != nil {
		e.fleet.t.Error(err)
	}
	if err := e.store.Close(); err != nil {
		e.fleet.t.Error(err)
	}
}

// Get looks on this disk, then on the others', then at the origin.
func (e *realEdge) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	e.fleet.mu.Lock()
	stores := []*blockstore.Store{e.store}
	for _, o := range e.fleet.edges {
		stores = append(stores, o.store)
	}
	data, ok := e.fleet.origin[string(c.Hash())]
	e.fleet.mu.Unlock()
	for _, s := range stores {
		if b, err := s.Read(ctx, c); err == nil {
			return b, block.Sibling, nil
		} else if !ipld.IsNotFound(err) && s == e.store {
			return nil, block.Disk, err
		}
	}
	if !ok {
		return nil, block.Origin, block.NotFound(c)
	}
	b, err := block.New(c, data)
	return b, block.Origin, err
}

func (e *realEdge) Members() []member.Member {
	e.fleet.mu.Lock()
	defer e.fleet.mu.Unlock()
	list := []member.Member{}
	for name := range e.fleet.edges {
		list = append(list, member.Member{Name: name, Peer: name, State: member.Alive, Weight: 1, Self: name == e.name})
	}
	if e.fleet.edges[e.name] == nil {
		list = append(list, member.Member{Name: e.name, Peer: e.name, State: member.Alive, Weight: 1, Self: true})
	}
	return list
}

func (e *realEdge) Call(ctx context.Context, member, method string, request, response any) error {
	e.fleet.mu.Lock()
	to := e.fleet.edges[member]
	e.fleet.mu.Unlock()
	if to == nil {
		return fmt.Errorf("%s is not there", member)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	result, err := to.Handlers()[method](ctx, e.name, body)
	if err != nil {
		return err
	}
	if body, err = json.Marshal(result); err != nil || response == nil {
		return err
	}
	return json.Unmarshal(body, response)
}

func (e *realEdge) Ranker(among []member.Member) func([]byte, int) []string {
	return memoryFleet{}.Ranker(among)
}

// leaf makes a block that the origin has.
func (f *realFleet) leaf(text string) cid.Cid {
	mh, _ := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.origin[string(mh)] = []byte(text)
	return cid.NewCidV1(cid.Raw, mh)
}

func (f *realFleet) until(what string, cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it does not come about: %s", what)
		}
	}
}

// holding returns who holds a root durably, by the block stores.
func (f *realFleet) holding(c cid.Cid) (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, e := range f.edges {
		if slices.Contains(e.store.Owners(), "pin/"+c.String()) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// The parts together: pins spread, an edge goes and comes back with what it had, another
// one is new, and what is unpinned is let go everywhere.
func TestTheRealParts(t *testing.T) {
	f := newRealFleet(t)
	dirs := map[string]string{}
	var edges []*realEdge
	for _, name := range []string{"a", "b", "c"} {
		dirs[name] = t.TempDir()
		e := f.start(name, dirs[name])
		e.Start(nil)
		edges = append(edges, e)
	}
	var roots []cid.Cid
	var ids []string
	for i := range 12 {
		c := f.leaf(fmt.Sprint("leaf ", i))
		v, err := edges[i%3].Add(t.Context(), "owner", record.Request{CID: c, Replicas: 2, Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		roots, ids = append(roots, c), append(ids, v.ID)
	}
	everywhere := func(n int) func() bool {
		return func() bool {
			f.mu.Lock()
			up := []*realEdge{}
			for _, e := range f.edges {
				up = append(up, e)
			}
			f.mu.Unlock()
			for i, id := range ids {
				for _, e := range up {
					if v, err := e.Get2(id); err != nil || v.Status != record.Pinned {
						return false
					}
				}
				if len(f.holding(roots[i])) != n {
					return false
				}
			}
			return true
		}
	}
	f.until("two replicas of each", everywhere(2))
	replaced := f.leaf("instead")
	v, err := edges[1].Replace(t.Context(), "owner", ids[0], record.Request{CID: replaced, Replicas: 2})
	if err != nil {
		t.Fatal(err)
	}
	old := roots[0]
	roots[0], ids[0] = replaced, v.ID
	f.until("the new one in place of the old one", func() bool { return everywhere(2)() && len(f.holding(old)) == 0 })

	edges[0].stop()
	f.until("two replicas on those that are left", everywhere(2))
	edges[0] = f.start("a", dirs["a"])
	edges[0].Start(nil)
	edges[1].stop()
	f.until("two replicas once more", everywhere(2))
	edges[1] = f.start("b", t.TempDir()) // another disk
	edges[1].Start(nil)
	f.until("two replicas in the end", everywhere(2))
	for _, id := range ids {
		if err := edges[2].Remove(t.Context(), "owner", id); err != nil {
			t.Fatal(err)
		}
	}
	f.until("nothing is held", func() bool {
		return !slices.ContainsFunc(edges, func(e *realEdge) bool { return len(e.store.Owners()) > 0 })
	})
	for _, e := range edges {
		e.stop()
	}
}

// Get2 is Pins.Get for the owner of the tests; Get is the blocks'.
func (e *realEdge) Get2(id string) (record.View, error) {
	return e.Pins.Get(context.Background(), "owner", id)
}

// BenchmarkHundredThousandPins measures what lists and starts cost with 100 000 pins of
// 20 000 owners' names on one edge that holds all of them.
func BenchmarkHundredThousandPins(b *testing.B) {
	const pins = 100_000
	f := newRealFleet(b)
	dir := b.TempDir()
	e := f.start("a", dir)
	held := namespace.Wrap(e.db, ds.NewKey("/hold"))
	var batch []record.Pin
	states, err := held.Batch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	for i := range pins {
		c := f.leaf(fmt.Sprint("leaf ", i))
		batch = append(batch, e.newPin("owner", record.Request{CID: c, Name: fmt.Sprint("name ", i%20_000)}))
		state, _ := json.Marshal(map[string]any{"status": "pinned", "blocks": 1, "bytes": 10, "since": time.Now(), "settled": true})
		if err := states.Put(b.Context(), ds.NewKey("/"+c.String()), state); err != nil {
			b.Fatal(err)
		}
		if len(batch) == 1000 {
			if err := e.list.Add(b.Context(), batch...); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	if err := states.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("made in %s", time.Since(began).Round(time.Millisecond))
	e.stop()
	b.Run("start", func(b *testing.B) {
		for range b.N {
			e := f.start("a", dir)
			if n := e.Counts()[record.Pinned]; n != pins {
				b.Fatalf("%d are pinned", n)
			}
			b.StopTimer()
			e.stop()
			b.StartTimer()
		}
	})
	one := f.leaf("leaf 777")
	f.origin = nil
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e = f.start("a", dir)
	defer e.stop()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("%d pins take %d MiB of memory", pins, (after.HeapAlloc-before.HeapAlloc)>>20)
	for name, q := range map[string]record.Query{
		"page of 10":            {Limit: 10, Statuses: []record.Status{record.Pinned}},
		"page of 1000":          {Limit: 1000, Statuses: []record.Status{record.Pinned}},
		"all":                   {},
		"by name":               {Limit: 10, Name: "name 777"},
		"by part of a name":     {Limit: 10, Name: "NAME 777", Match: record.IPartial},
		"by CID":                {Limit: 10, CIDs: []cid.Cid{one}},
		"failed, there is none": {Limit: 10, Statuses: []record.Status{record.Failed}},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if _, err := e.List(b.Context(), "owner", q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("everything judged again", func(b *testing.B) {
		for range b.N {
			e.mu.Lock()
			for _, r := range e.roots {
				e.replan(r)
			}
			e.mu.Unlock()
		}
	})
}
