package placement

import (
	"math/rand/v2"
	"testing"
)

// One block is asked for as often as all others together: the home of it is not asked for
// more than it may, and those that are asked instead rank next.
func TestAHotBlockIsSpreadOverTheNextRanks(t *testing.T) {
	const n, requests = 20, 20000
	r, l := NewRing(fleet(n)), NewLoad()
	self := r.Homes(key(t, 0), n, nil)[n-1] // the last in rank: everyone may serve the hot block
	rng := rand.New(rand.NewPCG(1, 1))
	asked, hot := make([]int, n), map[int]bool{}
	total := 0
	for range requests {
		mh := key(t, 0)
		if rng.IntN(4) > 0 {
			mh = key(t, 1+rng.IntN(1<<20))
		}
		first := r.Homes(mh, 1, nil)[0]
		if first == self {
			continue
		}
		to := l.Choose(r, mh, first, self)
		asked[to]++
		total++
		if string(mh) == string(key(t, 0)) {
			hot[to] = true
		}
	}
	for i, a := range asked {
		if mean := total / (n - 1); a > mean*125/100 {
			t.Errorf("%s was asked %d times, the mean is %d", r.Member(i).Name, a, mean)
		}
	}
	for rank, i := range r.Homes(key(t, 0), n, nil) {
		if hot[i] && rank >= Ranks {
			t.Errorf("the home of rank %d was asked", rank)
		}
	}
}

// What is asked for once goes to its home, whatever that has to do, so that it has one
// home only.
func TestWhatIsNotHotStaysAtHome(t *testing.T) {
	r, l := NewRing(fleet(10)), NewLoad()
	home := r.Homes(key(t, 0), 1, nil)[0]
	for i := range 3000 {
		mh := key(t, i)
		first := r.Homes(mh, 1, nil)[0]
		if first != home {
			continue // one home has everything to do
		}
		if to := l.Choose(r, mh, first, -1); to != first {
			t.Fatalf("block %d: %d was asked, home is %d", i, to, first)
		}
	}
}

// Who comes or goes changes nothing about what others were asked for.
func TestCountsOutliveAChangeOfMembers(t *testing.T) {
	l := NewLoad()
	for _, n := range []int{10, 11, 10} {
		r := NewRing(fleet(n))
		first := r.Homes(key(t, 0), 1, nil)[0]
		l.Choose(r, key(t, 0), first, -1)
	}
	if l.total != 3 || len(l.sent) != 10 {
		t.Errorf("%v asked of %d members, expected 3 of 10", l.total, len(l.sent))
	}
}

// Nobody is asked who ranks behind the one that asks.
func TestNobodyBehindIsAsked(t *testing.T) {
	r, l := NewRing(fleet(10)), NewLoad()
	order := r.Homes(key(t, 0), 10, nil)
	for range 1000 {
		if to := l.Choose(r, key(t, 0), order[0], order[2]); to != order[0] && to != order[1] {
			t.Fatalf("%d was asked, better than the one that asks are %v", to, order[:2])
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	r, l := NewRing(fleet(100)), NewLoad()
	mh := key(b, 0)
	order := r.Homes(mh, 100, nil)
	for b.Loop() {
		l.Choose(r, mh, order[0], order[99])
	}
}
