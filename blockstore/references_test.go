package blockstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// fill puts n blocks that nobody has asked for yet, far from the small numbers
// that the tests give to theirs.
func fill(t testing.TB, s *Store, from, n, size int) {
	t.Helper()
	for i := range n {
		mustPut(t, s, storetest.Block(1_000_000+from+i, size))
	}
}

func TestHeldBlocksStay(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	var held []*block.Verified
	for i := range 50 {
		b := storetest.Block(i, 50_000)
		held = append(held, b)
		if i%2 == 0 {
			mustPut(t, s, b)
			if err := s.Hold("pin", b.Cid()); err != nil {
				t.Fatal(err)
			}
		} else if err := s.PutHeld(ctx, "pin", b); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, 0, 400, 100_000)
	if err := s.Commit("pin"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	fill(t, s, 400, 400, 100_000)
	for i, b := range held {
		if i%5 == 0 {
			storetest.Check(t, s, b)
		}
		if !has(s, b.Cid()) || !s.Pinned(b.Cid()) {
			t.Errorf("%s is not pinned", b.Cid())
		}
	}
	n := s.Stats()
	if n.PinnedBlocks != 50 || n.PinnedBytes < 50*50_000 || n.Owners != 1 || n.EvictedBlocks == 0 {
		t.Errorf("stats: %+v", n)
	}
	if err := s.Release("pin"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 800, 400, 100_000)
	if n := s.Stats(); n.PinnedBlocks != 0 || n.PinnedBytes != 0 || n.Owners != 0 {
		t.Errorf("after the release: %+v", n)
	}
	left := 0
	for i, b := range held {
		if i%5 != 0 && has(s, b.Cid()) {
			left++
		}
	}
	// They were never read, so the space is wanted for others.
	if left > 20 {
		t.Errorf("%d of 40 released blocks are still there after 40 MB of others", left)
	}
}

func TestSharedBlockStaysUntilBothRelease(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	b := storetest.Block(1, 1000)
	for _, owner := range []string{"a", "b"} {
		if err := s.PutHeld(ctx, owner, b); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(owner); err != nil {
			t.Fatal(err)
		}
	}
	for i, owner := range []string{"a", "b"} {
		if err := s.DeleteBlock(ctx, b.Cid()); !errors.Is(err, ErrPinned) || !strings.Contains(err.Error(), b.Cid().String()) {
			t.Errorf("delete of a pinned block: %v", err)
		}
		if err := s.Release(owner); err != nil {
			t.Fatal(err)
		}
		if got := s.Pinned(b.Cid()); got != (i == 0) {
			t.Errorf("after release of %s: pinned is %v", owner, got)
		}
		mustClose(t, s)
		s = openStore(t, dir, MinCapacity)
		if got := s.Pinned(b.Cid()); got != (i == 0) {
			t.Errorf("after release of %s and a restart: pinned is %v", owner, got)
		}
	}
	if err := s.DeleteBlock(ctx, b.Cid()); err != nil {
		t.Error(err)
	}
}

func TestSameBlockHeldTwiceByOneOwner(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b := storetest.Block(1, 1000)
	for range 3 {
		if err := s.PutHeld(ctx, "import", b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Hold("import", b.Cid(), b.Cid()); err != nil {
		t.Fatal(err)
	}
	if err := s.Release("import"); err != nil || s.Pinned(b.Cid()) {
		t.Errorf("released: %v, pinned %v", err, s.Pinned(b.Cid()))
	}
}

func TestUncommittedReferencesEndWithTheProcess(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	first, second := storetest.Block(1, 1000), storetest.Block(2, 1000)
	if err := s.PutHeld(ctx, "import", first); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("import"); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []string{"import", "other"} {
		if err := s.PutHeld(ctx, owner, second); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Owners(); !slices.Equal(got, []string{"import"}) {
		t.Errorf("owners before: %v", got)
	}
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	if got := s.Owners(); !slices.Equal(got, []string{"import"}) {
		t.Errorf("owners after: %v", got)
	}
	if !s.Pinned(first.Cid()) || s.Pinned(second.Cid()) {
		t.Errorf("pinned: committed %v, uncommitted %v", s.Pinned(first.Cid()), s.Pinned(second.Cid()))
	}
	storetest.Check(t, s, second)
}

func TestHoldIsAllOrNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b, missing := storetest.Block(1, 1000), storetest.Block(2, 1000)
	mustPut(t, s, b)
	err := s.Hold("pin", b.Cid(), missing.Cid())
	var notFound ipld.ErrNotFound
	if !errors.As(err, &notFound) || notFound.Cid != missing.Cid() {
		t.Errorf("got %v", err)
	}
	if s.Pinned(b.Cid()) || s.Pinned(missing.Cid()) {
		t.Error("a failed Hold holds")
	}
	if err := s.Hold("pin", cid.Undef); !ipld.IsNotFound(err) {
		t.Errorf("no CID: %v", err)
	}
	for _, owner := range []string{"", strings.Repeat("x", maxOwner+1)} {
		if err := s.Hold(owner, b.Cid()); err == nil {
			t.Errorf("owner of %d bytes accepted", len(owner))
		}
	}
}

func TestReleaseOfNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	if err := s.Release("nobody"); err != nil {
		t.Error(err)
	}
	if err := s.Commit("empty"); err != nil {
		t.Error(err)
	}
	if err := s.Commit("empty"); err != nil {
		t.Error(err)
	}
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	if got := s.Owners(); !slices.Equal(got, []string{"empty"}) {
		t.Errorf("owners: %v", got)
	}
}

func TestStoreFullOfPins(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	var held []*block.Verified
	var full *FullError
	for i := range 200 {
		b := storetest.Block(i, 200_000)
		err := s.PutHeld(ctx, fmt.Sprint("pin", i%3), b)
		if errors.As(err, &full) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, b)
	}
	if full == nil || full.Needed < 200_000 || full.Free >= full.Needed || full.Capacity != MinCapacity || full.Pinned == 0 {
		t.Fatalf("got %+v", full)
	}
	if used := float64(len(held)*200_000) / MinCapacity; used < 0.85 {
		t.Errorf("full at %.0f%% of the capacity", 100*used)
	}
	if err := s.Put(ctx, storetest.Block(1000, 500_000)); !errors.Is(err, ErrFull) {
		t.Errorf("Put: %v", err)
	}
	for i := range 3 {
		if err := s.Commit(fmt.Sprint("pin", i)); err != nil {
			t.Error(err)
		}
	}
	if size := folderSize(t, dir); size > MinCapacity {
		t.Errorf("%d bytes in the folder", size)
	}
	// The blocks of one owner lie among those of the others.
	if err := s.Release("pin1"); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 100, 200_000)
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	for i, b := range held {
		if i%3 != 1 {
			storetest.Check(t, s, b)
		}
	}
	if size := folderSize(t, dir); size > MinCapacity {
		t.Errorf("%d bytes in the folder", size)
	}
}

