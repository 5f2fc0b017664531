package blockstore

import (
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// Commit makes durable what owner holds so far, blocks and references, and makes
// it one of [Store.Owners]. When it fails, the references are as before.
func (s *Store) Commit(owner string) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	s.writeBack(owner)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.commit(owner); err != nil {
		return fmt.Errorf("commit what %s holds: %w", owner, err)
	}
	return nil
}

// writeBack syncs most of what Commit needs without keeping writers waiting. What
// is missed, or moved meanwhile, is synced in Commit.
func (s *Store) writeBack(name string) {
	needed := map[*segment]bool{}
	s.mu.Lock()
	if o := s.owners[name]; o != nil && !s.closed.Load() {
		eachHash(o.pending, func(h multihash.Multihash) error {
			e, _ := s.index.get(s.keys.key(h))
			if g := s.segments[e.segment]; g != nil && g.dirty && !needed[g] {
				needed[g] = g.acquire()
			}
			return nil
		})
	}
	s.mu.Unlock()
	for g := range needed {
		if err := g.sync(); err != nil {
			// The kernel reports this once, so it must not be forgotten.
			s.mu.Lock()
			g.distrusted = true
			s.mu.Unlock()
		}
		g.release()
	}
}

func (s *Store) commit(name string) error {
	o := s.owners[name]
	if o == nil {
		o = &owner{}
	}
	if o.committed && o.count == 0 {
		return nil
	}
	if s.reflog.distrusted {
		if err := s.compact(); err != nil {
			return err
		}
	}
	if err := s.makeLogRoom(commitSize(name)); err != nil {
		return err
	}
	// Blocks first: a reference that survives a crash must find its block.
	if err := s.syncBlocks(o.pending); err != nil {
		return s.written(err)
	}
	before := s.reflog.size
	holds, err := s.logHolds(name, o)
	if err == nil {
		err = s.reflog.sync()
	}
	if s.written(err) != nil {
		s.reflog.undo(before)
		return writeError(err)
	}
	s.stats.bytes.Add(s.reflog.size - before - int64(len(o.pending)))
	s.stats.written.Add(s.reflog.size - before)
	if !o.committed {
		s.stats.owners.Add(1)
	}
	o.holds = append(o.holds, holds...)
	o.logBytes += s.reflog.size - before
	o.pending, o.count, o.committed = nil, 0, true
	s.owners[name] = o
	return nil
}

// commitSize is what a commit takes in the log besides its references.
func commitSize(name string) int64 { return 2*(reflogRecordHeader+2+int64(len(name))) + 4 + 8 }

// makeLogRoom makes room in the log, if need be in the space that is kept free, or that
// others left on the disk: the blocks are here already, and only the disk may refuse.
func (s *Store) makeLogRoom(need int64) error {
	err := s.makeRoom(need, true)
	if err != nil && s.used()+need <= s.options.Capacity {
		return nil
	}
	return err
}

// syncBlocks makes the blocks that references name durable, where they are.
func (s *Store) syncBlocks(references []byte) error {
	needed := map[*segment]bool{}
	err := eachHash(references, func(h multihash.Multihash) error {
		k := s.keys.key(h)
		e, ok := s.index.get(k)
		if !ok || !e.present() {
			return fmt.Errorf("%w: it went bad since it was stored; store it again", block.NotFound(cid.NewCidV1(cid.Raw, h)))
		}
		g := s.segments[e.segment]
		if g.distrusted {
			r := resident{record{h, e.offset, uint32(e.length()), e.crc}, k, e}
			s.retire(g)
			var err error
			if g, err = s.move(g, r, held); err != nil {
				return err
			}
		}
		needed[g] = true
		return nil
	})
	if err != nil {
		return err
	}
	return s.syncSegments(needed)
}

// retire ends a segment early, so that nothing more is written to it.
func (s *Store) retire(g *segment) {
	if s.isActive(g) {
		s.sealActive(g.class)
	}
}

// logHolds appends what is pending and its commit, and returns the offsets of the
// hold records.
func (s *Store) logHolds(name string, o *owner) (offsets []int64, err error) {
	var chunk []byte
	count := uint32(0)
	flush := func() error {
		if count == 0 {
			return nil
		}
		payload := appendOwner(make([]byte, 0, len(chunk)+len(name)+6), name)
		payload = binary.LittleEndian.AppendUint32(payload, count)
		offsets = append(offsets, s.reflog.size)
		err := s.reflog.append(kindHold, append(payload, chunk...))
		chunk, count = chunk[:0], 0
		return err
	}
	err = eachHash(o.pending, func(h multihash.Multihash) error {
		chunk = appendHash(chunk, h)
		count++
		if len(chunk) < holdPayload {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return nil, err
	}
	return offsets, s.reflog.append(kindCommit, binary.LittleEndian.AppendUint64(appendOwner(nil, name), o.count))
}
