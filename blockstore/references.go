package blockstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// Whoever needs blocks to stay is an owner: an import, a pin. Owners hold blocks,
// each as often as it likes; a block stays until the last reference is gone. What
// an owner holds is in memory until it commits, so that a crash in the middle of
// an import leaves no half of it pinned.

// maxOwner is the longest name of an owner, in bytes.
const maxOwner = 1024

// owner is guarded by Store.mu.
type owner struct {
	pending   []byte  // references since the last commit, as in a hold record
	count     uint64  // how many those are
	holds     []int64 // offsets of the hold records in the log
	logBytes  int64   // what all its records in the log take
	committed bool
}

func checkOwner(name string) error {
	if name == "" || len(name) > maxOwner {
		return fmt.Errorf("owner of %d bytes: expected 1 to %d", len(name), maxOwner)
	}
	return nil
}

// PutHeld stores a block and holds it for owner in one step, so that it cannot be
// evicted in between. When pinned blocks fill the store, the error is a
// [*FullError].
func (s *Store) PutHeld(ctx context.Context, owner string, b blocks.Block) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	return s.put(ctx, b, &owner)
}

// Hold holds blocks that are in the store, all or none: when one is missing, the
// error is an [ipld.ErrNotFound] that names it.
func (s *Store) Hold(owner string, cids ...cid.Cid) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	hashes := make([]multihash.Multihash, len(cids))
	for i, c := range cids {
		if !c.Defined() {
			return fmt.Errorf("hold for %s: %w", owner, block.NotFound(c))
		}
		hashes[i] = c.Hash()
		if e, ok := s.index.get(s.keys.key(c.Hash())); !ok || !e.present() {
			return fmt.Errorf("hold for %s: %w", owner, block.NotFound(c))
		}
	}
	if err := s.hold(owner, hashes...); err != nil {
		return fmt.Errorf("hold %d blocks for %s: %w", len(cids), owner, err)
	}
	return nil
}

// hold adds references to blocks that are here. The caller holds mu.
func (s *Store) hold(name string, hashes ...multihash.Multihash) error {
	var entries []byte
	for _, h := range hashes {
		// Before anything else: making room could evict what is to be held.
		s.refer(h, 1)
		entries = appendHash(entries, h)
	}
	if err := s.makeRoom(int64(len(entries)), true); err != nil {
		for _, h := range hashes {
			s.refer(h, -1)
		}
		return err
	}
	o := s.owners[name]
	if o == nil {
		o = &owner{}
		s.owners[name] = o
	}
	o.pending = append(o.pending, entries...)
	o.count += uint64(len(hashes))
	// The log will need the space; promise it now, so that Commit finds it.
	s.stats.bytes.Add(int64(len(entries)))
	return nil
}

// refer changes the number of references to a block by one.
func (s *Store) refer(h multihash.Multihash, by int) {
	var e entry
	s.index.change(s.keys.key(h), func(at *entry) {
		at.holds = uint32(int(at.holds) + by)
		e = *at
	})
	first, last := by > 0 && e.holds == 1, by < 0 && e.holds == 0
	switch size := footprint(len(h), e.length()); {
	case !first && !last:
	case e.present():
		s.addHeld(s.segments[e.segment], int64(by)*size)
	default:
		s.stats.missing.Add(int64(by))
	}
}

func appendHash(b []byte, h multihash.Multihash) []byte {
	return append(binary.AppendUvarint(b, uint64(len(h))), h...)
}

// eachHash calls f for every multihash in references.
func eachHash(references []byte, f func(multihash.Multihash) error) error {
	for len(references) > 0 {
		n, width := binary.Uvarint(references)
		if width <= 0 || n == 0 || n > uint64(len(references)-width) {
			return errBadRecord
		}
		if err := f(multihash.Multihash(references[width : width+int(n)])); err != nil {
			return err
		}
		references = references[width+int(n):]
	}
	return nil
}

// Release drops all that owner holds, committed or not, and returns when that is
// durable. The blocks stay as long as they are wanted, like any other. To release
// an owner that holds nothing is no error.
func (s *Store) Release(owner string) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	o := s.owners[owner]
	if o == nil {
		return nil
	}
	if err := s.release(owner, o); err != nil {
		return fmt.Errorf("release what %s holds: %w", owner, err)
	}
	return nil
}

