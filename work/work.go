// Package work has the small parts that goroutines in the background are made of: a
// [Group] that starts nothing after it was closed, a [Signal] that something is to be
// done, and a [Pause] that ends with a context.
package work

import (
	"context"
	"sync"
	"time"
)

// A Group is goroutines that [Group.Close] waits for, and after which none is started:
// a WaitGroup alone may not grow from zero while somebody waits. The zero Group is ready.
// It is safe for concurrent use, and must not be copied.
type Group struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// Go runs f in a goroutine of its own, and reports whether it does: not after Close.
func (g *Group) Go(f func()) bool {
	if !g.Enter() {
		return false
	}
	go func() {
		defer g.running.Done()
		f()
	}()
	return true
}

// Enter counts the caller in until it calls Leave, and reports whether it may go on:
// not after Close.
func (g *Group) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.running.Add(1)
	}
	return !g.closed
}

// Leave ends what Enter began.
func (g *Group) Leave() { g.running.Done() }

// Close lets nothing begin any more, calls stop, which is to end what runs, and returns
// when all of it has ended. Later calls wait, too, but do not call stop; they return
// false.
func (g *Group) Close(stop func()) (first bool) {
	g.mu.Lock()
	first, g.closed = !g.closed, true
	g.mu.Unlock()
	if first {
		stop()
	}
	g.running.Wait()
	return first
}

// A Signal says that there is something to do. It is remembered until it is received,
// once, however often it was given.
type Signal chan struct{}

// NewSignal returns a signal that was not given yet.
func NewSignal() Signal { return make(Signal, 1) }

// Give gives the signal. It never waits.
func (s Signal) Give() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Pause waits for d, and no longer than ctx, whose cause it then returns.
func Pause(ctx context.Context, d time.Duration) error { return Wait(ctx, d, nil) }

// Wait waits for d or for done, whichever comes first, and no longer than ctx, whose
// cause it then returns.
func Wait(ctx context.Context, d time.Duration, done <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
