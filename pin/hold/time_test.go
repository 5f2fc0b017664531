package hold

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
)

// A CID that nobody has stays pinning, is asked for with growing pauses, and fails after
// the configured time; a later Hold tries again.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		dag := tree(1, 5, 1, 100)
		w.fleet.add(dag...)
		absent := dag[3].Cid()
		w.fleet.lose(absent, true)
		w.start()
		defer w.stop()
		root := dag[0].Cid()
		w.Hold(root, nil)
		state := func() State {
			synctest.Wait()
			s, _ := w.State(root)
			return s
		}
		if s := state(); s.Status != record.Pinning || s.Tries != 1 || s.Missing != absent || s.Next.IsZero() || s.Blocks != 5 {
			t.Errorf("at first: %+v", s)
		}
		time.Sleep(23 * time.Hour)
		early := state()
		if early.Status != record.Pinning || early.Tries < 40 || early.Tries > 120 {
			t.Errorf("after 23 h: %+v", early)
		}
		w.checkHeld(dag[0])
		time.Sleep(time.Hour + time.Minute)
		s := state()
		if s.Status != record.Failed || !strings.Contains(s.Reason, absent.String()) || !strings.Contains(s.Reason, "24h") || s.Missing != absent {
			t.Errorf("after 24 h: %+v", s)
		}
		w.checkNothingHeld()
		asked, _ := w.fleet.times()
		time.Sleep(72 * time.Hour)
		if later, _ := w.fleet.times(); later != asked {
			t.Errorf("asked for %d times after it failed", later-asked)
		}
		w.Hold(root, nil)
		time.Sleep(time.Minute)
		if s := state(); s.Status != record.Pinning || s.Tries == 0 || s.Tries > 10 {
			t.Errorf("held again: %+v", s)
		}
		w.fleet.lose(absent, false)
		time.Sleep(time.Hour)
		if s := state(); s.Status != record.Pinned || s.Reason != "" || s.Missing.Defined() {
			t.Errorf("there again: %+v", s)
		}
		w.checkHeld(dag...)
	})
}

// The clock of giving up goes on over a restart.
func TestGiveUpOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		dag := tree(1, 5, 1, 100)
		w.start()
		w.Hold(dag[0].Cid(), nil)
		for range 5 {
			time.Sleep(5 * time.Hour)
			w.restart(capacity)
		}
		synctest.Wait()
		if s, _ := w.State(dag[0].Cid()); s.Status != record.Failed {
			t.Errorf("%+v", s)
		}
		w.stop()
		w.checkNothingHeld()
	})
}

// An origin that is out of order is no reason to fail, however long it takes, and no
// address of it is told.
func TestUnavailableIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		dag := tree(1, 5, 1, 100)
		w.fleet.add(dag...)
		w.fleet.fail(errBroken)
		w.start()
		defer w.stop()
		w.Hold(dag[0].Cid(), nil)
		time.Sleep(20 * 24 * time.Hour)
		synctest.Wait()
		s, _ := w.State(dag[0].Cid())
		if s.Status != record.Pinning || strings.Contains(s.Reason, "10.1.2.3") || !strings.Contains(s.Reason, dag[0].Cid().String()) {
			t.Errorf("%+v", s)
		}
		w.fleet.fail(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if s, _ := w.State(dag[0].Cid()); s.Status != record.Pinned {
			t.Errorf("%+v", s)
		}
	})
}

// When everything is gone, a walk does not ask for each of a million blocks.
func TestWalkStopsWhenTheSourceIsGone(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 1600, 1, 20)
	w.fleet.add(dag[0]) // without the leaves
	w.start()
	defer w.stop()
	w.Hold(dag[0].Cid(), nil)
	w.await(dag[0].Cid(), "tried", func(s State) bool { return s.Tries > 0 })
	if n, _ := w.fleet.times(); n > 1+missesInARow+parallel {
		t.Errorf("%d blocks asked for", n)
	}
}

// Every root is read once in a while, without being told, and not too fast.
func TestBackgroundChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		w.opts.VerifyRate = 100 << 10
		dag := tree(1, 30, 1, 100<<10)
		w.fleet.add(dag...)
		w.start()
		defer w.stop()
		root := dag[0].Cid()
		w.Hold(root, nil)
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		if s, _ := w.State(root); s.Status != record.Pinned || !s.Verified.IsZero() {
			t.Errorf("after 6 days: %+v", s)
		}
		if err := w.store.Discard(t.Context(), dag[7].Cid()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24*time.Hour + 20*time.Second)
		synctest.Wait()
		if s, _ := w.State(root); !s.Verified.IsZero() {
			t.Errorf("30 blocks of 100 KiB were read in 20 s, at 100 KiB/s: %+v", s)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s, _ := w.State(root)
		if s.Status != record.Pinned || s.Verified.IsZero() {
			t.Errorf("after 7 days: %+v", s)
		}
		w.checkHeld(dag...)
		first := s.Verified
		// A check on demand does not wait for one in the background.
		time.Sleep(7*24*time.Hour - 10*time.Minute + 5*time.Second)
		got, err := w.Verify(t.Context(), root, nil)
		if err != nil || got.Blocks != 31 {
			t.Errorf("%+v, %v", got, err)
		}
		if s, _ := w.State(root); !s.Verified.After(first) {
			t.Errorf("%+v", s)
		}
	})
}

// A check in the background ends at once when its root is let go, or the edge stops.
func TestBackgroundCheckEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		w.opts.VerifyRate, w.opts.VerifyEvery = 1<<10, time.Hour
		one, two := tree(1, 30, 1, 100<<10), tree(2, 30, 1, 100<<10)
		w.fleet.add(append(one, two...)...)
		w.start()
		w.Hold(one[0].Cid(), nil)
		time.Sleep(time.Hour + time.Minute)
		begun := time.Now()
		w.Let(one[0].Cid())
		synctest.Wait()
		w.checkNothingHeld()
		w.Hold(two[0].Cid(), nil)
		time.Sleep(time.Hour + 2*time.Minute)
		w.stop()
		if d := time.Since(begun); d > 2*time.Hour {
			t.Errorf("it took %s", d)
		}
	})
}

// What did not fit is tried again when there is room.
func TestTriedAgainWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16<<20)
		first, second := tree(1, 90, 1, 100<<10), tree(2, 80, 1, 100<<10)
		w.fleet.add(append(first, second...)...)
		w.start()
		defer w.stop()
		w.Hold(first[0].Cid(), nil)
		synctest.Wait()
		w.Hold(second[0].Cid(), nil)
		synctest.Wait()
		s, _ := w.State(second[0].Cid())
		if s.Status != record.Failed || s.Needed < 80*100<<10 || s.Free <= 0 || s.Free >= s.Needed || s.Next.IsZero() {
			t.Errorf("%+v", s)
		}
		w.checkHeld(first...)
		asked, _ := w.fleet.times()
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if now, _ := w.fleet.times(); now != asked {
			t.Errorf("%d blocks fetched while there was no room", now-asked)
		}
		w.Let(first[0].Cid())
		time.Sleep(time.Minute)
		synctest.Wait()
		if s, _ := w.State(second[0].Cid()); s.Status != record.Pinned {
			t.Errorf("%+v", s)
		}
		w.checkHeld(second...)
	})
}
