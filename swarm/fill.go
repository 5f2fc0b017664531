package swarm

import (
	"context"
	"errors"
	"slices"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
)

// flight is one fill: this edge, as a home of the block, gets it from wherever it
// is. There is one flight for a block however many wait for it.
type flight struct {
	cid    cid.Cid
	mh     string
	cancel context.CancelFunc

	// Guarded by Swarm.mu.
	local     int                      // visitors' requests that wait
	remote    map[peer.ID]bitswap.Kind // siblings that wait, and what they want
	atOrigin  bool                     // the origin was asked: no sibling is waited for any more
	searching bool                     // all siblings are asked, too: see letGo
	rivals    []peer.ID                // better homes that are looking for the block, too

	done   chan struct{} // closed when what follows is set
	block  blocks.Block
	source block.Source
	err    error
}

// fillHere gets a block that is at home here, for a visitor of this edge.
func (s *Swarm) fillHere(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	mh := string(c.Hash())
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, block.Origin, ErrClosed
	}
	f := s.flights[mh]
	if f == nil {
		if err := s.failures.get(mh); err != nil {
			s.mu.Unlock()
			return nil, block.Origin, err
		}
		f = s.takeOff(c)
	}
	f.local++
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		s.abandon(f, func() { f.local-- })
		return nil, block.Origin, ended(ctx, c, "wait for the origin")
	}
	if f.err != nil {
		return nil, f.source, f.err
	}
	b := f.block
	if b.Cid() != c {
		b = block.Trusted(c, b.RawData())
	}
	return b, f.source, nil
}

// rescue gets a block whose homes cannot be reached. Only so many at once: a fleet
// that has fallen apart should not fall on its origin.
func (s *Swarm) rescue(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	if err := s.rescues.Acquire(ctx, 1); err != nil {
		return nil, block.Origin, ended(ctx, c, "wait for a turn at the origin")
	}
	defer s.rescues.Release(1)
	s.metrics.rescues.Inc()
	return s.fillHere(ctx, c)
}

// takeOff starts a flight. s.mu is held.
func (s *Swarm) takeOff(c cid.Cid) *flight {
	f := &flight{cid: c, mh: string(c.Hash()), remote: map[peer.ID]bitswap.Kind{}, done: make(chan struct{})}
	var ctx context.Context
	ctx, f.cancel = context.WithTimeout(s.ctx, s.opts.FetchTimeout)
	s.flights[f.mh] = f
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer f.cancel()
		s.fly(ctx, f)
	}()
	return f
}

// abandon takes somebody off a flight. The last one cancels it.
func (s *Swarm) abandon(f *flight, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	leave()
	if f.local == 0 && len(f.remote) == 0 && s.flights[f.mh] == f {
		delete(s.flights, f.mh)
		f.cancel()
	}
}

// fly gets the block, stores it and tells everyone who waits. They are told before
// it is stored, and those who came in the meantime are told after.
func (s *Swarm) fly(ctx context.Context, f *flight) {
	f.block, f.source, f.err = s.find(ctx, f)
	outcome := f.source.String()
	switch {
	case f.err == nil:
		close(f.done)
		s.exchange.Answer(f.cid, f.block)
		s.recent.add(f.block)
		if f.source != block.Disk && s.isAnyHome(f.cid) {
			if err := s.local.Put(ctx, f.block); err != nil {
				s.log.Debug("swarm: a block was not kept", "cid", f.cid, "err", err)
			}
		}
	case ipld.IsNotFound(f.err):
		outcome = "not_found"
	case errors.Is(f.err, context.Canceled):
		outcome = "cancelled"
	default:
		outcome = "failed"
	}
	s.metrics.fills.WithLabelValues(outcome).Inc()
	s.mu.Lock()
	mine := s.flights[f.mh] == f
	if mine {
		delete(s.flights, f.mh)
		if f.err != nil && ctx.Err() == nil {
			s.failures.add(f.mh, f.err)
		}
	}
	s.mu.Unlock()
	if f.err != nil {
		close(f.done)
	}
	if mine && s.ctx.Err() == nil {
		s.exchange.Answer(f.cid, f.block)
	}
}

// find looks for the block: here, at the siblings that may have it, and then at the
// origin and wherever else it can be had.
func (s *Swarm) find(ctx context.Context, f *flight) (blocks.Block, block.Source, error) {
	if ok, _ := s.local.Has(ctx, f.cid); ok {
		if b, err := s.local.Get(ctx, f.cid); err == nil {
			return b, block.Disk, nil
		}
	}
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
func (s *Swarm) holders(f *flight) (likely, others []peer.ID) {
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
func (s *Swarm) rivals(f *flight) (ids []peer.ID, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, f.rivals = f.rivals, nil
	f.atOrigin = len(ids) == 0
	return ids, !f.atOrigin
}

// filler is the Swarm as the Bitswap exchange sees it.
type filler Swarm

// Want takes on a sibling's want: a WantBlock if this edge is a home of the block; a
// WantHave if it is looking for the block right now and the sibling can wait for
// what comes of it.
func (l *filler) Want(from peer.ID, c cid.Cid, kind bitswap.Kind) bool {
	s := (*Swarm)(l)
	mh := string(c.Hash())
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[mh]
	switch {
	case s.closed:
		return true // the connection is about to end, which says more than DONT_HAVE
	case !s.started:
		return false
	case kind == bitswap.WantHave:
		if f == nil || !s.mayWait(f, from) {
			return false
		}
	case f == nil:
		if s.failures.get(mh) != nil || !s.isAnyHome(c) {
			return false
		}
		f = s.takeOff(c)
	}
	f.remote[from] = kind
	return true
}

// mayWait decides who of two edges that look for the same block at the same time
// waits for the other, so that one of them asks the origin and not both. It happens
// when they disagree for a moment about who is there. The worse home waits for the
// better one, an order on which they agree, so nobody waits in a circle; and everyone
// may wait for one that waits for nobody but the origin. Nobody waits along with one
// that asks all others. s.mu is held.
func (s *Swarm) mayWait(f *flight, from peer.ID) bool {
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

// isAnyHome reports whether this edge is among the homes of a block.
func (s *Swarm) isAnyHome(c cid.Cid) bool {
	v := s.view.Load()
	return v.self >= 0 && v.ring.Rank(c.Hash(), s.opts.Name, homes) >= 0
}

// Unwant takes a sibling off a flight.
func (l *filler) Unwant(from peer.ID, c cid.Cid) {
	s := (*Swarm)(l)
	s.mu.Lock()
	f := s.flights[string(c.Hash())]
	s.mu.Unlock()
	if f != nil {
		s.abandon(f, func() { delete(f.remote, from) })
	}
}

// Stored says that a block was stored on this edge by other means than a fill, so
// that whoever has asked for it before gets it now.
func (s *Swarm) Stored(b blocks.Block) {
	if s.exchange.Waiting(b.Cid()) {
		s.exchange.Answer(b.Cid(), b)
	}
}
