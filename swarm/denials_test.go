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
