package blockstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// lived returns the folder of a store that has seen all kinds of use, and what
// it should remember. It is left as a kill leaves it, or closed.
func lived(t testing.TB, closed bool) (*memoryFolder, *model) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	m, want := newMemoryFolder(), newModel()
	s := openMemory(t, m)
	for range 500 {
		if err := randomStep(s, want, random); err != nil {
			t.Fatal(err)
		}
	}
	if closed {
		mustClose(t, s)
	}
	want.pending = map[string]map[int]int{}
	return m.clone(), want
}

// checkDamaged opens a damaged folder and uses it. Whatever is lost, nothing may
// be wrong.
func checkDamaged(m *memoryFolder) (*Store, error) {
	return useDamaged(m, checkFigures)
}

func useDamaged(m *memoryFolder, figures func(*Store, *memoryFolder) error) (*Store, error) {
	s, err := newStore(tiny, m, nil, nil)
	if errors.Is(err, ErrForeign) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("not opened: %w", err)
	}
	defer s.Close()
	for range 2 {
		for i, b := range universe {
			got, err := s.Get(ctx, b.Cid())
			if err != nil && !ipld.IsNotFound(err) {
				return s, fmt.Errorf("block %d: %w", i, err)
			}
			if err == nil && !bytes.Equal(got.RawData(), b.RawData()) {
				return s, fmt.Errorf("block %d: wrong bytes", i)
			}
		}
		if err := figures(s, m); err != nil {
			return s, err
		}
		for i, b := range universe {
			if err := s.Put(ctx, b); err != nil && !errors.Is(err, ErrFull) {
				return s, fmt.Errorf("block %d not stored: %w", i, err)
			}
		}
	}
	return s, nil
}

// TestFlippedBytes changes the bytes of every file, one at a time.
func TestFlippedBytes(t *testing.T) {
	for _, closed := range []bool{false, true} {
		m, want := lived(t, closed)
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			size := len(m.files[name].data)
			for at := 0; at < size; at += 7 {
				// The middle of a segment is mostly data, which says less.
				if name != reflogName && at > 100 && at < size-150 && at%97 > 0 {
					continue
				}
				damaged := m.clone()
				damaged.files[name].data[at] ^= 1 << (at % 8)
				s, err := checkDamaged(damaged)
				if err != nil {
					t.Fatalf("closed %v, %s: byte %d: %v", closed, name, at, err)
				}
				if lost := len(want.committed) - len(s.owners); lost > 1 || lost > 0 && name != reflogName {
					t.Fatalf("closed %v, %s: byte %d: %d owners lost", closed, name, at, lost)
				}
			}
		}
	}
}

// TestCutFiles ends every file at many lengths, as a lost tail would.
func TestCutFiles(t *testing.T) {
	for _, closed := range []bool{false, true} {
		m, _ := lived(t, closed)
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			for length := 0; length < len(m.files[name].data); length += 1 + length%151 {
				damaged := m.clone()
				damaged.files[name].data = damaged.files[name].data[:length]
				_, err := checkDamaged(damaged)
				if errors.Is(err, ErrForeign) && name == reflogName && length < reflogHeaderCopy {
					continue // no longer recognisable, so not touched
				}
				if err != nil {
					t.Fatalf("closed %v, %s cut to %d: %v", closed, name, length, err)
				}
			}
		}
	}
}

func TestMissingFiles(t *testing.T) {
	m, want := lived(t, true)
	for name := range m.files {
		damaged := m.clone()
		delete(damaged.files, name)
		s, err := checkDamaged(damaged)
		if err != nil {
			t.Fatalf("without %s: %v", name, err)
		}
		if owners := len(want.committed); name == reflogName && len(s.owners) != 0 || name != reflogName && len(s.owners) != owners {
			t.Errorf("without %s: %d owners", name, len(s.owners))
		}
	}
}

// TestBadRecordIsDropped covers what a flip costs: one block, until it comes back.
func TestBadRecordIsDropped(t *testing.T) {
	m := newMemoryFolder()
	s := openMemory(t, m)
	free, held := universe[3], universe[4]
	mustPut(t, s, free)
	if err := errors.Join(s.PutHeld(ctx, "pin", held), s.Commit("pin")); err != nil {
		t.Fatal(err)
	}
	damage(t, s, m, free)
	damage(t, s, m, held)
	for _, b := range []*block.Verified{free, held} {
		if _, err := s.Get(ctx, b.Cid()); !ipld.IsNotFound(err) {
			t.Errorf("a bad record was read: %v", err)
		}
		storetest.CheckMissing(t, s, b.Cid())
	}
	if n := s.Stats(); n.CorruptRecords != 2 || n.Blocks != 0 || n.MissingPinned != 1 || n.PinnedBlocks != 0 {
		t.Errorf("%+v", n)
	}
	if err := s.Hold("other", held.Cid()); !ipld.IsNotFound(err) {
		t.Errorf("hold of a block that went bad: %v", err)
	}
	for range 2 {
		if s.Pinned(free.Cid()) || !s.Pinned(held.Cid()) {
			t.Errorf("pinned: %v, %v", s.Pinned(free.Cid()), s.Pinned(held.Cid()))
		}
		mustClose(t, s)
		s = openMemory(t, m)
	}
	mustPut(t, s, free, held)
	storetest.Check(t, s, free)
	storetest.Check(t, s, held)
	if n := s.Stats(); n.MissingPinned != 0 || n.PinnedBlocks != 1 {
		t.Errorf("%+v", n)
	}
	if err := checkFigures(s, m); err != nil {
		t.Error(err)
	}
}