func TestManyOwnersComeAndGo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	kept := storetest.Block(1, 100)
	if err := s.PutHeld(ctx, "kept", kept); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit("kept"); err != nil {
		t.Fatal(err)
	}
	b := storetest.Block(2, 100)
	largest := int64(0)
	for i := range 1500 {
		owner := fmt.Sprintf("owner-%d", i)
		if err := errors.Join(s.PutHeld(ctx, owner, b), s.Commit(owner), s.Release(owner)); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, s.reflog.size)
	}
	if largest > referenceLogMargin {
		t.Errorf("the log of one reference grew to %d bytes", largest)
	}
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	if got := s.Owners(); !slices.Equal(got, []string{"kept"}) || !s.Pinned(kept.Cid()) || s.Pinned(b.Cid()) {
		t.Errorf("owners %v", got)
	}
}

func TestReferencesAreListed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	want := map[string]int{}
	for i := range 30 {
		b := storetest.Block(i, 100)
		if err := s.PutHeld(ctx, "pin", b); err != nil {
			t.Fatal(err)
		}
		want[string(b.Cid().Hash())]++
		if i == 10 || i == 20 { // two parts in the log, and one that is pending
			if err := s.Commit("pin"); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(s *Store) {
		t.Helper()
		got := map[string]int{}
		err := s.References("pin", func(h multihash.Multihash) error {
			s.Pinned(cid.NewCidV1(cid.Raw, h)) // may use the store
			got[string(h)]++
			return nil
		})
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%d references, %v; want %d", len(got), err, len(want))
		}
	}
	check(s)
	if err := s.Commit("pin"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = openStore(t, dir, MinCapacity)
	check(s)
	stop := errors.New("stop")
	if err := s.References("pin", func(multihash.Multihash) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what f returned", err)
	}
	if err := s.References("nobody", func(multihash.Multihash) error { return stop }); err != nil {
		t.Errorf("of an owner that holds nothing: %v", err)
	}
}

func TestDiscardedBlockStaysHeld(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b := storetest.Block(1, 1000)
	room := s.Room()
	if err := s.PutHeld(ctx, "pin", b); err != nil {
		t.Fatal(err)
	}
	if n := room - s.Room(); n < 1000 || n > 1200 {
		t.Errorf("a pinned block of 1000 bytes takes %d of the room", n)
	}
	for range 2 {
		if err := s.Discard(ctx, b.Cid()); err != nil {
			t.Fatal(err)
		}
		storetest.CheckMissing(t, s, b.Cid())
	}
	mustPut(t, s, b)
	if !s.Pinned(b.Cid()) || s.Stats().MissingPinned != 0 {
		t.Errorf("not pinned after it came back: %+v", s.Stats())
	}
	if err := s.Release("pin"); err != nil {
		t.Fatal(err)
	}
	if s.Room() != room {
		t.Errorf("room %d after the release, %d before", s.Room(), room)
	}
}
