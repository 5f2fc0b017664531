package blockstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// put stores a block, and holds it when o is not nil.
func (s *Store) put(ctx context.Context, b blocks.Block, ownerName *string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	v, err := verify(b)
	if err != nil {
		return err
	}
	h, data := v.Cid().Hash(), v.RawData()
	k := s.keys.key(h)
	if e, ok := s.index.get(k); ok && e.present() && ownerName == nil {
		return nil
	}
	r := record{hash: h, length: uint32(len(data)), crc: uint32(v.Checksum())}

	isNew, err := s.putNew(k, r, v, ownerName)
	if isNew {
		s.watch.Stored(v)
	}
	return err
}

// putNew does the work of put under the lock, and reports whether the block was not
// here before.
func (s *Store) putNew(k key, r record, v *block.Verified, ownerName *string) (isNew bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return false, ErrClosed
	}
	if isNew, err = s.storeBlock(k, r, v.RawData(), ownerName != nil); err != nil {
		return false, fmt.Errorf("store block %s: %w", v.Cid(), err)
	}
	if ownerName == nil {
		return isNew, nil
	}
	if err := s.hold(*ownerName, r.hash); err != nil {
		return isNew, fmt.Errorf("hold block %s for %s: %w", v.Cid(), *ownerName, err)
	}
	return isNew, nil
}

// storeBlock appends the block, and reports false if it is here. The caller holds mu.
func (s *Store) storeBlock(k key, r record, data []byte, hold bool) (bool, error) {
	e, _ := s.index.get(k)
	if e.present() {
		return false, nil
	}
	hold = hold || e.holds > 0
	s.fit()
	if err := s.makeRoom(r.footprint()+newSegmentSize, hold); err != nil {
		return false, err
	}
	into := probation
	switch {
	case hold:
		into = held
	case s.ghost.take(k):
		into = main
	}
	g, r, err := s.append(into, r, data)
	if err != nil {
		return false, err
	}
	s.place(k, g, r)
	s.stats.stored.Add(int64(r.length))
	s.earn(r)
	return true, nil
}

// newSegmentSize is what opening another segment adds to a record.
const newSegmentSize = segmentHeaderSize + trailerSize

// append writes a record to the segment that collects the class, sealing and
// opening segments as needed. The caller holds mu and has made room.
func (s *Store) append(into class, r record, data []byte) (*segment, record, error) {
	g := s.active[into]
	if g != nil && g.count > 0 && g.size()+r.footprint() > s.limits().segmentSize() {
		s.sealActive(into)
		g = nil
	}
	if g == nil {
		var err error
		if g, err = s.openSegment(into); err != nil {
			return nil, r, s.written(err)
		}
	}
	before := g.size()
	r, err := g.append(r, data, s.scratch)
	if s.written(err) != nil {
		return nil, r, writeError(err)
	}
	s.stats.bytes.Add(g.size() - before)
	s.stats.written.Add(g.size() - before)
	return g, r, nil
}

func (s *Store) openSegment(c class) (*segment, error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	h := segmentHeader{id: s.nextID, nonce: binary.LittleEndian.Uint64(nonce[:]), class: c}
	g, err := createSegment(s.fsys, h)
	if err != nil {
		return nil, err
	}
	s.nextID++
	s.newFiles = true
	s.addSegment(g)
	s.active[c] = g
	s.stats.written.Add(newSegmentSize)
	return g, nil
}

func (s *Store) addSegment(g *segment) {
	s.queueLast(g)
	s.stats.bytes.Add(g.size())
	s.stats.segments.Add(1)
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	s.segments[g.id] = g
}

// removeSegment unlinks a segment that no block has its place in.
func (s *Store) removeSegment(g *segment) error {
	if s.isActive(g) {
		s.active[g.class] = nil
	}
	if err := s.fsys.remove(segmentName(g.id)); err != nil {
		return fmt.Errorf("remove segment %d: %w", g.id, err)
	}
	s.reflog.garbage += int64(len(g.dead)) * deadRecordSize
	s.stats.bytes.Add(-g.size())
	s.stats.segments.Add(-1)
	s.tableMu.Lock()
	delete(s.segments, g.id)
	s.tableMu.Unlock()
	return g.release()
}

// sealActive ends the segment that collects the class.
func (s *Store) sealActive(c class) {
	g := s.active[c]
	if g == nil {
		return
	}
	s.active[c] = nil
	// It works on without its footer; the failure has been counted.
	if err := s.written(g.seal()); err != nil {
		s.log.Warn("segment left without a footer; it will be read through at the next start", "error", err)
	}
}

// written keeps account of whether writing works, and marks the error with what
// it means.
func (s *Store) written(err error) error {
	if err == nil {
		if s.stats.diskFull.Swap(false) {
			s.log.Info("disk has space again; blocks are being stored", "dir", s.options.Dir)
		}
		return nil
	}
	s.stats.writeFailures.Add(1)
	if isDiskFull(err) {
		s.fitted.Store(0) // what was known of the room is wrong
		if !s.stats.diskFull.Swap(true) {
			s.log.Error("disk full: blocks are served but not stored", "dir", s.options.Dir, "error", err)
		}
	}
	return writeError(err)
}

// place makes record r of segment g the place of block k.
func (s *Store) place(k key, g *segment, r record) {
	var e entry
	s.index.change(k, func(at *entry) {
		at.place(g.id, r)
		e = *at
	})
	g.live += r.footprint()
	s.stats.blocks.Add(1)
	if e.holds > 0 {
		s.stats.missing.Add(-1)
		s.addHeld(g, r.footprint())
	}
}

// unplaced accounts for the block at e having lost its place in g.
func (s *Store) unplaced(g *segment, e entry, h multihash.Multihash) {
	size := footprint(len(h), e.length())
	g.live -= size
	s.stats.blocks.Add(-1)
	if e.holds > 0 {
		s.stats.missing.Add(1)
		s.addHeld(g, -size)
	}
}

// addHeld accounts for bytes of g that owners hold from now on, or, when
// negative, no longer.
func (s *Store) addHeld(g *segment, size int64) {
	g.held += size
	s.stats.pinnedBytes.Add(size)
	if size > 0 {
		s.stats.pinned.Add(1)
	} else {
		s.stats.pinned.Add(-1)
	}
}
