package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/members"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

func TestColdCrowdFetchesEachBlockOnce(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := makeBlocks(t, 200, 4096)
			origin := newSource(want...)
			all := fleet(t, n, origin, calm)
			if errs := crowd(t, all, want, 16); len(errs) > 0 {
				t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
			}
			if ratio := float64(origin.count()) / float64(len(want)); ratio > 1.02 {
				t.Errorf("%.3f origin fetches for each block", ratio)
			}
			stored := 0
			for _, e := range all {
				stored += e.disk.len()
			}
			if stored > len(want)+len(want)/20 {
				t.Errorf("%d copies of %d blocks on the disks", stored, len(want))
			}
		})
	}
}

func TestSourceSaysWhereABlockCameFrom(t *testing.T) {
	want := makeBlocks(t, 1, 100)
	origin := newSource(want...)
	all := fleet(t, 3, origin)
	b := want[0]
	home := all[0]
	for _, e := range all {
		if e.Rank(b.Cid()) == 0 {
			home = e
		}
	}
	if src := mustGet(t, home, b); src != block.Origin {
		t.Errorf("home: got it from %s", src)
	}
	for _, e := range all {
		if e == home {
			continue
		}
		if src := mustGet(t, e, b); src != block.Sibling {
			t.Errorf("%s: got it from %s", e.name, src)
		}
		if e.disk.len() > 0 {
			t.Errorf("%s stored a block that is at home elsewhere", e.name)
		}
	}
}

func TestHundredWantsAreOneFill(t *testing.T) {
	b := makeBlock(t, 50_000)
	origin := newSource(b)
	origin.gate = make(chan struct{})
	all := fleet(t, 4, origin)
	done := make(chan []error)
	go func() {
		var many []*block.Verified
		for range 25 {
			many = append(many, b)
		}
		done <- crowd(t, all, many, 25)
	}()
	eventually(t, "the origin is asked", func() bool { return origin.count() > 0 })
	// Pending is not silence: nobody turns to another home meanwhile.
	time.Sleep(originSilence / 2)
	close(origin.gate)
	if errs := <-done; len(errs) > 0 {
		t.Fatal(errs[0])
	}
	if n := origin.count(); n != 1 {
		t.Fatalf("%d fetches", n)
	}
}

func TestKilledEdgeHalfWay(t *testing.T) {
	want := makeBlocks(t, 300, 4096)
	origin := newSource(want...)
	origin.delay = 2 * time.Millisecond
	all := fleet(t, 4, origin)
	var once sync.Once
	go func() {
		eventually(t, "half of it", func() bool { return origin.count() > len(want)/2 })
		once.Do(func() { all[3].Close() })
	}()
	errs := crowd(t, all[:3], want, 16)
	once.Do(func() { all[3].Close() })
	if len(errs) > 0 {
		t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
	}
	// What the killed edge alone had was fetched a second time, if it was asked
	// for again.
	if ratio := float64(origin.count()) / float64(len(want)); ratio > 1.2 {
		t.Errorf("%.3f origin fetches for each block", ratio)
	}
}

func TestFrozenEdgeIsRoutedAround(t *testing.T) {
	net := newCable()
	origin := newSource()
	all := fleetOn(t, net, 4, origin)
	v := all[0].view.Load()
	var want []*block.Verified
	for range 20 {
		b := homedAt(t, v, "edge-3")
		origin.put(b)
		want = append(want, b)
	}
	net.freeze("edge-3")
	defer net.hold(nil)
	start := time.Now()
	if errs := crowd(t, all[:3], want, 20); len(errs) > 0 {
		t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
	}
	t.Logf("with one edge frozen: %s", time.Since(start))
	// Each of them may have been fetched by two homes that found out at different
	// times, not by more.
	for c, n := range origin.fetched() {
		if n > 2 {
			t.Errorf("%s was fetched %d times", c, n)
		}
	}
	eventually(t, "the frozen edge is out of the ring", func() bool { return all[0].view.Load().ring.Len() == 3 })
	net.hold(nil)
	settle(t, all...)
}

