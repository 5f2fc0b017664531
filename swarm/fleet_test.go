package swarm

import (
	"fmt"
	"testing"

	"github.com/shoal-cdn/shoal/block"
)

func TestColdCrowdFetchesEachBlockOnce(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 8} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			want := makeBlocks(t, 200, 4096)
			origin := newSource(want...)
			all := fleet(t, n, origin)
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
		if e.IsHome(b.Cid()) {
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
