package blockstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// TestEveryOperationFailsOnce lets one operation on the folder fail, each in its
// turn, and the store go on.
func TestEveryOperationFailsOnce(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for nth := 0; ; nth += 3 {
			count, struck := 0, false
			m, want := newMemoryFolder(), newModel()
			s := openMemory(t, m)
			m.fault = func(operation, name string) error {
				if count++; count-1 == nth {
					struck = true
					return fmt.Errorf("%s %s: %w", operation, name, fault)
				}
				return nil
			}
			random := rand.New(rand.NewPCG(5, 5))
			for i := range 250 {
				before := want.clone()
				if err := randomStep(s, want, random); err != nil {
					if !errors.Is(err, fault) && !ipld.IsNotFound(err) {
						t.Fatalf("%v at operation %d, step %d: %v", fault, nth, i, err)
					}
					// A step that failed may be done or not done.
					for j := range before.stored {
						want.stored[j] = true
					}
				}
			}
			m.fault = nil
			s.Close()
			if !struck {
				break
			}
			s, err := newStore(tiny, m, nil, nil)
			if err != nil {
				t.Fatalf("%v at operation %d: not opened again: %v", fault, nth, err)
			}
			if err := checkServed(s, want); err != nil {
				t.Fatalf("%v at operation %d: %v", fault, nth, err)
			}
			s.Close()
		}
	}
}

// checkServed makes sure that committed references are honoured. A pinned block
// may be missing after an I/O error, but then it must be counted.
func checkServed(s *Store, want *model) error {
	missing := int64(0)
	for i, b := range universe {
		if !committedHolds(want, i) {
			continue
		}
		if !s.Pinned(b.Cid()) {
			return fmt.Errorf("block %d is no longer pinned", i)
		}
		if !has(s, b.Cid()) {
			missing++
		}
	}
	if n := s.Stats(); missing != n.MissingPinned && missing > 0 {
		return fmt.Errorf("%d pinned blocks missing, %d counted", missing, n.MissingPinned)
	}
	if missing > 3 {
		return fmt.Errorf("%d pinned blocks lost by one fault", missing)
	}
	return nil
}

func TestDiskFull(t *testing.T) {
	m := newMemoryFolder()
	s := openMemory(t, m)
	mustPut(t, s, universe[1], universe[2])
	if err := errors.Join(s.PutHeld(ctx, "pin", universe[3]), s.Commit("pin")); err != nil {
		t.Fatal(err)
	}
	m.fits = m.size() + 100
	for i := 10; i < 20; i++ {
		if err := s.Put(ctx, universe[i]); err == nil && len(universe[i].RawData()) > 100 {
			t.Errorf("block %d stored on a full disk", i)
		} else if err != nil && (!errors.Is(err, ErrDiskFull) || !errors.Is(err, syscall.ENOSPC)) {
			t.Errorf("block %d: %v", i, err)
		}
		for _, b := range universe[1:4] {
			storetest.Check(t, s, b)
		}
	}
	if n := s.Stats(); !n.DiskFull || n.WriteFailures == 0 {
		t.Errorf("%+v", n)
	}
	if m.size() > m.fits {
		t.Errorf("%d bytes on a disk of %d", m.size(), m.fits)
	}
	m.fits = 0
	mustPut(t, s, universe[10])
	if s.Stats().DiskFull {
		t.Error("still full after a write that worked")
	}
	mustClose(t, s)
	s = openMemory(t, m)
	for _, i := range []int{1, 2, 3, 10} {
		storetest.Check(t, s, universe[i])
	}
}

func TestStartOnAFullDisk(t *testing.T) {
	m, want := lived(t, false)
	m.fits = m.size()
	s := openMemory(t, m)
	if err := compare(s, want, want); err != nil {
		t.Error(err)
	}
	// What is released must be winnable: the log's record has to fit somewhere.
	for _, owner := range s.Owners() {
		if err := s.Release(owner); err != nil {
			t.Errorf("release of %s on a full disk: %v", owner, err)
		}
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	m := newMemoryFolder()
	m.fault = func(operation, name string) error {
		if operation == "read" {
			return nil
		}
		return syscall.EROFS
	}
	if _, err := newStore(tiny, m, nil, nil); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("got %v", err)
	}
}

// TestReadErrorIsAMiss: the disk may be better tomorrow, so the block is only
// forgotten until then.
func TestReadErrorIsAMiss(t *testing.T) {
	m := newMemoryFolder()
	s := openMemory(t, m)
	mustPut(t, s, universe[1])
	m.fault = func(operation, _ string) error {
		if operation == "read" {
			return syscall.EIO
		}
		return nil
	}
	if _, err := s.Get(ctx, universe[1].Cid()); !ipld.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	m.fault = nil
	storetest.CheckMissing(t, s, universe[1].Cid())
	if n := s.Stats(); n.ReadFailures != 1 || n.CorruptRecords != 0 {
		t.Errorf("%+v", n)
	}
	mustClose(t, s)
	storetest.Check(t, openMemory(t, m), universe[1])
}

