package bitswap

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/semaphore"
)

// Errors that an ask can end with.
var (
	// ErrGone says that the peer is not connected, or that nothing can be sent to
	// it. Nothing is known of the block.
	ErrGone = errors.New("peer is gone")
	// ErrLied says that the peer sent bytes that nobody asked for, which is what
	// a wrong answer looks like.
	ErrLied = errors.New("peer sent wrong bytes")
)

// remote is everything that is kept for one peer while it is connected.
type remote struct {
	x      *Exchange
	id     peer.ID
	ctx    context.Context // ends when the peer is gone
	cancel context.CancelFunc

	heard    atomic.Int64        // when the last message was read; see Exchange.stamp
	received atomic.Int64        // when bytes of a block were read last
	reading  *semaphore.Weighted // streams
	inflight *semaphore.Weighted // bytes
	wake     chan struct{}       // wants are waiting to be written
	wakeBack chan struct{}       // answers are waiting to be written

	writers sync.Once

	mu    sync.Mutex
	ended error

	// What was asked of the peer, by multihash.
	asks map[string]*ask
	out  []Entry // to be written, in order
	// recent holds hashes of the multihashes that were asked lately, to tell an
	// answer that comes twice or too late from a wrong one.
	recent     [1024]uint64
	recentNext int

	// What the peer asked and cannot be told yet, by multihash.
	wants map[string]*want
	// What it is going to be told, in order.
	answers []*answer
	queued  map[string]*answer
}

func newRemote(x *Exchange, id peer.ID) *remote {
	r := &remote{
		x: x, id: id,
		reading:  semaphore.NewWeighted(int64(x.opts.MaxStreams)),
		inflight: semaphore.NewWeighted(x.opts.MaxInflight),
		wake:     make(chan struct{}, 1),
		wakeBack: make(chan struct{}, 1),
		asks:     map[string]*ask{},
		wants:    map[string]*want{},
		queued:   map[string]*answer{},
	}
	r.ctx, r.cancel = context.WithCancel(x.ctx)
	return r
}

// startWriting starts the two goroutines that write, once.
func (r *remote) startWriting() {
	r.writers.Do(func() {
		if !r.x.run(r.writeWants) || !r.x.run(r.writeAnswers) {
			r.x.drop(r)
		}
	})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// end fails every ask and forgets every want. Later asks fail at once.
func (r *remote) end(why error) {
	r.mu.Lock()
	if r.ended == nil {
		r.ended = why
	}
	failed := r.takeAsks()
	wants := r.wants
	r.wants, r.answers, r.queued, r.out = map[string]*want{}, nil, map[string]*answer{}, nil
	r.mu.Unlock()
	r.cancel()
	r.x.forget(r, wants)
	for _, a := range failed {
		a.deliver(Reply{Err: why})
	}
}

// takeAsks empties the table of asks. r.mu is held.
func (r *remote) takeAsks() []*Ask {
	var all []*Ask
	for mh, a := range r.asks {
		all = append(all, a.subs...)
		r.remember(mh)
		delete(r.asks, mh)
	}
	return all
}

// remember notes that mh was asked for and is not any more. r.mu is held.
func (r *remote) remember(mh string) {
	r.recent[r.recentNext] = maphash.String(r.x.seed, mh)
	r.recentNext = (r.recentNext + 1) % len(r.recent)
}

// askedLately reports whether mh is among what was asked last. r.mu is held.
func (r *remote) askedLately(mh string) bool {
	h := maphash.String(r.x.seed, mh)
	for _, x := range r.recent {
		if x == h {
			return true
		}
	}
	return false
}
