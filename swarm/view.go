package swarm

import (
	"maps"
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
	maps.DeleteFunc(s.siblings, func(id peer.ID, _ *sibling) bool { return !s.fleet.IsMember(id) })
}

// home is one of a block's homes.
type home struct {
	name string
	id   peer.ID
	self bool
	last bool // it does not deliver, and is asked when all others were
}

// homesOf returns the homes of a block in the order in which they are asked: by rank,
// but those that would not answer now come after the others, and those that have not
// delivered lately last. Of the latter, one that is due to be tried again is.
func (s *Swarm) homesOf(v *view, c cid.Cid) []home {
	var buf [homes]int
	var good, away, last []home
	for _, i := range v.ring.Homes(c.Hash(), homes, buf[:0]) {
		h := home{name: v.ring.Member(i).Name, id: v.ids[i], self: i == v.self}
		switch {
		case h.self:
			good = append(good, h)
		case !s.delivers(h.id):
			if h.last = true; len(good) == 0 {
				s.tryAgain(h.id, c)
			}
			last = append(last, h)
		case s.answers(h.id):
			good = append(good, h)
		default:
			away = append(away, h)
		}
	}
	return slices.Concat(good, away, last)
}

// answers reports whether a sibling can be expected to answer.
func (s *Swarm) answers(id peer.ID) bool {
	state := s.fleet.State(id)
	return state == members.Alive || state == members.Leaving
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
