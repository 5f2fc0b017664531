package hold

import (
	"context"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
	"github.com/shoal-cdn/shoal/pin/record"
)

// What cannot fit fails before it is fetched, when the root says how large it is.
func TestDoesNotFitAsTheRootSays(t *testing.T) {
	w := newWorld(t, 16<<20)
	leaf := leaves(1, 1, 1000)[0]
	root := claiming(100<<30, leaf)
	w.fleet.add(leaf, root)
	w.start()
	defer w.stop()
	w.Hold(root.Cid(), nil)
	s := w.awaitStatus(root.Cid(), record.Failed)
	if s.Needed < 100<<30 || s.Free < 10<<20 || !strings.Contains(s.Reason, "100 GiB needed") {
		t.Errorf("%+v", s)
	}
	if n, _ := w.fleet.times(); n != 1 {
		t.Errorf("%d blocks were fetched", n)
	}
	w.checkNothingHeld()
}

// Sizes that overflow are only large.
func TestClaimsThatOverflow(t *testing.T) {
	w := newWorld(t, 16<<20)
	leaf := leaves(1, 3, 1000)
	root := claiming(1<<63-1, leaf...)
	w.fleet.add(append(leaf, root)...)
	w.start()
	defer w.stop()
	w.Hold(root.Cid(), nil)
	if s := w.awaitStatus(root.Cid(), record.Failed); s.Needed <= 0 {
		t.Errorf("%+v", s)
	}
}

// What is held already needs no room, even when it fills most of the store.
func TestFitsWhenItIsHereAlready(t *testing.T) {
	w := newWorld(t, 16<<20)
	dag := tree(1, 90, 1, 100<<10)
	for _, b := range dag {
		if err := w.store.PutHeld(t.Context(), "add/x", b); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	defer w.stop()
	w.Hold(dag[0].Cid(), nil)
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	if n, _ := w.fleet.times(); n != 0 {
		t.Errorf("%d blocks were fetched", n)
	}
}

// What turns out not to fit fails with the numbers; nothing of it stays protected, and
// what was pinned before does.
func TestDoesNotFitInTheEnd(t *testing.T) {
	w := newWorld(t, 16<<20)
	before := tree(1, 40, 1, 100<<10)
	var links []cid.Cid
	large := leaves(2, 130, 100<<10)
	for _, b := range large {
		links = append(links, b.Cid())
	}
	root := cborNode(1, links...) // says nothing of sizes
	w.fleet.add(append(append(before, large...), root)...)
	w.start()
	defer w.stop()
	w.Hold(before[0].Cid(), nil)
	w.awaitStatus(before[0].Cid(), record.Pinned)
	held := w.store.Stats().PinnedBlocks
	w.Hold(root.Cid(), nil)
	s := w.awaitStatus(root.Cid(), record.Failed)
	if s.Needed <= s.Free || s.Free <= 0 || !strings.Contains(s.Reason, "at least") || !strings.Contains(s.Reason, "free") {
		t.Errorf("%+v", s)
	}
	w.await(root.Cid(), "released", func(State) bool { return w.store.Stats().PinnedBlocks == held })
	w.checkHeld(before...)
	for i := range 20 { // serving goes on
		b := storetest.Block(5_000_000+i, 100<<10)
		if err := w.store.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		storetest.Check(t, w.store, b)
	}
}

// A cache that is filled ten times over never touches what is pinned.
func TestEvictionPressure(t *testing.T) {
	w := newWorld(t, 16<<20)
	var all []*block.Verified
	for i := range 3 {
		dag := tree(i, 10, 2, 15<<10)
		w.fleet.add(dag...)
		all = append(all, dag...)
	}
	w.start()
	fill := func(from, n int) {
		for i := range n {
			if err := w.store.Put(t.Context(), storetest.Block(9_000_000+from+i, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3 { // some of the pressure while it is being pinned
		w.Hold(all[i*111].Cid(), nil)
		fill(i*200, 200)
		w.awaitStatus(all[i*111].Cid(), record.Pinned)
	}
	fill(1000, 10*16<<20/(64<<10))
	w.checkHeld(all...)
	w.restart(16 << 20)
	fill(5000, 500)
	w.checkHeld(all...)
	for i := range 3 {
		if got, err := w.Verify(t.Context(), all[i*111].Cid(), nil); err != nil || got.Blocks != 111 || got.Repaired != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	w.stop()
}

// Of two DAGs that fit one by one but not together, the first is pinned and the other
// one fails, instead of both when the store is full.
func TestTwoThatDoNotFitTogether(t *testing.T) {
	w := newWorld(t, 16<<20)
	one, two := tree(1, 90, 1, 100<<10), tree(2, 90, 1, 100<<10)
	w.fleet.add(append(one, two...)...)
	release := make(chan struct{})
	held := one[50].Cid()
	w.fleet.wait = func(ctx context.Context, c cid.Cid) error {
		if c == held {
			<-release
		}
		return nil
	}
	w.start()
	defer w.stop()
	w.Hold(one[0].Cid(), nil)
	w.await(one[0].Cid(), "begun", func(s State) bool { return s.Blocks > 10 })
	w.Hold(two[0].Cid(), nil)
	w.awaitStatus(two[0].Cid(), record.Failed)
	close(release)
	w.awaitStatus(one[0].Cid(), record.Pinned)
	w.checkHeld(one...)
}

func newStore(t testing.TB, size int64) *blockstore.Store {
	t.Helper()
	s, err := blockstore.New(blockstore.Options{Dir: t.TempDir(), Capacity: size}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
