package blockstore

import (
	"fmt"
	"testing"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// read gets a block that is expected to be there.
func read(t testing.TB, s *Store, b *block.Verified) {
	t.Helper()
	if _, err := s.Get(ctx, b.Cid()); err != nil {
		t.Fatal(err)
	}
}

func TestFilesNeverExceedTheCapacity(t *testing.T) {
	for _, capacity := range []int64{MinCapacity, MinCapacity + 12345} {
		for _, size := range []int{200, 70_000, 600_000, block.MaxSize} {
			t.Run(fmt.Sprintf("%d/%d", capacity, size), func(t *testing.T) {
				dir := t.TempDir()
				s := openStore(t, dir, capacity)
				total := min(2*capacity, int64(size)*3_000)
				for i := range int(total) / size {
					b := storetest.Block(i, size)
					mustPut(t, s, b)
					if i%3 == 0 {
						read(t, s, b)
					}
					if i%50 == 0 || size > 100_000 {
						if got := folderSize(t, dir); got > capacity || got > s.Stats().Bytes {
							t.Fatalf("after block %d: %d bytes in the folder, %d counted, capacity %d", i, got, s.Stats().Bytes, capacity)
						}
					}
				}
				if n := s.Stats(); total == 2*capacity && (n.EvictedBlocks == 0 || n.Bytes < capacity*3/4) {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

func TestScanDoesNotEvictWhatIsUsed(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	var used []*block.Verified
	for i := range 50 {
		b := storetest.Block(i, 100_000)
		used = append(used, b)
		mustPut(t, s, b)
	}
	for _, b := range used {
		read(t, s, b)
	}
	// A crawler: six times the store, each block asked for once.
	for i := range 10 {
		fill(t, s, i*100, 100, 100_000)
		for _, b := range used[:25] {
			if has(s, b.Cid()) {
				read(t, s, b)
			}
		}
	}
	kept := 0
	for _, b := range used[:25] {
		if has(s, b.Cid()) {
			kept++
		}
	}
	if kept < 23 {
		t.Errorf("%d of 25 blocks in use survived the scan", kept)
	}
}

func TestEvictedTooEarlyGoesToMain(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	const early = 20
	for i := range early {
		mustPut(t, s, storetest.Block(i, 20_000))
	}
	fill(t, s, 0, 200, 100_000)
	back := 0
	for i := range early {
		b := storetest.Block(i, 20_000)
		if has(s, b.Cid()) {
			t.Fatal("a block that nobody read survived a scan")
		}
		mustPut(t, s, b)
		e, _ := s.index.get(s.keys.key(b.Cid().Hash()))
		if s.segments[e.segment].class == main {
			back++
		}
	}
	// Some of them were overwritten in the memory of what was evicted.
	if back < early/2 {
		t.Errorf("%d of %d came back to main", back, early)
	}
}

func TestCopyingStaysWithinItsBudget(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	for i := range 1200 {
		b := storetest.Block(i, 50_000)
		mustPut(t, s, b)
		read(t, s, b) // everything is used: the worst case for copying
		read(t, s, b)
	}
	n := s.Stats()
	if got := float64(n.WrittenBytes) / float64(n.StoredBytes); got > 1.2 {
		t.Errorf("%.3f bytes written per byte stored", got)
	}
}

func TestCapacityChangesBetweenRuns(t *testing.T) {
	dir := t.TempDir()
	pinned := storetest.Block(1, 100_000)
	s := openStore(t, dir, 256<<20)
	if err := s.PutHeld(ctx, "pin", pinned); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("pin"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 500, 100_000)
	for i, capacity := range []int64{MinCapacity, 64 << 20, MinCapacity, 1 << 30} {
		mustClose(t, s)
		s = openStore(t, dir, capacity)
		if got := folderSize(t, dir); got > capacity {
			t.Errorf("opened with %d: %d bytes in the folder", capacity, got)
		}
		fill(t, s, 1000*i, 200, 100_000)
		if got := folderSize(t, dir); got > capacity {
			t.Errorf("used with %d: %d bytes in the folder", capacity, got)
		}
		storetest.Check(t, s, pinned)
	}
}
