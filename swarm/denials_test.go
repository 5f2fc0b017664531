package swarm

import (
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// Whoever was told that a block is not here hears of it when it comes, and does not go
// on saying so.
func TestWhatComesLateCorrectsWhoWasTold(t *testing.T) {
	all := fleet(t, 3, newSource(), func(o *Options) { o.ErrorMemory = time.Hour })
	for _, at := range []int{0, 2} {
		b := homedAt(t, all[0].view.Load(), "edge-0")
		if _, _, err := all[0].get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
			t.Fatalf("before: %v", err)
		}
		all[at].disk.put(b)
		all[at].Stored(b)
		eventually(t, "it is found", func() bool {
			_, _, err := all[1].get(t.Context(), b.Cid())
			return err == nil
		})
	}
}

// So does a home that was told only when a search of the other one had ended.
func TestWhatComesLateCorrectsEveryHome(t *testing.T) {
	for _, order := range [][]string{{"edge-1", "edge-0", "edge-2"}, {"edge-0", "edge-1", "edge-2"}, {"edge-0", "edge-2", "edge-1"}} {
		all := fleet(t, 3, newSource(), func(o *Options) { o.ErrorMemory = time.Hour })
		b := homedAt(t, all[0].view.Load(), order...)
		for _, e := range all {
			if _, _, err := e.get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
				t.Fatalf("before: %v", err)
			}
		}
		all[1].disk.put(b)
		all[1].Stored(b)
		for _, e := range all {
			eventually(t, "it is found", func() bool {
				_, _, err := e.get(t.Context(), b.Cid())
				return err == nil
			})
		}
	}
}

// A search that goes on while the block comes to somebody who was asked already ends
// without it, but that is not remembered.
func TestWhatComesDuringASearchIsLookedForAgain(t *testing.T) {
	origin := newSource()
	origin.gate = make(chan struct{})
	all := fleetWith(t, origin, newSource())
	b := homedAt(t, all[0].view.Load(), "edge-0", "edge-1")
	done := make(chan error)
	go func() {
		_, _, err := all[0].get(t.Context(), b.Cid())
		done <- err
	}()
	eventually(t, "the sibling was asked", func() bool { return all[1].denials.n.Load() > 0 })
	all[1].Stored(b) // and is not to be had there, so that the search ends
	eventually(t, "the news are here", func() bool {
		all[0].mu.Lock()
		defer all[0].mu.Unlock()
		f := all[0].fills[fillKey{string(b.Cid().Hash()), false}]
		return f != nil && f.outdated
	})
	close(origin.gate)
	if err := <-done; !ipld.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	if all[0].failures.some() {
		t.Error("the failure is remembered")
	}
}

// The home keeps what another edge uses, and fetches it back from there if it let go.
func TestUsesReachTheHome(t *testing.T) {
	want := makeBlocks(t, 1, 100)
	all := fleet(t, 2, newSource(want...))
	b := homedAt(t, all[0].view.Load(), "edge-0")
	all[1].disk.put(b)
	all[1].Used(b.Cid())
	eventually(t, "the home has it", func() bool { return all[0].disk.Uses(b.Cid()) > 0 })
	before := all[0].disk.Uses(b.Cid())
	all[1].Used(b.Cid())
	eventually(t, "the home counts the use", func() bool { return all[0].disk.Uses(b.Cid()) > before })
}
