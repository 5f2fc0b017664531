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
	zone          // everybody
	near    *zone // those in this edge's own zone; nil if there is only one
	zones   map[peer.ID]string
	present []peer.ID // all siblings that can be asked, also those that are leaving
	leaving []peer.ID
	// lossAt is when a member was last lost.
	lossAt time.Time
}

// zone is a part of the fleet, or all of it, among which blocks have homes.
type zone struct {
	ring *placement.Ring
	ids  []peer.ID // by position in the ring
	self int       // this edge's position, or -1
}

// look makes a new view when the fleet has changed.
func (s *Swarm) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	v := &view{version: 1, zones: map[peer.ID]string{}}
	var ring []placement.Member
	ids := map[string]peer.ID{}
	for _, m := range s.Members() {
		v.zones[m.ID] = m.Zone
		if m.InRing() {
			ring = append(ring, placement.Member{Name: m.Name, Weight: m.Weight, Zone: m.Zone})
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
	v.ids, v.self = s.positions(v.ring, ids)
	if near := v.ring.Zone(s.opts.Zone); near != nil {
		v.near = &zone{ring: near}
		v.near.ids, v.near.self = s.positions(near, ids)
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

// positions returns the members of a ring as peers, and which one this edge is, or -1.
func (s *Swarm) positions(r *placement.Ring, byName map[string]peer.ID) (ids []peer.ID, self int) {
	self = -1
	for i, m := range r.Members() {
		ids = append(ids, byName[m.Name])
		if m.Name == s.opts.Name {
			self = i
		}
	}
	return ids, self
}

// home is one of the edges that are asked for a block.
type home struct {
	name string
	id   peer.ID
	self bool
	last bool // it does not deliver, and is asked when all others were
	near bool // it is asked to relay the block, and not to find it
}

// homesOf returns the homes of a block in the order in which they are asked: the one in
// this edge's zone, then by rank, but those that would not answer now come after the
// others, and those that have not delivered lately last. Of the latter, one that is due to
// be tried again is.
func (s *Swarm) homesOf(v *view, c cid.Cid) []home {
	var buf [homes]int
	var good, away, last []home
	ranked := v.ring.Homes(c.Hash(), homes, buf[:0])
	for _, i := range ranked {
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
	all := slices.Concat(good, away, last)
	if all[0].self {
		return all
	}
	if first, ok := s.firstAsked(v, c, ranked[0]); ok && all[0].id != first.id {
		// A home that is asked because of the load is still one.
		i := slices.IndexFunc(all, func(h home) bool { return h.id == first.id })
		if i >= 0 {
			all = slices.Delete(all, i, i+1)
		}
		first.near = i < 0 || v.near != nil
		all = slices.Insert(all, 0, first)
	}
	return all
}

// firstAsked returns who is asked for a block before the fleet's homes, or like them: its
// home in this edge's zone, or instead of a home that has too much to do the next in rank.
// There is nobody if it is this edge, or would not answer. first is the fleet's home.
func (s *Swarm) firstAsked(v *view, c cid.Cid, first int) (home, bool) {
	z := &v.zone
	if v.near != nil {
		z = v.near
		var buf [1]int
		first = z.ring.Homes(c.Hash(), 1, buf[:0])[0]
	}
	if first == z.self {
		return home{}, false
	}
	i := s.load.Choose(z.ring, c.Hash(), first, z.self)
	h := home{name: z.ring.Member(i).Name, id: z.ids[i]}
	return h, s.answers(h.id) && s.delivers(h.id)
}

// nextNear returns the second home of a block in this edge's zone, if it is not this edge.
func (s *Swarm) nextNear(c cid.Cid, first peer.ID) (list []home) {
	v := s.view.Load()
	if v.near == nil {
		return nil
	}
	var buf [2]int
	for _, i := range v.near.ring.Homes(c.Hash(), 2, buf[:0]) {
		if id := v.near.ids[i]; id != first && i != v.near.self {
			list = append(list, home{name: v.near.ring.Member(i).Name, id: id, near: true})
		}
	}
	return list
}

// Near reports whether this edge is the home of a block in its zone, while the block is at
// home elsewhere: then a copy of it is kept here for the zone.
func (s *Swarm) Near(c cid.Cid) bool {
	v := s.view.Load()
	return v.near != nil && v.near.self >= 0 && v.near.ring.Rank(c.Hash(), s.opts.Name, 1) == 0 && s.Rank(c) != 0
}

// relays reports whether this edge relays a block to a member: it is among the first ranks
// in their zone, and the better home of the two, so that nobody waits in a circle (see "Who
// waits for whom" in doc.go). Where all are in one zone, the fleet's homes need no relay.
func (s *Swarm) relays(c cid.Cid, to peer.ID) bool {
	v := s.view.Load()
	ring, from := v.ring, homes
	if v.near != nil {
		if v.zones[to] != s.opts.Zone || s.Rank(c) == 0 {
			return false
		}
		ring, from = v.near.ring, 0
	}
	name, _ := s.fleet.Name(to)
	return ring.Rank(c.Hash(), s.opts.Name, placement.Ranks) >= from && ring.Before(c.Hash(), s.opts.Name, name)
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