func (s *Store) release(name string, o *owner) error {
	references := slices.Clip(o.pending)
	var bad error
	for _, offset := range o.holds {
		more, err := s.readHold(offset)
		switch {
		case errors.Is(err, errBadHeader), errors.Is(err, errBadRecord):
			bad = fmt.Errorf("some blocks stay pinned until the next start: %w", err)
		case err != nil:
			return err
		}
		references = append(references, more...)
	}
	if o.committed {
		if err := s.logRelease(name); err != nil {
			return err
		}
		s.stats.owners.Add(-1)
	}
	eachHash(references, func(h multihash.Multihash) error { s.refer(h, -1); return nil })
	s.stats.bytes.Add(-int64(len(o.pending)))
	s.reflog.garbage += o.logBytes
	delete(s.owners, name)
	s.compactIfDue()
	return bad
}

func (s *Store) logRelease(name string) error {
	payload := appendOwner(nil, name)
	before := s.reflog.size
	err := s.reflog.append(kindRelease, payload)
	if isDiskFull(err) {
		// Releasing is how space is won back, so it must not fail for lack of it.
		if found, reclaimErr := s.reclaim(true); found && reclaimErr == nil {
			err = s.reflog.append(kindRelease, payload)
		}
	}
	if err == nil {
		err = s.reflog.sync()
	}
	if s.written(err) != nil {
		s.reflog.undo(before)
		return writeError(err)
	}
	s.reflog.garbage += s.reflog.size - before
	s.stats.bytes.Add(s.reflog.size - before)
	s.stats.written.Add(s.reflog.size - before)
	return nil
}

// readHold returns the references of the hold record at offset.
func (s *Store) readHold(offset int64) ([]byte, error) {
	payload, err := s.reflog.read(offset)
	if err != nil {
		return nil, err
	}
	_, rest, ok := cutOwner(payload)
	if !ok || len(rest) < 4 {
		return nil, errBadRecord
	}
	return rest[4:], nil
}

// appendDead records that the record at offset of a segment must not come back.
func (s *Store) appendDead(segment, offset uint32) error {
	payload := binary.LittleEndian.AppendUint32(nil, segment)
	if err := s.reflog.append(kindDead, binary.LittleEndian.AppendUint32(payload, offset)); err != nil {
		return err
	}
	s.stats.bytes.Add(deadRecordSize)
	s.stats.written.Add(deadRecordSize)
	s.compactIfDue()
	return nil
}

// Owners returns the names of the owners that committed, sorted.
func (s *Store) Owners() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, o := range s.owners {
		if o.committed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// References calls f with the multihash of every reference that owner has,
// committed or not, until f returns an error; a block that was held twice is named
// twice. Writers wait only for one record of the log at a time, so what is held or
// committed meanwhile may be missed or named twice, and a damaged record is left
// out. The multihash is f's only until it returns. f may use the store.
func (s *Store) References(owner string, f func(multihash.Multihash) error) error {
	for i := 0; ; i++ {
		references, more, err := s.referencesOf(owner, i)
		if err == nil {
			err = eachHash(references, f)
		}
		if err != nil {
			return fmt.Errorf("list what %s holds: %w", owner, err)
		}
		if !more {
			return nil
		}
	}
}

// referencesOf returns the i-th part of what owner holds, and whether there is
// another one. The part that is not committed comes last.
func (s *Store) referencesOf(name string, i int) (references []byte, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, false, ErrClosed
	}
	o := s.owners[name]
	switch {
	case o == nil:
		return nil, false, nil
	case i >= len(o.holds):
		return slices.Clone(o.pending), false, nil
	}
	references, err = s.readHold(o.holds[i])
	if errors.Is(err, errBadHeader) || errors.Is(err, errBadRecord) {
		s.log.Error("references damaged: some are left out of a list", "owner", name, "error", err)
		return nil, true, nil
	}
	return references, true, err
}

// Pinned reports whether any owner holds the block. It reads no disk and waits
// for no writer.
func (s *Store) Pinned(c cid.Cid) bool {
	if !c.Defined() {
		return false
	}
	e, ok := s.index.get(s.keys.key(c.Hash()))
	return ok && e.holds > 0
}
