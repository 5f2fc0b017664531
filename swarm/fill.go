package swarm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
)

// fill is one search for a block that is at home here, and the siblings that wait for
// what comes of it. The visitors of this edge wait for the same fetch, in [Local].
type fill struct {
	cid cid.Cid
	fillKey

	// Guarded by Swarm.mu.
	remote    map[peer.ID]bitswap.Kind // siblings that wait, and what they want
	cancel    context.CancelFunc       // ends the wait on their behalf; nil when nobody waits
	atOrigin  bool                     // the origin was asked: no sibling is waited for any more
	searching bool                     // all siblings are asked, too: see letGo
	rivals    []peer.ID                // better homes that are looking for the block, too
	outdated  bool                     // a sibling that may have been asked has the block now
}

// fillKey finds a search. A block that this edge relays may be looked for here at the same
// time, for a better home that asks this one: neither waits for the other.
type fillKey struct {
	mh    string
	relay bool // the homes are asked, and not the origin
}

// fillOf returns the search for a block, and notes a new one if there is none. s.mu is
// held.
func (s *Swarm) fillOf(c cid.Cid, relay bool) *fill {
	key := fillKey{string(c.Hash()), relay}
	f := s.fills[key]
	if f == nil {
		f = &fill{cid: c, fillKey: key, remote: map[peer.ID]bitswap.Kind{}}
		s.fills[key] = f
	}
	return f
}

// fillsOf returns the searches for a block. s.mu is held.
func (s *Swarm) fillsOf(c cid.Cid) (list []*fill) {
	for _, relay := range []bool{false, true} {
		if f := s.fills[fillKey{string(c.Hash()), relay}]; f != nil {
			list = append(list, f)
		}
	}
	return list
}

// fallback gets a block whose homes cannot be reached. Only so many at once: a fleet
// that has fallen apart should not fall on its origin.
func (s *Swarm) fallback(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	if err := s.fallbacks.Acquire(ctx, 1); err != nil {
		return nil, block.Origin, ended(ctx, c, "wait for a turn at the origin")
	}
	defer s.fallbacks.Release(1)
	s.metrics.fallbacks.Inc()
	return s.local.Fill(ctx, c)
}

// Fill gets a block that is at home here and neither in memory nor on disk: from a
// sibling that has it, or from the origin. [Local] calls it, once for everyone who waits
// for the block.
func (s *Swarm) Fill(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, block.Origin, ErrClosed
	}
	if err := s.failures.get(string(c.Hash())); err != nil {
		s.mu.Unlock()
		return nil, block.Origin, err
	}
	f := s.fillOf(c, false)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.opts.FetchTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	b, src, err := s.find(ctx, f)
	s.found(ctx, f, b, src, err)
	return b, src, err
}

// found counts what came of a search. The siblings that wait hear of a block when it
// is stored, and of a failure now.
func (s *Swarm) found(ctx context.Context, f *fill, b *block.Verified, src block.Source, err error) {
	outcome := src.String()
	switch {
	case err == nil:
		s.recent.add(b)
	case ipld.IsNotFound(err):
		outcome = "not_found"
	case errors.Is(err, context.Canceled):
		outcome = "cancelled"
	default:
		outcome = "failed"
	}
	s.metrics.fills.WithLabelValues(outcome).Inc()
	s.mu.Lock()
	if err != nil && ctx.Err() == nil && !f.outdated {
		s.failures.add(f.mh, err)
	}
	s.mu.Unlock()
	s.end(f)
	if err != nil {
		s.answer(f, nil)
	}
}

// end takes a search off the table.
func (s *Swarm) end(f *fill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fills[f.fillKey] == f {
		delete(s.fills, f.fillKey)
	}
}

// answer tells the siblings that wait what came of a search: nil is a denial.
func (s *Swarm) answer(f *fill, b *block.Verified) {
	if s.ctx.Err() != nil {
		return
	}
	if b != nil {
		s.exchange.Answer(f.cid, b)
		return
	}
	s.mu.Lock()
	to := slices.Collect(maps.Keys(f.remote))
	for _, id := range to {
		s.denials.add(f.mh, id)
	}
	s.mu.Unlock()
	s.exchange.Deny(f.cid, to)
}

// await has siblings wait for a block, until it is there, could not be had, or none of
// them wants it any more. s.mu is held.
func (s *Swarm) await(f *fill) {
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(s.ctx)
	cancel := f.cancel
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer cancel()
		find := s.local.Fill
		if f.relay {
			find = s.local.Relay
		}
		b, _, err := find(ctx, f.cid)
		if err != nil && ctx.Err() != nil {
			return // nobody waits any more
		}
		if f.relay && b != nil {
			s.metrics.relayed.Inc()
		}
		s.end(f)
		s.answer(f, b)
	}()
}

