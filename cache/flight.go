package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// purpose is what somebody wants of a flight.
type purpose struct {
	fill bool // to find it as its home, and not to ask the homes
	keep bool // to keep it in memory
	near bool // to keep a copy on the disk if it is hot, for siblings
}

// flightKey finds a flight. A block that this edge asks its homes for may be filled
// here at the same time, for a sibling that takes this edge for the better one to ask:
// neither waits for the other.
type flightKey struct {
	key  string
	fill bool
}

// flight is one fetch and everyone who waits for it.
type flight struct {
	id cid.Cid // what is asked for
	flightKey
	shard  *shard
	cancel context.CancelFunc

	// Guarded by shard.mu:
	waiters int
	keep    bool
	near    bool
	nobody  chan struct{} // if not nil, closed when no waiter is left

	// done is closed when what follows has been written.
	done chan struct{}
	b    *block.Verified
	src  block.Source
	err  error
}

// PanicError is what everyone who waited for a block gets when the layer below
// panicked while fetching it. Its message has no stack, since it may reach a
// visitor.
type PanicError struct {
	Cid   cid.Cid
	Value any    // what was passed to panic
	Stack []byte // where, for the log
}

func (e *PanicError) Error() string { return fmt.Sprintf("fetch block %s: panic: %v", e.Cid, e.Value) }

// Unwrap returns the panic's value if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// join waits for the flight of a block, and starts it if there is none.
func (c *Cache) join(ctx context.Context, id cid.Cid, p purpose) (*block.Verified, block.Source, error) {
	if ctx.Err() != nil {
		return nil, 0, ended(ctx, id)
	}
	b, f, err := c.joinOrStart(ctx, id, p)
	switch {
	case err != nil:
		return nil, 0, err
	case b != nil:
		b, err := b.As(id)
		return b, block.Memory, err
	}
	return f.wait(ctx, id)
}

// joinOrStart joins the flight or starts one. It looks into the memory once more: between
// the caller's own look and now a flight may have ended.
func (c *Cache) joinOrStart(ctx context.Context, id cid.Cid, p purpose) (*block.Verified, *flight, error) {
	key := flightKey{block.Key(id), p.fill}
	sh := c.shardOf(key.key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.closed {
		return nil, nil, fmt.Errorf("fetch block %s: %w", id, ErrClosed)
	}
	if b, ok := sh.find(key.key); ok {
		return b, nil, nil
	}
	if f := sh.flights[key]; f != nil {
		f.waiters++
		f.keep, f.near = f.keep || p.keep, f.near || p.near
		if f.finished() && f.keep {
			sh.keep(f.b) // it may have made room for others already
		}
		c.joined.Add(1)
		return nil, f, nil
	}
	// The flight outlives the request that starts it, so it takes that request's
	// values along and neither its deadline nor its cancellation.
	fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{id: id, flightKey: key, shard: sh, cancel: cancel, waiters: 1, keep: p.keep, near: p.near, done: make(chan struct{})}
	sh.flights[key] = f
	c.flights.Add(1)
	go c.run(fctx, f)
	return nil, f, nil
}

// run fetches the block and ends the flight, whatever the layers below do. Those who
// wait get the block before it is written to the disk, and those who come meanwhile
// find it in the flight.
func (c *Cache) run(ctx context.Context, f *flight) {
	defer c.flights.Done()
	defer f.cancel()
	stop := context.AfterFunc(c.life, f.cancel)
	defer stop()
	ctx, end := c.quota.Begin(ctx)
	defer end()
	defer f.taken()
	defer f.remove()
	func() {
		defer f.finish()
		// Overwritten unless the next layer ends this goroutine (runtime.Goexit).
		f.err = fmt.Errorf("fetch block %s: the fetch ended without an answer", f.id)
		defer func() {
			if v := recover(); v != nil {
				f.b, f.err = nil, &PanicError{Cid: f.id, Value: v, Stack: debug.Stack()}
			}
		}()
		f.b, f.src, f.err = c.load(ctx, f)
		if f.err == nil {
			f.err = f.check()
		}
	}()
	if f.err == nil {
		c.store(context.WithoutCancel(ctx), f)
	}
}

// check refuses what would be served under a CID that it does not belong to. The
// bytes were hashed where they entered; this catches a mix-up between layers.
func (f *flight) check() error {
	if f.b == nil {
		return fmt.Errorf("fetch block %s: got neither a block nor an error", f.id)
	}
	if got := f.b.Cid(); block.Key(got) != f.key {
		f.b = nil
		return fmt.Errorf("fetch block %s: %w: got block %s", f.id, block.ErrMismatch, got)
	}
	return nil
}

// finish keeps the block in memory, unless it was purged or everyone left meanwhile, and
// wakes everyone who waits. A failed flight takes nobody on from now on.
func (f *flight) finish() {
	sh := f.shard
	sh.mu.Lock()
	if sh.flights[f.flightKey] == f {
		if f.err != nil {
			delete(sh.flights, f.flightKey)
		} else if f.keep {
			sh.keep(f.b)
		}
	}
	sh.mu.Unlock()
	close(f.done)
}

// finished reports whether the fetch has ended.
func (f *flight) finished() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// remove takes the flight off the table, now that the block is where it belongs.
func (f *flight) remove() {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.shard.flights[f.flightKey] == f {
		delete(f.shard.flights, f.flightKey)
	}
}

// gone reports whether the block was purged, or nobody wants it any more.
func (f *flight) gone() bool {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.shard.flights[f.flightKey] != f
}

func (f *flight) isNear() bool {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	return f.near
}

// wait returns what the flight brings, under the CID that this waiter asked for.
func (f *flight) wait(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
	defer f.leave()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, 0, ended(ctx, id)
	}
	switch {
	case f.err == nil:
		b, err := f.b.As(id)
		return b, f.src, err
	case id == f.id:
		return nil, f.src, f.err
	default:
		return nil, f.src, fmt.Errorf("fetch block %s, the same content as %s: %w", id, f.id, f.err)
	}
}

// taken returns when everyone who waited has the block. Until then it takes memory that
// nobody else counts: many may wait for a processor.
func (f *flight) taken() {
	f.shard.mu.Lock()
	var nobody chan struct{}
	if f.waiters > 0 {
		nobody = make(chan struct{})
		f.nobody = nobody
	}
	f.shard.mu.Unlock()
	if nobody != nil {
		<-nobody
	}
}

// leave takes one waiter off. The last one cancels the fetch, if it goes on, and takes it
// off the table, so that whoever comes next does not join a fetch that is being cancelled.
func (f *flight) leave() {
	sh := f.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	f.waiters--
	if f.waiters == 0 && f.nobody != nil {
		close(f.nobody)
	}
	if f.waiters > 0 || f.finished() {
		return // somebody wants it, or it is only being written
	}
	if sh.flights[f.flightKey] == f {
		delete(sh.flights, f.flightKey)
	}
	f.cancel()
}

// ended says that ctx ended while somebody waited for a block. It wraps the cause,
// and ctx.Err() too when a cause of its own was given.
func ended(ctx context.Context, id cid.Cid) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("wait for block %s: %w", id, cause)
	}
	return fmt.Errorf("wait for block %s: %w (%w)", id, cause, err)
}