// damage flips a byte of a block's data where it lies.
func damage(t *testing.T, s *Store, m *memoryFolder, b *block.Verified) {
	t.Helper()
	e, ok := s.index.get(s.keys.key(b.Cid().Hash()))
	if !ok {
		t.Fatalf("%s is not there", b.Cid())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[segmentName(e.segment)].data[e.offset] ^= 1
}

// TestFooterGoesBad damages footers while the store is open: the blocks must
// still be found, moved, or forgotten when their segments are reclaimed.
func TestFooterGoesBad(t *testing.T) {
	for _, alsoRecords := range []bool{false, true} {
		m := newMemoryFolder()
		s := openMemory(t, m)
		for i := range 10 {
			if err := s.PutHeld(ctx, "pin", universe[i]); err != nil {
				t.Fatal(err)
			}
			mustPut(t, s, universe[20+i])
		}
		m.mu.Lock()
		for name, f := range m.files {
			if name != reflogName {
				f.data[len(f.data)-trailerSize-1] ^= 1
				if alsoRecords {
					f.data[segmentHeaderSize+1] ^= 1 // the first record's header
				}
			}
		}
		m.mu.Unlock()
		if err := s.Release("pin"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for i := 30; i < 60; i++ {
				mustPut(t, s, universe[i])
			}
		}
		if err := checkFigures(s, m); err != nil {
			t.Errorf("records too: %v: %v", alsoRecords, err)
		}
		for _, b := range universe {
			if got, err := s.Get(ctx, b.Cid()); err == nil && !bytes.Equal(got.RawData(), b.RawData()) {
				t.Errorf("wrong bytes for %s", b.Cid())
			}
		}
		mustClose(t, s)
	}
}

// TestDataThatLooksLikeTheFormat stores blocks whose bytes try to pass for a
// record, a footer and a log, and ends the files right behind them.
func TestDataThatLooksLikeTheFormat(t *testing.T) {
	victim := universe[1]
	wrong := bytes.Repeat([]byte("x"), len(victim.RawData()))
	r := record{hash: victim.Cid().Hash(), offset: 60, length: uint32(len(wrong)), crc: checksum(wrong)}
	forgery := append(r.appendHeader(nil, 0), wrong...)
	forgery = append(forgery, appendTrailer(r.appendEntry(nil), 1, 0)...)
	for _, whole := range []bool{true, false} {
		m := newMemoryFolder()
		s := openMemory(t, m)
		mustPut(t, s, storetest.BlockOf(forgery, 0x12))
		after := m.clone()
		after.files[reflogName] = m.clone().files[reflogName]
		name := segmentName(1)
		if !whole {
			// The header of the record is gone: its data lies open.
			after.files[name].data[segmentHeaderSize] ^= 1
		}
		opened := openMemory(t, after)
		storetest.CheckMissing(t, opened, victim.Cid())
	}
}

func FuzzOpenDamagedFolder(f *testing.F) {
	f.Add(uint8(0), uint16(0), []byte{1}, false)
	f.Add(uint8(1), uint16(40), []byte("SHOALEND"), true)
	f.Add(uint8(2), uint16(3000), binary.LittleEndian.AppendUint64(nil, 1<<40), false)
	live, _ := lived(f, false)
	closed, _ := lived(f, true)
	f.Fuzz(func(t *testing.T, which uint8, at uint16, patch []byte, cut bool) {
		m := live.clone()
		if which >= 128 {
			m = closed.clone()
		}
		names := slices.Sorted(maps.Keys(m.files))
		target := m.files[names[int(which)%len(names)]]
		offset := int(at) % (len(target.data) + 1)
		if end := offset + len(patch); end > len(target.data) {
			target.data = append(target.data, make([]byte, end-len(target.data))...)
		}
		copy(target.data[offset:], patch)
		if cut {
			target.data = target.data[:offset+len(patch)]
		}
		if _, err := checkDamaged(m); err != nil && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
	})
}

// FuzzOpenSegment gives a whole segment to the store, header and CRC in order, so
// that the fuzzer gets past them.
func FuzzOpenSegment(f *testing.F) {
	r := record{hash: universe[1].Cid().Hash(), offset: 80, length: 10, crc: 1}
	f.Add(r.appendHeader(nil, 1))
	f.Add(appendTrailer(r.appendEntry(nil), 1, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, fixed := range [][]byte{body, appendTrailer(slices.Clone(body), 1, 1)} {
			m := newMemoryFolder()
			openMemory(t, m).Close()
			header := segmentHeader{id: 9, nonce: 1}.encode()
			m.files[segmentName(9)] = &memoryFile{folder: m, name: segmentName(9), data: append(header, fixed...)}
			// Its footer may list blocks that are not in the universe.
			if _, err := useDamaged(m, func(*Store, *memoryFolder) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
}
