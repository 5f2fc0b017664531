package blockstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/shoal-cdn/shoal/block"
)

// open reads the folder. Nothing is changed before everything in it has been
// found to be ours.
func (s *Store) open() error {
	if _, _, err := s.inventory(); err != nil {
		return err
	}
	lock, err := s.fsys.lock(lockName)
	if err != nil {
		return s.openError(err)
	}
	s.lock = lock
	ids, hasLog, err := s.inventory()
	if err != nil {
		return err
	}
	headers, err := s.readHeaders(ids, hasLog)
	if err != nil {
		return err
	}
	dead, err := s.openReferences(hasLog)
	if err != nil {
		return s.openError(err)
	}
	if !hasLog && len(ids) > 0 {
		s.log.Error("the file of references is gone: blocks are kept, but nothing is pinned", "dir", s.options.Dir)
	}
	for _, id := range ids {
		if err := s.openSegmentFile(headers[id], id, dead[id]); err != nil {
			return s.openError(err)
		}
	}
	s.countDead(dead)
	s.applyReferences()
	s.fit()
	s.shrink()
	n := s.Stats()
	s.log.Info("block store opened", "dir", s.options.Dir, "blocks", n.Blocks, "bytes", n.Bytes,
		"capacity", n.Capacity, "segments", n.Segments, "owners", n.Owners, "pinned", n.PinnedBlocks)
	return nil
}

// openError tells what kind of failure it was that kept the folder closed.
func (s *Store) openError(err error) error {
	if isReadOnly(err) {
		return fmt.Errorf("%w: check its owner, its permissions and how it is mounted: %w", ErrReadOnly, err)
	}
	return writeError(err)
}

// inventory returns the segments in the folder, and whether it has a log of
// references; it refuses a folder with anything else in it.
func (s *Store) inventory() (ids []uint32, hasLog bool, err error) {
	files, err := s.fsys.list()
	if err != nil {
		return nil, false, s.openError(err)
	}
	for _, f := range files {
		id, isSegment := parseSegmentName(f.Name())
		switch {
		case f.Name() == "lost+found" && f.IsDir():
		case f.IsDir():
			return nil, false, fmt.Errorf("%w: folder %q in it: expected a folder that is empty or a block store's own", ErrForeign, f.Name())
		case isSegment:
			ids = append(ids, id)
		case f.Name() == reflogName:
			hasLog = true
		case f.Name() == lockName, f.Name() == reflogTemp:
		default:
			return nil, false, fmt.Errorf("%w: file %q in it: expected a folder that is empty or a block store's own", ErrForeign, f.Name())
		}
	}
	slices.Sort(ids)
	return ids, hasLog, nil
}

// readHeaders opens every segment far enough to know that it is ours. A damaged
// header in a folder that is ours is a segment whose creation was cut short; in
// any other folder it is someone else's file.
func (s *Store) readHeaders(ids []uint32, ours bool) (map[uint32]*segment, error) {
	headers := make(map[uint32]*segment, len(ids))
	for _, id := range ids {
		g, err := s.readSegmentHeader(id)
		switch {
		case err == nil:
			headers[id] = g
			// From here on, closeFiles closes it.
			s.segments[id] = g
		case errors.Is(err, errBadHeader) && ours:
		case errors.Is(err, errBadHeader):
			return nil, fmt.Errorf("%w: %s: %w", ErrForeign, segmentName(id), err)
		default:
			return nil, fmt.Errorf("%s: %w", segmentName(id), s.openError(err))
		}
	}
	return headers, nil
}

