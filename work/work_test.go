package work

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestCloseStopsAndWaitsAndNothingBeginsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		ctx, cancel := context.WithCancel(t.Context())
		var ended atomic.Int32
		for range 3 {
			if !g.Go(func() { <-ctx.Done(); time.Sleep(time.Second); ended.Add(1) }) {
				t.Fatal("not started")
			}
		}
		if !g.Enter() {
			t.Fatal("not let in")
		}
		go func() { <-ctx.Done(); g.Leave() }()
		if first := g.Close(cancel); !first || ended.Load() != 3 {
			t.Errorf("first %t, %d of 3 had ended", first, ended.Load())
		}
		if g.Enter() || g.Go(func() { t.Error("ran after Close") }) {
			t.Error("begun after Close")
		}
		if g.Close(func() { t.Error("stopped twice") }) {
			t.Error("the second Close takes itself for the first")
		}
	})
}

func TestSignalIsRememberedOnce(t *testing.T) {
	s := NewSignal()
	s.Give()
	s.Give()
	<-s
	select {
	case <-s:
		t.Error("remembered twice")
	default:
	}
}

func TestPauseAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := Pause(t.Context(), time.Minute); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		begun = time.Now()
		if err := Pause(ctx, time.Minute); !errors.Is(err, why) || time.Since(begun) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		done := make(chan struct{})
		close(done)
		begun = time.Now()
		if err := Wait(t.Context(), time.Minute, done); err != nil || time.Since(begun) != 0 {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}
