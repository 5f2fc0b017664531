package swarm

import (
	"slices"
	"sync"

	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// Ranker returns a function that ranks members for the content with a multihash and
// returns the names of the first n, which are in different zones as far as there are
// several. It is the same on every edge.
func (s *Swarm) Ranker(among []member.Member) func(hash []byte, n int) []string {
	members := make([]placement.Member, len(among))
	for i, m := range among {
		members[i] = placement.Member{Name: m.Name, Weight: m.Weight, Zone: m.Zone}
	}
	ring := placement.NewRing(members)
	return func(hash []byte, n int) []string {
		homes := ring.Spread(hash, n)
		names := make([]string, len(homes))
		for i, at := range homes {
			names[i] = ring.Member(at).Name
		}
		return names
	}
}

// Roll is a Swarm for those who ask several times a second who is there: the answer is the
// same as long as nothing happens to the fleet.
type Roll struct {
	*Swarm

	mu      sync.Mutex
	list    []member.Member // at the last look
	changed <-chan struct{} // closed when it is out of date
}

// Roll returns a roll of the fleet.
func (s *Swarm) Roll() *Roll { return &Roll{Swarm: s} }

// Members returns what [Swarm.Members] does, but for latencies, which may be old.
func (r *Roll) Members() []member.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.changed:
		r.list = nil
	default:
	}
	if r.list == nil {
		r.changed = r.Changed()
		r.list = r.Swarm.Members()
	}
	return slices.Clone(r.list)
}