func TestJoiningEdgeGetsItsBlocksFromTheirOldHomes(t *testing.T) {
	want := makeBlocks(t, 100, 2000)
	origin := newSource(want...)
	all := fleet(t, 3, origin)
	for i, b := range want {
		mustGet(t, all[i%3], b)
	}
	before := origin.count()
	opts := testOptions("edge-3")
	opts.Peers = []string{all[1].as()}
	joined := newEdge(t, opts, Config{})
	joined.Start(origin)
	all = append(all, joined)
	settle(t, all...)
	moved := 0
	for _, b := range want {
		if joined.Rank(b.Cid()) == 0 {
			moved++
		}
		mustGet(t, joined, b)
	}
	if n := origin.count() - before; n > 0 {
		t.Errorf("%d more fetches", n)
	}
	if moved == 0 || joined.disk.len() != moved {
		t.Errorf("%d blocks moved, %d stored", moved, joined.disk.len())
	}
}

func TestLeavingEdgeHandsOver(t *testing.T) {
	want := makeBlocks(t, 60, 2000)
	origin := newSource(want...)
	all := fleet(t, 3, origin)
	for i, b := range want {
		mustGet(t, all[i%3], b)
	}
	before := origin.count()
	all[2].Drain(t.Context())
	for _, e := range all[:2] {
		eventually(t, "it is out of the ring", func() bool { return e.view.Load().ring.Len() == 2 })
		if s := stateOf(e, "edge-2"); s != members.Leaving {
			t.Errorf("%s: state %s", e.name, s)
		}
	}
	for _, b := range want {
		if src := mustGet(t, all[0], b); src == block.Origin {
			t.Errorf("%s came from the origin", b.Cid())
		}
		mustGet(t, all[2], b)
	}
	if n := origin.count() - before; n > 0 {
		t.Errorf("%d more fetches", n)
	}
	// It comes back under its name.
	addr := all[0].as()
	all[2].Close()
	opts := testOptions("edge-2")
	opts.Peers = []string{addr}
	all[2] = newEdge(t, opts, Config{})
	all[2].Start(origin)
	settle(t, all...)
}

func TestCutFleetServesOnAndHeals(t *testing.T) {
	net := newCable()
	want := makeBlocks(t, 40, 2000)
	origin := newSource(want...)
	all := fleetOn(t, net, 4, origin)
	side := func(name string) bool { return name < "edge-2" }
	net.hold(func(a, b string) bool { return side(a) != side(b) })
	if errs := crowd(t, all, want, 8); len(errs) > 0 {
		t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
	}
	if n := origin.count(); n > 2*len(want) {
		t.Errorf("%d fetches of %d blocks by two halves", n, len(want))
	}
	for _, e := range all {
		eventually(t, "it sees its half", func() bool { return e.view.Load().ring.Len() == 2 })
	}
	net.hold(nil)
	start := time.Now()
	settle(t, all...)
	t.Logf("one fleet again after %s", time.Since(start))
	more := makeBlocks(t, 40, 2000)
	for _, b := range more {
		origin.put(b)
	}
	before := origin.count()
	if errs := crowd(t, all, more, 8); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	// A sibling that is suspected for a moment, on a machine that is busy, costs one more.
	if n := origin.count() - before; n > len(more)+1 {
		t.Errorf("%d fetches of %d blocks by the healed fleet", n, len(more))
	}
}

func TestOriginDownEverythingHeldIsServed(t *testing.T) {
	origin := newSource()
	origin.down = errors.New("connection refused")
	all := fleet(t, 4, origin)
	v := all[0].view.Load()
	// One edge holds blocks that are at home at any other.
	for _, home := range []string{"edge-0", "edge-1", "edge-2", "edge-3"} {
		b := homedAt(t, v, home)
		all[3].disk.put(b)
		for _, e := range all {
			mustGet(t, e, b)
		}
	}
}

