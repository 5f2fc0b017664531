package blockstore

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

const mib = 1 << 20

// A volume that has not grown yet to what the capacity was set to: the store keeps what
// is new in what there is, says so once, and takes the rest when it is there.
func TestVolumeSmallerThanTheCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryFolder()
		m.fits = 40 * mib
		var log bytes.Buffer
		s, err := newStore(Options{Dir: "memory", Capacity: 64 * mib}, m, slog.New(slog.NewTextHandler(&log, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		fill := func(from, n int) {
			for i := from; i < from+n; i++ {
				b := storetest.Block(i, 256<<10)
				mustPut(t, s, b)
				storetest.Check(t, s, b)
			}
		}
		fill(0, 300)
		if n := s.Stats(); n.Capacity != 39*mib || n.Bytes > n.Capacity || n.DiskFull || n.WriteFailures > 0 || n.EvictedBlocks == 0 {
			t.Errorf("on a volume of 40 MiB: %+v", n)
		}
		if s.Room() > 39*mib {
			t.Errorf("%d bytes could be pinned", s.Room())
		}
		if said := strings.Count(log.String(), "has less room than the block store may take"); said != 1 {
			t.Errorf("said %d times:\n%s", said, &log)
		}

		m.mu.Lock()
		m.fits = 100 * mib
		m.mu.Unlock()
		time.Sleep(fitEvery)
		fill(300, 300)
		if n := s.Stats(); n.Capacity != 64*mib || n.Bytes < 60*mib || n.Bytes > 64*mib {
			t.Errorf("on a volume of 100 MiB: %+v", n)
		}
		if !strings.Contains(log.String(), "has room for all that the block store may take") {
			t.Errorf("nothing is said of the room:\n%s", &log)
		}
	})
}

// A disk that others filled: the store makes do with what it has, and pinned blocks stay.
func TestDiskFullOfOtherThings(t *testing.T) {
	m := newMemoryFolder()
	options := Options{Dir: "memory", Capacity: 64 * mib}
	s, err := newStore(options, m, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pinned := storetest.Block(0, 256<<10)
	if err := s.PutHeld(ctx, "pin", pinned); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("pin"); err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		mustPut(t, s, storetest.Block(1+i, 256<<10))
	}
	m.fits = m.size() + 1000
	for i := range 200 {
		// Until it is known that there is no room, a block may be lost to the cache.
		if err := s.Put(ctx, storetest.Block(1000+i, 256<<10)); err != nil && i > 1 {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	storetest.Check(t, s, pinned)
	storetest.Check(t, s, storetest.Block(1199, 256<<10))
	if n := s.Stats(); n.DiskFull || n.Bytes < 32*mib || m.size() > m.fits {
		t.Errorf("%d bytes on %d: %+v", m.size(), m.fits, n)
	}
	mustClose(t, s)

	// It is no different at the start.
	if s, err = newStore(options, m, nil, nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := s.Stats(); n.Capacity >= 40*mib || n.Bytes > n.Capacity {
		t.Errorf("opened again: %+v", n)
	}
	storetest.Check(t, s, pinned)
}

// Others take what was left while blocks come in that are to stay: they are committed,
// and what is released again is won back.
func TestCommitWhenOthersTookTheRest(t *testing.T) {
	m := newMemoryFolder()
	s, err := newStore(Options{Dir: "memory", Capacity: 48 * mib}, m, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 180 {
		if err := s.PutHeld(ctx, "pin", storetest.Block(i, 256<<10)); err != nil {
			t.Fatal(err)
		}
	}
	m.fits = m.size() + 100_000
	s.fitted.Store(0)
	if s.Room() != 0 {
		t.Errorf("%d bytes could be pinned", s.Room())
	}
	if err := s.Commit("pin"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, storetest.Block(1000, 256<<10)); !errors.Is(err, ErrFull) {
		t.Errorf("a block that pinned ones leave no room for: %v", err)
	}
	if err := s.Release("pin"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, storetest.Block(1000, 256<<10))
}

// A folder of the operating system tells how much room there is.
func TestSpaceOfAFolder(t *testing.T) {
	free, total, err := folder(t.TempDir()).space()
	if err != nil {
		t.Skip(err)
	}
	if free <= 0 || total < free || total > 1<<60 {
		t.Errorf("%d bytes free of %d", free, total)
	}
}
