package placement

import (
	"slices"
	"testing"
)

// zoned returns six members: a and d in zone x, b and e in y, c and f in z.
func zoned() []Member {
	var all []Member
	for i, name := range []string{"a", "b", "c", "d", "e", "f"} {
		all = append(all, Member{Name: name, Weight: 1 << 30, Zone: []string{"x", "y", "z"}[i%3]})
	}
	return all
}

func TestTheFleetsHomeIsTheHomeInItsZone(t *testing.T) {
	r := NewRing(zoned())
	for i := range 200 {
		first := r.Member(r.Homes(key(t, i), 1, nil)[0])
		near := r.Zone(first.Zone)
		if got := near.Member(near.Homes(key(t, i), 1, nil)[0]); got != first || near.Len() != 2 {
			t.Fatalf("block %d is at home at %v, in its zone of %d at %v", i, first, near.Len(), got)
		}
	}
}

func TestZoneMakesNoDifferenceToAFleetInOne(t *testing.T) {
	for name, zone := range map[string]string{"all in one zone": "x", "no zones": "", "another zone": "y"} {
		one := zone
		if zone == "y" {
			one = "x"
		}
		var all []Member
		for _, m := range zoned() {
			m.Zone = one
			all = append(all, m)
		}
		r := NewRing(all)
		if r.Zone(zone) != nil {
			t.Errorf("%s: got a ring", name)
		}
		for i := range 50 {
			if got, want := r.Spread(key(t, i), 4), r.Homes(key(t, i), 4, nil); !slices.Equal(got, want) {
				t.Fatalf("%s: spread over %v, homes are %v", name, got, want)
			}
		}
	}
}

func TestSpreadTakesEachZoneInTurn(t *testing.T) {
	r := NewRing(zoned())
	for i := range 200 {
		all := r.Spread(key(t, i), 6)
		for _, part := range [][]int{all[:3], all[3:]} {
			zones := map[string]bool{}
			for _, at := range part {
				zones[r.Member(at).Zone] = true
			}
			if len(zones) != 3 {
				t.Fatalf("block %d: %v are in %d zones", i, names(r, part), len(zones))
			}
		}
		if all[0] != r.Homes(key(t, i), 1, nil)[0] {
			t.Fatalf("block %d: the best member is not the first", i)
		}
		for n := range 7 {
			if !slices.Equal(r.Spread(key(t, i), n), all[:n]) {
				t.Fatalf("block %d: the first %d are others when only they are asked for", i, n)
			}
		}
	}
	if got := r.Spread(key(t, 1), 9); len(got) != 6 {
		t.Fatalf("%d of six members", len(got))
	}
}
