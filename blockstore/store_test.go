package blockstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	boxo "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		writeUntilKilled()
		return
	}
	goleak.VerifyTestMain(m)
}

var ctx = context.Background()

// openStore opens the store in dir and closes it with the test.
func openStore(t testing.TB, dir string, capacity int64) *Store {
	t.Helper()
	s, err := New(Options{Dir: dir, Capacity: capacity}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func mustPut(t testing.TB, s *Store, bs ...blocks.Block) {
	t.Helper()
	for _, b := range bs {
		if err := s.Put(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
}

func has(s *Store, c cid.Cid) bool {
	ok, _ := s.Has(ctx, c)
	return ok
}

// folderSize is what the files in dir take together.
func folderSize(t testing.TB, dir string) (total int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) boxo.Blockstore { return openStore(t, t.TempDir(), MinCapacity) })
}

func TestConformanceOfTheSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) boxo.Blockstore {
		return boxo.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	})
}

func TestPutVerifies(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	good := storetest.Block(1, 100)
	lie, _ := blocks.NewBlockWithCid([]byte("something else"), good.Cid())
	if err := s.Put(ctx, lie); !errors.Is(err, block.ErrMismatch) {
		t.Errorf("a lie: %v", err)
	}
	if err := s.PutHeld(ctx, "me", lie); !errors.Is(err, block.ErrMismatch) {
		t.Errorf("a lie, held: %v", err)
	}
	storetest.CheckMissing(t, s, good.Cid())
	if s.Pinned(good.Cid()) {
		t.Error("a refused block is pinned")
	}
	plain, _ := blocks.NewBlockWithCid(good.RawData(), good.Cid())
	mustPut(t, s, plain)
	storetest.Check(t, s, good)
	big := make([]byte, block.MaxSize+1)
	if err := s.Put(ctx, blocktest.MadeUp(good.Cid(), big)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("an oversized block: %v", err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	var want []blocks.Block
	for range 5 {
		s := openStore(t, dir, MinCapacity)
		for _, b := range want {
			storetest.Check(t, s, b)
		}
		for range 30 {
			b := storetest.Block(len(want), 1000)
			mustPut(t, s, b)
			want = append(want, b)
		}
		if got := s.Stats().Blocks; got != int64(len(want)) {
			t.Errorf("%d blocks counted, want %d", got, len(want))
		}
		before := s.Stats()
		mustClose(t, s)
		if size := folderSize(t, dir); size != before.Bytes {
			t.Errorf("%d bytes in the folder, %d counted", size, before.Bytes)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) > 3 {
		t.Errorf("five starts left %d segments", len(files))
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b := storetest.Block(1, 100)
	mustPut(t, s, b)
	mustClose(t, s)
	_, getErr := s.Get(ctx, b.Cid())
	_, hasErr := s.Has(ctx, b.Cid())
	for name, err := range map[string]error{
		"Get": getErr, "Has": hasErr, "Put": s.Put(ctx, b), "DeleteBlock": s.DeleteBlock(ctx, b.Cid()),
		"PutHeld": s.PutHeld(ctx, "me", b), "Hold": s.Hold("me", b.Cid()), "Commit": s.Commit("me"), "Release": s.Release("me"),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func TestCancelledRequest(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Get(cancelled, storetest.Block(1, 1).Cid()); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Put(cancelled, storetest.Block(1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
}

func TestDeletedStaysDeleted(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	kept, gone, back := storetest.Block(1, 1000), storetest.Block(2, 1000), storetest.Block(3, 1000)
	mustPut(t, s, kept, gone, back)
	for _, b := range []blocks.Block{gone, back} {
		if err := s.DeleteBlock(ctx, b.Cid()); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, s, back)
	for range 3 {
		mustClose(t, s)
		s = openStore(t, dir, MinCapacity)
		storetest.Check(t, s, kept)
		storetest.Check(t, s, back)
		storetest.CheckMissing(t, s, gone.Cid())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"no folder": {Capacity: MinCapacity},
		"too small": {Dir: "x", Capacity: MinCapacity - 1},
		"negative":  {Dir: "x", Capacity: -1},
	} {
		if _, err := New(o, nil, nil); err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

func TestSecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	if _, err := New(Options{Dir: dir, Capacity: MinCapacity}, nil, nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second opener: %v", err)
	}
	mustClose(t, s)
	openStore(t, dir, MinCapacity)
}

func TestForeignFoldersAreLetBe(t *testing.T) {
	header := segmentHeader{id: 1, class: main}.encode()
	header[8] = 9
	newer := append(header[:28:28], le32(checksum(header[:28]))...)
	for name, files := range map[string]map[string]string{
		"someone's file":        {"notes.txt": "hello"},
		"among our files":       {"00000001.seg": string(segmentHeader{id: 1}.encode()), "config.yaml": "x"},
		"a name like ours":      {"00000001.seg": "GIF89a......................................"},
		"upper case":            {"0000000A.seg": ""},
		"a newer version":       {"00000001.seg": string(newer)},
		"a log of someone else": {"references": "Smith 2019, Jones 2021"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := New(Options{Dir: dir, Capacity: MinCapacity}, nil, nil); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("got %v", err)
			}
			for file, content := range files {
				if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != content {
					t.Errorf("%s was changed: %v", file, err)
				}
			}
		})
	}
}

func TestMountPointIsAccepted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir, MinCapacity)
}

func TestFolderThatIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: path, Capacity: MinCapacity}, nil, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("got %v", err)
	}
}

func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.WriteFile(filepath.Join(dir, "probe"), nil, 0o644) == nil {
		os.Remove(filepath.Join(dir, "probe"))
		t.Skip("permissions do not bind this user; TestReadOnlyFileSystem covers the error")
	}
	if _, err := New(Options{Dir: dir, Capacity: MinCapacity}, nil, nil); !errors.Is(err, ErrReadOnly) || !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	options := Options{Dir: t.TempDir(), Capacity: MinCapacity}
	s, err := New(options, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, storetest.Block(1, 1000))
	if got := metricValue(t, registry, "shoal_store_bytes"); got != float64(s.Stats().Bytes) || got < 1000 {
		t.Errorf("shoal_store_bytes is %v", got)
	}
	if got := metricValue(t, registry, "shoal_store_capacity_bytes"); got != MinCapacity {
		t.Errorf("shoal_store_capacity_bytes is %v", got)
	}
	metricValue(t, registry, "shoal_store_evicted_bytes_total")
	if _, err := New(Options{Dir: t.TempDir(), Capacity: MinCapacity}, nil, registry); err == nil {
		t.Error("two stores in one registry")
	}
	mustClose(t, s)
	// A registry outlives the store, and takes the next one.
	if s, err = New(options, nil, registry); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}

func metricValue(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func le32(n uint32) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
