package blockstore

import (
	"errors"
	"fmt"
)

// evacuate moves what must stay, copies what may stay, forgets the rest, and
// unlinks the segment. When it fails, the segment and what was not moved yet are
// as they were.
func (s *Store) evacuate(a assessment) error {
	if a.damage != nil && !errors.Is(a.damage, errBadFooter) && a.held > 0 {
		return a.damage // the disk may recover, and what is pinned with it
	}
	landed := map[*segment]bool{}
	for _, r := range a.residents {
		if r.entry.holds == 0 {
			continue
		}
		g, err := s.move(a.segment, r, held)
		if err != nil {
			return err
		}
		landed[g] = true
	}
	if err := s.syncSegments(landed); err != nil {
		return err
	}
	s.copyForward(a)
	s.evictRest(a)
	return s.removeSegment(a.segment)
}

// copyForward copies used blocks to main, the most used first, as far as the
// budget, the space and half of the segment go.
func (s *Store) copyForward(a assessment) {
	allowance := min(s.budget, (a.size()-a.held)/2, s.capacity.Load()-s.used()-newSegmentSize)
	for uses := maxUses; uses > 0; uses-- {
		for _, r := range a.residents {
			size := r.footprint()
			if r.entry.holds > 0 || r.entry.uses() != uses || size > allowance {
				continue
			}
			if _, err := s.move(a.segment, r, main); err != nil {
				return // a block that cannot be copied is evicted like others
			}
			allowance -= size
			s.budget -= size
			left := uses - 1
			if a.class == probation {
				left = 0
			}
			s.index.change(r.key, func(e *entry) { e.setUses(left) })
		}
	}
}

// move copies a block to a segment of the class into. A block whose record turns
// out to be bad is dropped instead.
func (s *Store) move(from *segment, r resident, into class) (*segment, error) {
	buf := s.buffer(int(r.length))
	defer s.buffers.Put(buf)
	data := (*buf)[:r.length]
	if err := from.read(data, r.offset, r.crc); err != nil {
		if !errors.Is(err, errBadRecord) {
			return nil, err
		}
		s.stats.corrupt.Add(1)
		s.lost(r.entry)
		s.log.Error("block dropped from the store", "error", fmt.Errorf("move block %s: segment %d: %w", r.hash.B58String(), from.id, err))
		s.index.change(r.key, func(e *entry) { e.segment = 0 })
		s.unplaced(from, r.entry, r.hash)
		return from, nil
	}
	g, moved, err := s.append(into, r.record, data)
	if err != nil {
		return nil, err
	}
	s.unplaced(from, r.entry, r.hash)
	s.place(r.key, g, moved)
	s.stats.copied.Add(r.footprint())
	return g, nil
}

// evictRest forgets the blocks whose place is still in the segment.
func (s *Store) evictRest(a assessment) {
	for _, r := range a.residents {
		e, ok := s.index.get(r.key)
		if !ok || !e.at(a.id, r.record) {
			continue
		}
		s.index.change(r.key, func(e *entry) { e.segment = 0 })
		s.unplaced(a.segment, e, r.hash)
		s.stats.evicted.Add(1)
		s.stats.evictedBytes.Add(int64(r.length))
		if a.class == probation {
			s.ghost.add(r.key)
		}
	}
	if a.damage != nil {
		s.forgetSegment(a.segment)
	}
}

// forgetSegment takes every block out of the index whose place is in g, when its
// footer cannot say which they are.
func (s *Store) forgetSegment(g *segment) {
	var blocks, pinned int64
	s.index.removeAll(func(e entry) bool {
		if e.segment != g.id {
			return false
		}
		blocks++
		if e.holds > 0 {
			pinned++
		}
		return true
	})
	s.stats.corrupt.Add(blocks)
	s.stats.blocks.Add(-blocks)
	s.stats.pinned.Add(-pinned)
	s.stats.missing.Add(pinned)
	s.stats.pinnedBytes.Add(-g.held)
	g.live, g.held = 0, 0
}

// syncSegments makes the segments and their names durable.
func (s *Store) syncSegments(segments map[*segment]bool) error {
	for g := range segments {
		if !g.dirty {
			continue
		}
		if err := g.sync(); err != nil {
			g.distrusted = true
			s.stats.writeFailures.Add(1)
			return err
		}
		g.dirty = false
	}
	if !s.newFiles || len(segments) == 0 {
		return nil
	}
	if err := s.fsys.syncDir(); err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	s.newFiles = false
	return nil
}
