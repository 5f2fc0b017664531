package swarm

import (
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/swarm/members"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

const (
	// homes is how many of a block's homes are ever asked. The third one matters
	// only while edges disagree about who is there.
	homes = 3
	// unsettled is for how long after the loss of a member a home asks everyone
	// for a block before it asks the origin.
	unsettled = 2 * time.Minute
	// missing is for how long after the loss of a member what only it may have counts
	// as unavailable and not as not found.
	missing = 10 * time.Minute
	// maxAsked is how many siblings are asked about one block at most.
	maxAsked = 64
	// distrusted is for how long a sibling that sent wrong bytes is not asked.
	distrusted = time.Minute
)

// view is this edge's picture of the fleet at one moment. It does not change.
type view struct {
	version uint64
	ring    *placement.Ring
	ids     []peer.ID // by position in the ring
	self    int       // this edge's position, or -1
	present []peer.ID // all siblings that can be asked, also those that are leaving
	leaving []peer.ID
	// lossAt is when a member was last lost.
	lossAt time.Time
}

// look makes a new view when the fleet has changed.
func (s *Swarm) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	v := &view{self: -1, version: 1}
	var ring []placement.Member
	ids := map[string]peer.ID{}
	for _, m := range s.Members() {
		if m.InRing() {
			ring = append(ring, placement.Member{Name: m.Name, Weight: m.Weight})
			ids[m.Name] = m.ID
		}
		if !m.Self && (m.InRing() || m.State == members.Leaving) {
			v.present = append(v.present, m.ID)
		}
		if !m.Self && m.State == members.Leaving {
			v.leaving = append(v.leaving, m.ID)
		}
	}
	v.ring = placement.NewRing(ring)
	for i, m := range v.ring.Members() {
		v.ids = append(v.ids, ids[m.Name])
		if m.Name == s.opts.Name {
			v.self = i
		}
	}
	if old != nil {
		v.version, v.lossAt = old.version, old.lossAt
		if !v.ring.Equal(old.ring) {
			v.version++
		}
		for _, id := range old.ids {
			if !slices.Contains(v.ids, id) {
				v.lossAt = time.Now()
			}
		}
	}
	s.view.Store(v)
}

// home is one of a block's homes.
type home struct {
	name string
	id   peer.ID
	self bool
}

// homesOf returns the homes of a block in the order in which they are asked: by
// rank, but those that would not answer now come last.
func (s *Swarm) homesOf(v *view, c cid.Cid) []home {
	var buf [homes]int
	var good, bad []home
	for _, i := range v.ring.Homes(c.Hash(), homes, buf[:0]) {
		h := home{name: v.ring.Member(i).Name, id: v.ids[i], self: i == v.self}
		if h.self || s.answers(h.id) {
			good = append(good, h)
		} else {
			bad = append(bad, h)
		}
	}
	return append(good, bad...)
}

// answers reports whether a sibling can be expected to answer, and rightly.
func (s *Swarm) answers(id peer.ID) bool {
	if state := s.fleet.State(id); state != members.Alive && state != members.Leaving {
		return false
	}
	return !s.isDistrusted(id)
}

// isDistrusted reports whether a sibling has sent wrong bytes lately.
func (s *Swarm) isDistrusted(id peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, lied := s.distrust[id]
	return lied && time.Since(since) <= distrusted
}

// lied notes that a sibling sent wrong bytes.
func (s *Swarm) lied(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.distrust[id] = time.Now()
}

// Rank returns the place of this edge among the homes of a block: 0 for the first home,
// -1 if it is none. An edge that is alone is the first home of everything.
func (s *Swarm) Rank(c cid.Cid) int {
	v := s.view.Load()
	switch {
	case v.ring.Len() == 0:
		return 0
	case v.self < 0:
		return -1
	}
	return v.ring.Rank(c.Hash(), s.opts.Name, homes)
}

// latency is how long a sibling usually takes to answer a want: mean and mean
// deviation, smoothed. It is guarded by Swarm.mu.
type latency struct{ mean, deviation time.Duration }

func (s *Swarm) answered(id peer.ID, name string, took time.Duration) {
	s.metrics.latency.WithLabelValues(name).Observe(took.Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.siblings[id]
	if l == nil {
		l = &latency{mean: took, deviation: took / 2}
		s.siblings[id] = l
		return
	}
	l.deviation += ((l.mean - took).Abs() - l.deviation) / 8
	l.mean += (took - l.mean) / 16
}

// hedgeAfter is how long a sibling may be silent before somebody else is asked:
// longer than it is in some 19 of 20 cases.
func (s *Swarm) hedgeAfter(id peer.ID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := 2 * s.opts.ProbeAfter
	if l := s.siblings[id]; l != nil {
		d = max(d, l.mean+2*l.deviation)
	}
	return min(d, s.opts.HedgeMax)
}