// find looks for the block at the siblings that may have it, and then at the origin and
// wherever else it can be had.
func (s *Swarm) find(ctx context.Context, f *fill) (*block.Verified, block.Source, error) {
	select {
	case <-s.joined:
	case <-ctx.Done():
		return nil, block.Origin, ended(ctx, f.cid, "wait to join the fleet")
	}
	ask, rest := s.holders(f)
	var silent []peer.ID
	for waiting := true; waiting; ask, waiting = s.rivals(f) {
		b, unheard := s.askAround(ctx, f.cid, ask, s.fleet.Doubtful)
		if b != nil {
			return b, block.Sibling, nil
		}
		silent = append(silent, unheard...)
	}
	return s.seek(ctx, f, append(rest, silent...))
}

// holders returns the siblings that may well have a block, and all others. Those
// are: the other home, which was the first one before this edge joined; members
// that are leaving; and for some time after a loss everyone, since the blocks of
// the lost one passed through the others.
func (s *Swarm) holders(f *fill) (likely, others []peer.ID) {
	if s.fleet == nil {
		return nil, nil
	}
	v := s.view.Load()
	s.mu.Lock()
	var waiting []peer.ID // they would not ask if they had it
	for id := range f.remote {
		waiting = append(waiting, id)
	}
	s.mu.Unlock()
	likely = append(likely, v.leaving...)
	var buf [2]int
	for _, i := range v.ring.Homes(f.cid.Hash(), 2, buf[:0]) {
		if i != v.self {
			likely = append(likely, v.ids[i])
			break
		}
	}
	everyone := time.Since(v.lossAt) < unsettled
	for _, id := range v.present {
		switch {
		case slices.Contains(likely, id) || slices.Contains(waiting, id):
		case everyone:
			likely = append(likely, id)
		default:
			others = append(others, id)
		}
	}
	likely = slices.DeleteFunc(likely, func(id peer.ID) bool { return slices.Contains(waiting, id) })
	return likely, others
}

// rivals returns the better homes that have asked for the block meanwhile, to be asked
// in turn. If there are none, the origin is next, and from now on whoever asks waits.
func (s *Swarm) rivals(f *fill) (ids []peer.ID, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, f.rivals = f.rivals, nil
	f.atOrigin = len(ids) == 0
	return ids, !f.atOrigin
}

// filler is the Swarm as the Bitswap exchange sees it.
type filler Swarm

// Want notes who is told that a block is not here.
func (l *filler) Want(from peer.ID, c cid.Cid, kind bitswap.Kind) bool {
	s := (*Swarm)(l)
	taken := s.takeOn(from, c, kind)
	if !taken {
		s.denials.add(string(c.Hash()), from)
	}
	return taken
}

// takeOn takes on a sibling's want: a WantBlock if this edge is a home of the block, or
// relays it; a WantHave if it is looking for the block right now as its home and the
// sibling can wait for what comes of it.
func (s *Swarm) takeOn(from peer.ID, c cid.Cid, kind bitswap.Kind) bool {
	mh := string(c.Hash())
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fills[fillKey{mh, false}]
	switch {
	case s.closed:
		return true // the connection is about to end, which says more than DONT_HAVE
	case !s.started:
		return false
	case kind == bitswap.WantHave:
		if f == nil || !s.mayWait(f, from) {
			return false
		}
	case f != nil:
	case s.failures.get(mh) != nil:
		return false
	case s.relays(c, from):
		f = s.fillOf(c, true)
	case s.Rank(c) < 0:
		return false
	default:
		f = s.fillOf(c, false)
	}
	f.remote[from] = kind
	if f.cancel == nil {
		s.await(f)
	}
	return true
}

// mayWait decides who of two edges that look for the same block at the same time
// waits for the other, so that one of them asks the origin and not both. It happens
// when they disagree for a moment about who is there. The worse home waits for the
// better one, an order on which they agree, so nobody waits in a circle; and everyone
// may wait for one that waits for nobody but the origin. Nobody waits along with one
// that asks all others. s.mu is held.
func (s *Swarm) mayWait(f *fill, from peer.ID) bool {
	if f.searching {
		return false
	}
	name, _ := s.fleet.Name(from)
	if f.atOrigin || s.view.Load().ring.Before(f.cid.Hash(), s.opts.Name, name) {
		return true
	}
	f.rivals = append(f.rivals, from)
	return false
}

// Unwant takes a sibling off a search. The last one ends the wait on their behalf.
func (l *filler) Unwant(from peer.ID, c cid.Cid) {
	s := (*Swarm)(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fillsOf(c) {
		f.leave(from)
	}
}

// leave takes a sibling off. The last one ends the wait on their behalf. Swarm.mu is held.
func (f *fill) leave(id peer.ID) {
	delete(f.remote, id)
	if len(f.remote) == 0 && f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
}

// Stored says that a block came to this edge, in whatever way, so that whoever has
// asked for it before gets it now.
func (s *Swarm) Stored(b *block.Verified) {
	if s.failures.some() {
		s.mu.Lock()
		s.failures.forget(string(b.Cid().Hash()))
		s.mu.Unlock()
	}
	if to := s.denials.take(string(b.Cid().Hash())); len(to) > 0 {
		s.correct(b.Cid(), to)
	}
	if s.exchange.Waiting(b.Cid()) {
		s.exchange.Answer(b.Cid(), b)
	}
}
