package blockstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// How space is made. Three kinds of segments are filled side by side: probation
// (what came in), main (what was used) and held (what is pinned). This is S3-FIFO
// (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023) for
// segments instead of objects, with the rewriting kept within a budget:
//
//   - While probation takes more than its share of the store, its oldest segment
//     goes: blocks that were used are copied to main, the others are evicted, and
//     remembered for a while (ghost); one that comes back goes to main at once.
//   - Otherwise the oldest of the other segments goes, if less than a third of it was
//     used since it was looked at last. A segment that was used more gets another
//     round as it is, its blocks one use poorer: nothing is written for that.
//   - What may be copied is limited by what was stored, the most used blocks first, so
//     that the disk never writes much more than it is given, whatever is asked of it.
//   - Held blocks are always moved, and synced where they land before the old
//     segment is unlinked. Segments that hardly have anything else are let be.
//
// The figures were chosen with bench/store, which compares the hit ratio with that of
// LRU. A smaller probation and a higher bar for another round suit a popularity that
// stays (Zipf), the opposite suits one that moves (the traces).
const (
	probationShare = 15 // per cent of the store that is not held
	hotShare       = 35 // per cent of a segment that earn it another round
	looks          = 16 // segments looked at before the coldest of them is taken

	// A block of n bytes pays for writing writeShare per cent of n, itself and its
	// overhead included; the rest may be copied forward. Where the overhead leaves
	// less, it is leastCopy per cent.
	writeShare = 118
	leastCopy  = 10
)

// resident is a block whose place is in the segment that is looked at.
type resident struct {
	record
	key   key
	entry entry
}

// assessment is what a segment holds at the moment.
type assessment struct {
	*segment
	residents []resident
	hot       int64 // footprints of blocks that are used and not held
	damage    error // set when residents may be missing
}

func (s *Store) used() int64 { return s.stats.bytes.Load() }

// makeRoom reclaims segments until need bytes fit. The caller holds mu.
func (s *Store) makeRoom(need int64, hold bool) error {
	now := s.limits()
	limit := now.Capacity - now.reserve() - need
	// Each round frees most of a segment; the count only guards against a mistake
	// in that reasoning.
	failures := 0
	for rounds := 4*s.stats.segments.Load() + 16; s.used() > limit; rounds-- {
		found, err := s.reclaim(hold)
		if err != nil {
			// Another segment may have no bad sector, or nothing that must be moved.
			if failures++; failures < looks {
				s.log.Warn("segment not reclaimed; trying another", "error", err)
				continue
			}
			return s.written(err)
		}
		if !found || rounds <= 0 {
			return &FullError{
				Needed:   need,
				Free:     max(0, limit+need-s.used()),
				Pinned:   s.stats.pinnedBytes.Load(),
				Capacity: now.Capacity,
			}
		}
	}
	return nil
}

// earn adds to the budget for copying. It is bounded, so that a long time without
// eviction does not pay for a burst of rewriting.
func (s *Store) earn(r record) {
	size, data := r.footprint(), int64(r.length)
	s.budget += max(data*writeShare/100-size, size*leastCopy/100)
	s.budget = min(s.budget, 4*s.limits().segmentSize())
}

func (s *Store) queueLast(g *segment) {
	s.nextAge++
	g.age = s.nextAge
}

// reclaim frees one segment; it returns false when there is none to free.
func (s *Store) reclaim(hold bool) (bool, error) {
	s.ghost.fit(s.stats.blocks.Load())
	a, ok := s.victim(hold)
	if !ok {
		for c := range classes {
			if g := s.active[c]; g != nil && s.worthwhile(g, hold) {
				s.sealActive(c)
			}
		}
		if a, ok = s.victim(hold); !ok {
			return false, nil
		}
	}
	if err := s.evacuate(a); err != nil {
		s.queueLast(a.segment)
		return false, fmt.Errorf("reclaim segment %d: %w", a.id, err)
	}
	return true, nil
}

// worthwhile reports whether reclaiming g frees enough for the held blocks that
// it makes us move.
func (s *Store) worthwhile(g *segment, hold bool) bool {
	if g.held == 0 {
		return true
	}
	gain, least := g.size()-g.held, g.size()/8
	if hold {
		least = g.size() / 16 // a pin is worth more work than a cached block
	}
	space := s.capacity.Load() - s.used()
	return gain > max(least, newSegmentSize) && (space < 0 || g.held+newSegmentSize <= space)
}

// victim returns the segment to reclaim next.
func (s *Store) victim(hold bool) (assessment, bool) {
	var fresh, kept []*segment
	var freshBytes int64
	for _, g := range s.sorted() {
		switch {
		case g.class == probation, g.class == held && g.held == 0:
			// What was pinned and no longer is has to prove itself like what is new.
			freshBytes += g.size()
			if !s.isActive(g) && s.worthwhile(g, hold) {
				fresh = append(fresh, g)
			}
		case !s.isActive(g) && s.worthwhile(g, hold):
			kept = append(kept, g)
		}
	}
	share := (s.capacity.Load() - s.stats.pinnedBytes.Load()) / 100 * probationShare
	for len(fresh) > 0 && (freshBytes > share || len(kept) == 0) {
		a := s.assess(fresh[0])
		if !a.deservesRound() {
			return a, true
		}
		// Most of it was used: it is a main segment as it stands.
		freshBytes -= a.size()
		s.anotherRound(a)
		a.class = main
		kept, fresh = append(kept, a.segment), fresh[1:]
	}
	return s.coldest(kept)
}

// sorted returns all segments, the first in the queue first.
func (s *Store) sorted() []*segment {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	all := make([]*segment, 0, len(s.segments))
	for _, g := range s.segments {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *segment) int { return cmp.Compare(a.age, b.age) })
	return all
}

// coldest goes around the queue, in the manner of CLOCK.
func (s *Store) coldest(queue []*segment) (assessment, bool) {
	var best assessment
	for i, g := range queue {
		if i == looks {
			break
		}
		a := s.assess(g)
		if !a.deservesRound() {
			return a, true
		}
		if best.segment == nil || a.hot*best.size() < best.hot*a.size() {
			best = a
		}
		s.anotherRound(a)
	}
	return best, best.segment != nil
}

func (s *Store) assess(g *segment) assessment {
	entries, damage := g.list()
	a := assessment{segment: g, damage: damage}
	err := eachEntry(entries, func(r record) error {
		k := s.keys.key(r.hash)
		e, ok := s.index.get(k)
		if !ok || !e.at(g.id, r) {
			return nil
		}
		a.residents = append(a.residents, resident{r, k, e})
		if e.holds == 0 && e.uses() > 0 {
			a.hot += r.footprint()
		}
		return nil
	})
	a.damage = errors.Join(a.damage, err)
	return a
}

func (a assessment) deservesRound() bool {
	return a.damage == nil && a.hot > (a.size()-a.held)*hotShare/100
}

// anotherRound sends a segment to the end of the queue, and counts its blocks'
// uses down, so that it has to earn the next one.
func (s *Store) anotherRound(a assessment) {
	s.queueLast(a.segment)
	for _, r := range a.residents {
		s.index.change(r.key, func(e *entry) { e.setUses(max(0, e.uses()-1)) })
	}
}
