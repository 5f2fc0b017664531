package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// compactIfDue rewrites the log of references when most of it no longer matters.
// A failure costs nothing but space, and is tried again later.
func (s *Store) compactIfDue() {
	l := s.reflog
	if l.garbage < s.limits().logMargin()/2 || l.garbage < l.size/2 {
		return
	}
	if err := s.compact(); err != nil {
		l.garbage = 0 // the next attempt comes after as much garbage again
		s.log.Warn("references not rewritten; their log keeps growing until that works", "error", err)
	}
}

// compact writes a log of what holds and is dead now, and puts it in the place of
// the old one. The caller holds mu.
func (s *Store) compact() error {
	if err := s.makeRoom(s.reflog.size-s.reflog.garbage, true); err != nil {
		return err
	}
	fresh, err := createReferenceTemp(s.fsys, s.reflog.salt)
	if err != nil {
		return s.written(err)
	}
	moved := map[*owner]owner{}
	err = s.copyReferences(fresh, moved)
	if err == nil {
		err = s.copyDead(fresh)
	}
	if err != nil {
		return s.written(fresh.discard(s.fsys, err))
	}
	if err := fresh.install(s.fsys); err != nil {
		return s.written(err)
	}
	for o, now := range moved {
		o.holds, o.logBytes = now.holds, now.logBytes
	}
	s.stats.bytes.Add(fresh.size - s.reflog.size)
	s.stats.written.Add(fresh.size)
	old := s.reflog
	s.reflog = fresh
	// From the rename on, the new log is the one: nothing that is appended to the
	// old one would be found again.
	if err := s.fsys.syncDir(); err != nil {
		fresh.distrusted = true
		return s.written(errors.Join(fmt.Errorf("sync the folder: %w", err), old.file.Close()))
	}
	return old.file.Close()
}

// copyReferences writes what committed owners hold, and where that is now.
func (s *Store) copyReferences(to *referenceLog, moved map[*owner]owner) error {
	for name, o := range s.owners {
		if !o.committed {
			continue
		}
		before := to.size
		var now owner
		count := uint64(0)
		for _, offset := range o.holds {
			payload, err := s.reflog.read(offset)
			if errors.Is(err, errBadRecord) || errors.Is(err, errBadHeader) {
				// Until the next start, the blocks stay pinned all the same.
				s.log.Error("references damaged: some blocks will lose their pin", "owner", name, "error", err)
				continue
			}
			if err != nil {
				return err
			}
			if _, rest, ok := cutOwner(payload); ok && len(rest) >= 4 {
				count += uint64(binary.LittleEndian.Uint32(rest))
			}
			now.holds = append(now.holds, to.size)
			if err := to.append(kindHold, payload); err != nil {
				return err
			}
		}
		if err := to.append(kindCommit, binary.LittleEndian.AppendUint64(appendOwner(nil, name), count)); err != nil {
			return err
		}
		now.logBytes = to.size - before
		moved[o] = now
	}
	return nil
}

// copyDead writes which records of the segments that are still there are dead.
func (s *Store) copyDead(to *referenceLog) error {
	for _, g := range s.segments {
		payload := make([]byte, 0, 8*len(g.dead))
		for _, offset := range g.dead {
			payload = binary.LittleEndian.AppendUint32(payload, g.id)
			payload = binary.LittleEndian.AppendUint32(payload, offset)
		}
		for len(payload) > 0 {
			n := min(len(payload), holdPayload)
			if err := to.append(kindDead, payload[:n]); err != nil {
				return fmt.Errorf("segment %d: %w", g.id, err)
			}
			payload = payload[n:]
		}
	}
	return nil
}
