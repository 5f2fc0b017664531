package placement

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Member is an edge that blocks can be at home on.
type Member struct {
	// Name must be stable: a member that comes back under the same name is home
	// to the same blocks.
	Name string
	// Weight is the member's disk capacity in bytes. A member's share of the
	// blocks is its share of the sum of all weights. 0 counts as 1.
	Weight uint64
	// Zone is where the member is, "" if it did not say. It does not change a lot: see
	// [Ring.Zone] and [Ring.Spread].
	Zone string
}

// Ring is an unchanging set of members. It is safe for concurrent use. The zero
// Ring has no members.
type Ring struct {
	members []Member // sorted by name, each name once
	seeds   []uint64
	weights []float64
}

// NewRing returns the ring of the given members. Of several members with the same
// name, the first counts.
func NewRing(members []Member) *Ring {
	r := &Ring{members: slices.Clone(members)}
	slices.SortStableFunc(r.members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	r.members = slices.CompactFunc(r.members, func(a, b Member) bool { return a.Name == b.Name })
	for _, m := range r.members {
		r.seeds = append(r.seeds, xxhash.Sum64String(m.Name))
		r.weights = append(r.weights, float64(max(m.Weight, 1)))
	}
	return r
}

// Len returns the number of members.
func (r *Ring) Len() int { return len(r.members) }

// Member returns the i-th member in the order of names, for what [Ring.Homes]
// returns.
func (r *Ring) Member(i int) Member { return r.members[i] }

// Members returns all members in the order of names. The caller must not change
// them.
func (r *Ring) Members() []Member { return r.members }

// Equal reports whether both rings have the same members with the same weights.
func (r *Ring) Equal(other *Ring) bool { return slices.Equal(r.members, other.members) }

// Homes returns the first n homes of the block with the multihash mh, the first
// home first, as positions for [Ring.Member]; fewer if the ring has fewer members.
// It appends to buf[:0] and allocates nothing if that has room for n.
//
// It takes time proportional to the number of members, some 25 ns each.
func (r *Ring) Homes(mh []byte, n int, buf []int) []int {
	homes := buf[:0]
	if n <= 0 {
		return homes
	}
	var lotsBuf [Ranks]float64
	lots := lotsBuf[:0]
	key := mix(xxhash.Sum64(mh))
	for i, seed := range r.seeds {
		l := lot(mix(key^seed), r.weights[i])
		if len(homes) == n && l >= lots[n-1] {
			continue
		}
		// Insert in order. Members come in the order of names, so of equal lots
		// the earlier name stays in front.
		at := len(homes)
		for at > 0 && l < lots[at-1] {
			at--
		}
		if len(homes) == n {
			homes, lots = homes[:n-1], lots[:n-1]
		}
		homes, lots = slices.Insert(homes, at, i), slices.Insert(lots, at, l)
	}
	return homes
}

// Rank returns the place of the named member among the homes of mh, 0 for the
// first home, or -1 if it is not among the first n.
func (r *Ring) Rank(mh []byte, name string, n int) int {
	var buf [8]int
	for rank, i := range r.Homes(mh, n, buf[:0]) {
		if r.members[i].Name == name {
			return rank
		}
	}
	return -1
}

// Before reports whether, of two members, a is the better home for mh. The others do
// not matter for that, so edges that disagree about who else is there agree about it.
// A member that is not in the ring comes last.
func (r *Ring) Before(mh []byte, a, b string) bool {
	i, foundA := r.find(a)
	j, foundB := r.find(b)
	if !foundA || !foundB {
		return foundA
	}
	key := mix(xxhash.Sum64(mh))
	la, lb := lot(mix(key^r.seeds[i]), r.weights[i]), lot(mix(key^r.seeds[j]), r.weights[j])
	return la < lb || la == lb && i < j
}

// Zone returns the ring of the members of one zone, or nil if that makes no difference:
// zone is "", or all members are in it, or none.
func (r *Ring) Zone(zone string) *Ring {
	if zone == "" {
		return nil
	}
	var list []Member
	for _, m := range r.members {
		if m.Zone == zone {
			list = append(list, m)
		}
	}
	if len(list) == 0 || len(list) == len(r.members) {
		return nil
	}
	return NewRing(list)
}

// Spread returns n members for copies of the content with the multihash mh, like
// [Ring.Homes], but in different zones while there are any left: first the best member of
// each zone, then the second of each, and so on, by rank in each of these rounds. The
// first n of a longer list are the same. With one zone it is what Homes returns.
func (r *Ring) Spread(mh []byte, n int) []int {
	all := r.Homes(mh, len(r.members), nil)
	before := map[string]int{} // members of the zone that are better
	round := make([]int, len(r.members))
	for _, i := range all {
		round[i] = before[r.members[i].Zone]
		before[r.members[i].Zone]++
	}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(round[a], round[b]) })
	return all[:min(max(n, 0), len(all))]
}

func (r *Ring) find(name string) (int, bool) {
	return slices.BinarySearchFunc(r.members, name, func(m Member, name string) int { return cmp.Compare(m.Name, name) })
}