func (s *Store) readSegmentHeader(id uint32) (*segment, error) {
	f, err := s.fsys.open(segmentName(id), 0)
	if err != nil {
		return nil, err
	}
	b := make([]byte, segmentHeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, errors.Join(err, f.Close())
	}
	h, err := decodeSegmentHeader(b)
	if err == nil && h.id != id {
		err = errBadHeader
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return newSegment(h, f), nil
}

// openSegmentFile indexes the blocks of a segment; g is nil when its header is
// damaged.
func (s *Store) openSegmentFile(g *segment, id uint32, dead []uint32) error {
	s.nextID = max(s.nextID, id+1)
	if g == nil {
		s.stats.corrupt.Add(1)
		s.log.Error("segment removed: its header is damaged", "segment", segmentName(id))
		return s.fsys.remove(segmentName(id))
	}
	info, err := g.file.Stat()
	if err != nil {
		return fmt.Errorf("open segment %d: %w", id, err)
	}
	entries, sealed := g.readFooter(info.Size())
	intact := true
	if !sealed {
		entries, intact = s.recover(g, info)
	}
	s.addSegment(g)
	s.indexEntries(g, entries, dead)
	switch {
	case g.live == 0:
		return s.removeSegment(g)
	case intact:
		s.settle(g, entries, sealed)
	}
	return nil
}

// recover reads through a segment without a footer and cuts it where it ends. It
// reports false when the disk did not let it: nothing may be appended then.
func (s *Store) recover(g *segment, info fs.FileInfo) (entries []byte, ok bool) {
	bad, err := g.scan(info.Size())
	if err == nil {
		err = g.file.Truncate(g.end)
	}
	s.stats.corrupt.Add(int64(bad))
	s.log.Warn("segment without a footer read through", "segment", segmentName(g.id), "blocks", g.count,
		"bad", bad, "cut", info.Size()-g.end, "error", err)
	g.dirty = true
	return g.entries, err == nil
}

// settle decides what becomes of a segment that has just been read: a short one
// is appended to, any other is sealed.
func (s *Store) settle(g *segment, entries []byte, sealed bool) {
	if other := s.active[g.class]; g.size() < s.limits().segmentSize()/2 && other == nil {
		if !sealed {
			s.active[g.class] = g
			return
		}
		// Without this, each restart would leave another short segment behind.
		if err := s.written(g.unseal(entries)); err == nil {
			s.active[g.class] = g
		}
		return
	}
	if err := s.written(g.seal()); err != nil {
		s.log.Warn("segment left without a footer; it will be read through at the next start", "error", err)
	}
}

// indexEntries makes the records of g the places of their blocks, except for
// those that are dead.
func (s *Store) indexEntries(g *segment, entries []byte, dead []uint32) {
	buried := make(map[uint32]bool, len(dead))
	for _, offset := range dead {
		buried[offset] = true
	}
	g.dead = slices.Compact(slices.Sorted(slices.Values(dead)))
	err := eachEntry(entries, func(r record) error {
		if int64(r.offset)+int64(r.length) > g.end || r.length > block.MaxSize || len(r.hash) == 0 {
			return errBadRecord
		}
		if !buried[r.offset] {
			s.indexRecord(g, r)
		}
		return nil
	})
	if err != nil {
		s.stats.corrupt.Add(1)
		s.log.Error("segment indexed in part", "segment", segmentName(g.id), "error", err)
	}
}

// indexRecord makes r the place of its block. A block that has a place already
// was being moved when the process ended; the later segment counts.
func (s *Store) indexRecord(g *segment, r record) {
	var was entry
	k := s.keys.key(r.hash)
	s.index.change(k, func(e *entry) {
		was = *e
		e.place(g.id, r)
		if g.class == main {
			// Its uses are not on disk; that it came to be here says that there were some.
			e.setUses(1)
		}
	})
	g.live += r.footprint()
	s.stats.blocks.Add(1)
	if was.present() {
		s.unplaced(s.segments[was.segment], was, r.hash)
	}
}

// shrink makes a store fit that was larger when it was last open.
func (s *Store) shrink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used() <= s.capacity.Load() {
		return
	}
	if err := s.makeRoom(0, true); err != nil {
		s.log.Error("block store exceeds its capacity", "bytes", s.used(), "capacity", s.capacity.Load(), "error", err)
	}
}