func TestNobodyHasIt(t *testing.T) {
	origin := newSource()
	all := fleet(t, 4, origin)
	b := homedAt(t, all[0].view.Load(), "edge-1", "edge-2")
	allowed := homes
	for range 5 {
		for _, e := range all {
			eventually(t, e.name+" hears that nobody has it", func() bool {
				_, _, err := e.get(t.Context(), b.Cid())
				if err == nil || ipld.IsNotFound(err) {
					return err != nil
				}
				// On a machine with too much to do, homes may wait for each other until their
				// patience ends. That is said, and remembered for a moment.
				t.Logf("%s: %v", e.name, err)
				allowed += homes
				return false
			})
		}
	}
	if n := origin.count(); n > allowed {
		t.Errorf("%d fetches of a block that does not exist", n)
	}
}

func TestOriginFailureIsNotNotFound(t *testing.T) {
	origin := newSource()
	origin.down = errors.New("503")
	all := fleet(t, 3, origin)
	b := homedAt(t, all[0].view.Load(), "edge-1", "edge-2")
	_, _, err := all[0].get(t.Context(), b.Cid())
	var unavailable *block.UnavailableError
	if !errors.As(err, &unavailable) || ipld.IsNotFound(err) {
		t.Fatalf("got %v, want unavailable", err)
	}
	// When the origin is back, so is the block.
	origin.set(func(s *source) { s.down = nil })
	origin.put(b)
	eventually(t, "the failure is forgotten", func() bool {
		_, _, err := all[0].get(t.Context(), b.Cid())
		return err == nil
	})
}

func TestDisagreementAboutHomesFetchesAtMostTwice(t *testing.T) {
	origin := newSource()
	origin.delay = 50 * time.Millisecond
	all := fleet(t, 5, origin, calm)
	v := all[0].view.Load()
	var want []*block.Verified
	for range 30 {
		b := homedAt(t, v, "edge-4")
		origin.put(b)
		want = append(want, b)
	}
	// Two edges have not heard of edge-4, and one of them takes itself for the home
	// of some of its blocks.
	for _, e := range all[:2] {
		stale := *e.view.Load()
		stale.ring, stale.ids = placement.NewRing(stale.ring.Members()[:4]), stale.ids[:4]
		e.view.Store(&stale)
	}
	if errs := crowd(t, all, want, 10); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	for c, n := range origin.fetched() {
		if n > 2 {
			t.Errorf("%s was fetched %d times", c, n)
		}
	}
}

func TestFullDiskStillServes(t *testing.T) {
	want := makeBlocks(t, 20, 2000)
	all := fleet(t, 3, newSource(want...))
	for _, e := range all {
		e.disk.SetFull(true)
	}
	if errs := crowd(t, all, want, 4); len(errs) > 0 {
		t.Fatal(errs[0])
	}
}

func TestEdgeWithoutSecretStandsAlone(t *testing.T) {
	want := makeBlocks(t, 10, 2000)
	origin := newSource(want...)
	opts := testOptions("alone")
	opts.Secret, opts.KeyFile = "", t.TempDir()+"/key"
	e := newEdge(t, opts, Config{})
	e.Start(origin)
	if errs := crowd(t, []*edge{e}, want, 10); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	if n := origin.count(); n != len(want) {
		t.Errorf("%d fetches", n)
	}
	id := e.ID()
	e.Close()
	if again := newEdge(t, opts, Config{}); again.ID() != id {
		t.Error("another peer ID after a restart")
	}
}

