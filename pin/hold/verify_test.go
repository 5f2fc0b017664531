package hold

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
	"github.com/shoal-cdn/shoal/pin/record"
)

// damage changes a byte of a block in the files of the store.
func (w *world) damage(b *block.Verified) {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.dir, "*.seg"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		at := bytes.Index(data, b.RawData())
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{^data[at]}, int64(at))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.t.Fatalf("block %s is in no segment", b.Cid())
}

func TestVerifyRepairs(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 8, 2, 1000)
	w.fleet.add(dag...)
	w.start()
	root := dag[0].Cid()
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	told := 0
	got, err := w.Verify(t.Context(), root, func(p record.Progress) { told++ })
	if err != nil || got.Blocks != 73 || got.Repaired != 0 || got.Missing != 0 || got.Bytes < 64_000 || told == 0 {
		t.Errorf("%+v, %v; told %d times", got, err, told)
	}
	if s, _ := w.State(root); s.Verified.IsZero() {
		t.Errorf("%+v", s)
	}
	w.damage(dag[30]) // a checksum that does not fit
	w.damage(dag[0])
	if err := w.store.Discard(t.Context(), dag[3].Cid()); err != nil { // gone
		t.Fatal(err)
	}
	w.checkWrongBytes(dag[40]) // a checksum that fits wrong bytes
	if got, err = w.Verify(t.Context(), root, nil); err != nil || got.Blocks != 73 || got.Repaired != 4 || got.Missing != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	w.checkHeld(dag...)
	w.restart(capacity)
	w.checkHeld(dag...)
	w.Let(root)
	w.stop()
	w.checkNothingHeld()
}

// checkWrongBytes has the store hold other bytes under a block's CID, with a checksum
// that fits them.
func (w *world) checkWrongBytes(b *block.Verified) {
	w.t.Helper()
	if err := w.store.Discard(context.Background(), b.Cid()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Put(context.Background(), blocktest.MadeUp(b.Cid(), []byte("wrong"))); err != nil {
		w.t.Fatal(err)
	}
}

// A pinned block that is lost, and that nobody has: the root is not pinned any more,
// but it stays protected and is never given up.
func TestVerifyFindsALoss(t *testing.T) {
	w := newWorld(t, capacity)
	w.opts.RetryFirst, w.opts.RetryMost, w.opts.GiveUp = time.Millisecond, 10*time.Millisecond, 0
	dag := tree(1, 8, 2, 1000)
	w.fleet.add(dag...)
	w.start()
	defer w.stop()
	root := dag[0].Cid()
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	lost := dag[20]
	w.fleet.lose(lost.Cid(), true)
	if err := w.store.Discard(t.Context(), lost.Cid()); err != nil {
		t.Fatal(err)
	}
	got, err := w.Verify(t.Context(), root, nil)
	if err != nil || got.Missing != 1 || got.Blocks != 72 {
		t.Errorf("%+v, %v", got, err)
	}
	w.await(root, "tried", func(s State) bool { return s.Tries > 3 })
	if s, _ := w.State(root); s.Status != record.Pinning || s.Missing != lost.Cid() {
		t.Errorf("%+v", s)
	}
	if _, err := w.Verify(t.Context(), root, nil); !errors.Is(err, ErrNotPinned) {
		t.Errorf("got %v", err)
	}
	w.checkHeld(dag[:20]...)
	w.fleet.lose(lost.Cid(), false)
	w.awaitStatus(root, record.Pinned)
	w.checkHeld(dag...)
}

// A store that lost a pinned block while it was closed: noticed at the start.
func TestLossIsNoticedAtStart(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 8, 1, 1000)
	w.fleet.add(dag...)
	w.start()
	root := dag[0].Cid()
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	w.stop()
	if err := w.store.Discard(t.Context(), dag[5].Cid()); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(capacity)
	w.start()
	defer w.stop()
	w.await(root, "whole", func(s State) bool {
		has, _ := w.store.Has(t.Context(), dag[5].Cid())
		return has && s.Status == record.Pinned
	})
	w.checkHeld(dag...)
}

// A block that the store drops while the edge runs is fetched again at once.
func TestLossIsNoticedWhenItHappens(t *testing.T) {
	w := newWorld(t, capacity)
	w.opts.RetryFirst, w.opts.RetryMost, w.opts.GiveUp = time.Millisecond, 10*time.Millisecond, 0
	dag := tree(1, 8, 1, 1000)
	w.fleet.add(dag...)
	w.start()
	defer w.stop()
	w.store.Watch(blockstore.Watcher{Stored: func(*block.Verified) {}, Lost: w.Lost})
	root, lost := dag[0].Cid(), dag[5].Cid()
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	w.fleet.lose(lost, true)
	if err := w.store.Discard(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	w.awaitStatus(root, record.Pinning)
	w.fleet.lose(lost, false)
	w.await(root, "whole", func(s State) bool {
		has, _ := w.store.Has(t.Context(), lost)
		return has && s.Status == record.Pinned
	})
	w.checkHeld(dag...)
}

func TestVerifyNeedsAPin(t *testing.T) {
	w := newWorld(t, capacity)
	w.start()
	root := storetest.Block(1, 10).Cid()
	if _, err := w.Verify(t.Context(), root, nil); !errors.Is(err, ErrNotHeld) {
		t.Errorf("got %v", err)
	}
	w.Hold(root, nil)
	if _, err := w.Verify(t.Context(), root, nil); !errors.Is(err, ErrNotPinned) {
		t.Errorf("got %v", err)
	}
	w.stop()
	if _, err := w.Verify(t.Context(), root, nil); err == nil {
		t.Error("verified after Close")
	}
	w.Hold(cid.NewCidV1(cid.Raw, storetest.Block(2, 10).Cid().Hash()), nil) // no panic
}

// Let goes ahead of a check that is under way, and whoever asked for it is told.
func TestLetEndsACheck(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 8, 1, 1000)
	w.fleet.add(dag...)
	w.start()
	root := dag[0].Cid()
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	reading := make(chan struct{})
	w.fleet.wait = func(ctx context.Context, _ cid.Cid) error {
		close(reading)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := w.store.Discard(t.Context(), dag[2].Cid()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := w.Verify(context.Background(), root, nil)
		done <- err
	}()
	<-reading
	w.Let(root)
	if err := <-done; !errors.Is(err, ErrNotHeld) {
		t.Errorf("got %v", err)
	}
	w.stop()
	w.checkNothingHeld()
}
