package blockstore

import (
	"encoding/binary"
	"slices"

	"github.com/multiformats/go-multihash"
)

// openReferences reads the log of references: owners and their holds, and the
// records that are dead, by segment.
func (s *Store) openReferences(exists bool) (map[uint32][]uint32, error) {
	s.fsys.remove(reflogTemp) // usually not there
	var err error
	if !exists {
		if s.reflog, err = createReferenceLog(s.fsys); err != nil {
			return nil, err
		}
		s.stats.bytes.Add(s.reflog.size)
		return nil, nil
	}
	if s.reflog, err = openReferenceLog(s.fsys); err != nil {
		return nil, err
	}
	r := replay{staged: map[string]*owner{}, owners: s.owners, dead: map[uint32][]uint32{}}
	damaged, err := s.reflog.replay(r.record)
	if err == nil {
		err = r.finish(s.reflog)
	}
	if err != nil {
		return nil, err
	}
	if damaged+r.incomplete > 0 {
		s.stats.corrupt.Add(int64(damaged))
		s.log.Error("references damaged: some blocks may have lost their pin",
			"places", damaged, "incomplete_owners", r.incomplete)
	}
	s.reflog.garbage = r.garbage
	s.stats.owners.Add(int64(len(s.owners)))
	s.stats.bytes.Add(s.reflog.size)
	return r.dead, nil
}

// replay is the state of reading the log.
type replay struct {
	staged     map[string]*owner // holds whose commit has not been seen
	owners     map[string]*owner
	dead       map[uint32][]uint32
	garbage    int64
	incomplete int   // commits that do not match the holds that were found
	unfinished int64 // where the holds at the end begin that no commit follows; or 0
}

func (r *replay) record(offset int64, kind recordKind, payload []byte) {
	size := reflogRecordHeader + int64(len(payload))
	switch {
	case kind != kindHold:
		r.unfinished = 0
	case r.unfinished == 0:
		r.unfinished = offset
	}
	if kind == kindDead {
		for ; len(payload) >= 8; payload = payload[8:] {
			id := binary.LittleEndian.Uint32(payload)
			r.dead[id] = append(r.dead[id], binary.LittleEndian.Uint32(payload[4:]))
		}
		return
	}
	name, rest, ok := cutOwner(payload)
	switch {
	case ok && kind == kindHold && len(rest) >= 4:
		o := r.staged[name]
		if o == nil {
			o = &owner{}
			r.staged[name] = o
		}
		o.holds = append(o.holds, offset)
		o.count += uint64(binary.LittleEndian.Uint32(rest))
		o.logBytes += size
	case ok && kind == kindCommit && len(rest) == 8:
		r.commit(name, binary.LittleEndian.Uint64(rest), size)
	case ok && kind == kindRelease:
		r.garbage += size
		for _, from := range []map[string]*owner{r.staged, r.owners} {
			if o := from[name]; o != nil {
				r.garbage += o.logBytes
				delete(from, name)
			}
		}
	}
}

func (r *replay) commit(name string, count uint64, size int64) {
	o, more := r.owners[name], r.staged[name]
	if o == nil {
		o = &owner{committed: true}
		r.owners[name] = o
	}
	o.logBytes += size
	if more == nil {
		more = &owner{}
	}
	if more.count != count {
		r.incomplete++
	}
	o.holds = append(o.holds, more.holds...)
	o.logBytes += more.logBytes
	delete(r.staged, name)
}

// finish deals with holds without a commit. At the end of the log, the process
// ended while it committed: they are cut off, lest a later commit be taken for
// theirs. Elsewhere, it is the commit that was lost: they count.
func (r *replay) finish(l *referenceLog) error {
	for name, o := range r.staged {
		kept := slices.DeleteFunc(o.holds, func(offset int64) bool { return r.unfinished > 0 && offset >= r.unfinished })
		if o.holds = kept; len(kept) > 0 {
			r.commit(name, 0, 0)
		}
	}
	if r.unfinished > 0 {
		return l.undo(r.unfinished)
	}
	return nil
}

// countDead finds out what of the log is about segments that are gone, and makes
// sure that their numbers are not given to new ones.
func (s *Store) countDead(dead map[uint32][]uint32) {
	for id, offsets := range dead {
		s.nextID = max(s.nextID, id+1)
		if s.segments[id] == nil {
			s.reflog.garbage += int64(len(offsets)) * deadRecordSize
		}
	}
}

// applyReferences counts, for every block, the references of committed owners.
func (s *Store) applyReferences() {
	for name, o := range s.owners {
		for _, offset := range o.holds {
			references, err := s.readHold(offset)
			if err == nil {
				err = eachHash(references, func(h multihash.Multihash) error { s.refer(h, 1); return nil })
			}
			if err != nil {
				s.log.Error("some blocks lost their pin", "owner", name, "error", err)
			}
		}
	}
	if n := s.stats.missing.Load(); n > 0 {
		s.log.Error("pinned blocks are not in the store; they are pinned again when they are fetched", "blocks", n)
	}
}