// TestFailedSyncIsNotTrusted: after a sync has failed, a later one may succeed
// although the data is lost. A commit must not build on it.
func TestFailedSyncIsNotTrusted(t *testing.T) {
	m := newMemoryFolder()
	s := openMemory(t, m)
	if err := s.PutHeld(ctx, "pin", universe[1]); err != nil {
		t.Fatal(err)
	}
	lost := segmentName(1)
	failed := false
	m.fault = func(operation, name string) error {
		if operation == "sync" && name == lost && !failed {
			failed = true
			return syscall.EIO
		}
		return nil
	}
	for s.Commit("pin") != nil {
	}
	m.fault = nil
	// The kernel dropped what it could not write.
	dead := m.powerFailure()
	delete(dead.files, lost)
	survivor := openMemory(t, dead)
	storetest.Check(t, survivor, universe[1])
	if !survivor.Pinned(universe[1].Cid()) {
		t.Error("not pinned")
	}
}

func TestFailedCommitCanBeRepeated(t *testing.T) {
	for _, operation := range []string{"write", "sync", "syncdir"} {
		m := newMemoryFolder()
		s := openMemory(t, m)
		if err := s.PutHeld(ctx, "pin", universe[1]); err != nil {
			t.Fatal(err)
		}
		m.fault = func(op, _ string) error {
			if op == operation {
				return syscall.ENOSPC
			}
			return nil
		}
		if err := s.Commit("pin"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s fails: %v", operation, err)
		}
		if len(s.Owners()) > 0 || !s.Pinned(universe[1].Cid()) {
			t.Errorf("%s fails: owners %v, pinned %v", operation, s.Owners(), s.Pinned(universe[1].Cid()))
		}
		m.fault = nil
		if err := s.Commit("pin"); err != nil {
			t.Errorf("%s failed and works again: %v", operation, err)
		}
		survivor := openMemory(t, m.powerFailure())
		storetest.Check(t, survivor, universe[1])
		if !survivor.Pinned(universe[1].Cid()) {
			t.Errorf("%s failed once: not pinned after all", operation)
		}
	}
}

// TestFailedCompaction lets each step of rewriting the references fail: nothing
// that is committed before or after may be lost.
func TestFailedCompaction(t *testing.T) {
	for _, operation := range []string{"create references.tmp", "write references.tmp", "sync references.tmp", "rename references.tmp", "syncdir "} {
		m := newMemoryFolder()
		s := openMemory(t, m)
		if err := errors.Join(s.PutHeld(ctx, "before", universe[1]), s.Commit("before")); err != nil {
			t.Fatal(err)
		}
		m.fault = func(op, name string) error {
			if op+" "+name == operation {
				return syscall.EIO
			}
			return nil
		}
		s.mu.Lock()
		err := s.compact()
		s.mu.Unlock()
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", operation, err)
		}
		m.fault = nil
		if err := errors.Join(s.PutHeld(ctx, "after", universe[2]), s.Commit("after")); err != nil {
			t.Errorf("%s failed: %v", operation, err)
		}
		for _, left := range []*memoryFolder{m.clone(), m.powerFailure()} {
			survivor := openMemory(t, left)
			for _, b := range universe[1:3] {
				storetest.Check(t, survivor, b)
				if !survivor.Pinned(b.Cid()) {
					t.Errorf("%s failed: %s is no longer pinned", operation, b.Cid())
				}
			}
		}
		if err := checkFigures(s, m); err != nil {
			t.Errorf("%s failed: %v", operation, err)
		}
	}
}

// TestUnreadableSegmentIsPassedOver: a pinned block that cannot be moved keeps its
// segment, and the others make room.
func TestUnreadableSegmentIsPassedOver(t *testing.T) {
	m := newMemoryFolder()
	s := openMemory(t, m)
	pinned := universe[1]
	mustPut(t, s, pinned)
	if err := errors.Join(s.Hold("pin", pinned.Cid()), s.Commit("pin")); err != nil {
		t.Fatal(err)
	}
	m.fault = func(operation, name string) error {
		if operation == "read" && name == segmentName(1) {
			return syscall.EIO
		}
		return nil
	}
	for i := range 200 {
		mustPut(t, s, storetest.Block(1000+i, 1000))
	}
	m.fault = nil
	storetest.Check(t, s, pinned)
}