func TestVisitorWhoLeavesEndsTheFetch(t *testing.T) {
	origin := newSource()
	origin.gate = make(chan struct{})
	all := fleet(t, 2, origin)
	for _, home := range []string{"edge-0", "edge-1"} {
		b := homedAt(t, all[0].view.Load(), home)
		ctx, cancel := context.WithCancelCause(t.Context())
		before := origin.count()
		result := make(chan error)
		go func() {
			_, _, err := all[0].get(ctx, b.Cid())
			result <- err
		}()
		eventually(t, "the origin is asked", func() bool { return origin.count() > before })
		gone := errors.New("visitor gone")
		cancel(gone)
		if err := <-result; !errors.Is(err, gone) || !errors.Is(err, context.Canceled) {
			t.Errorf("home %s: got %v", home, err)
		}
		for _, e := range all {
			eventually(t, "no flight is left", func() bool {
				e.mu.Lock()
				defer e.mu.Unlock()
				return len(e.fills) == 0
			})
		}
	}
}

func TestNotFoundNeedsEverybodysWord(t *testing.T) {
	net := newCable()
	origin := newSource()
	all := fleetOn(t, net, 3, origin)
	b := homedAt(t, all[0].view.Load(), "edge-0", "edge-1")
	all[2].disk.put(b) // an import that is nowhere else
	net.freeze("edge-2")
	_, _, err := all[0].get(t.Context(), b.Cid())
	var unavailable *block.UnavailableError
	if !errors.As(err, &unavailable) || ipld.IsNotFound(err) {
		t.Errorf("got %v, want unavailable", err)
	}
	net.hold(nil)
	eventually(t, "it is found", func() bool {
		_, _, err := all[1].get(t.Context(), b.Cid())
		return err == nil
	})
}

func TestRollingRestartUnderLoad(t *testing.T) {
	want := makeBlocks(t, 1000, 2000)
	origin := newSource(want...)
	origin.delay = time.Millisecond
	all := fleet(t, 4, origin, calm)
	// A visitor population that the load balancer keeps away from edges that drain.
	var mu sync.Mutex
	open := slices.Clone(all)
	busy := map[*edge]int{}
	pick := func(i int) (e *edge, done func()) {
		mu.Lock()
		defer mu.Unlock()
		e = open[i%len(open)]
		busy[e]++
		return e, func() {
			mu.Lock()
			defer mu.Unlock()
			busy[e]--
		}
	}
	var failed, served atomic.Int32
	stop := make(chan struct{})
	var visitors sync.WaitGroup
	for w := range 8 {
		visitors.Add(1)
		go func() {
			defer visitors.Done()
			for i := w; ; i += 7 {
				select {
				case <-stop:
					return
				default:
				}
				b := want[i%len(want)]
				e, done := pick(i)
				if got, _, err := e.get(t.Context(), b.Cid()); err != nil || string(got.RawData()) != string(b.RawData()) {
					t.Logf("%s: %v", e.name, err)
					failed.Add(1)
				}
				done()
				served.Add(1)
			}
		}()
	}
	for i, old := range all {
		more := func(n int32) {
			until := served.Load() + n
			eventually(t, "some are served", func() bool { return served.Load() > until })
		}
		more(200)
		mu.Lock()
		open = slices.DeleteFunc(open, func(e *edge) bool { return e == old })
		mu.Unlock()
		eventually(t, "it has nothing to do", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return busy[old] == 0
		})
		old.Drain(t.Context())
		more(200) // while it finishes what it is sending
		port := old.host.Addrs()[0].String()
		old.Close()
		opts := testOptions(old.name)
		calm(&opts)
		opts.Listen = []string{port}
		opts.Peers = []string{all[(i+1)%4].as()}
		e := newEdgeOn(t, old.disk, opts, Config{})
		e.disk = old.disk
		e.Start(origin)
		all[i] = e
		settle(t, all...)
		mu.Lock()
		open = append(open, e)
		mu.Unlock()
	}
	close(stop)
	visitors.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, served.Load())
	}
	t.Logf("%d requests, %d fetches of %d blocks", served.Load(), origin.count(), len(want))
	if ratio := float64(origin.count()) / float64(len(want)); ratio > 1.05 {
		t.Errorf("%.3f origin fetches for each block", ratio)
	}
}
