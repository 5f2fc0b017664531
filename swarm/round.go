package swarm

import (
	"context"
	"errors"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/swarm/bitswap"
)

// askAround asks siblings whether they have a block, and takes it from the first
// that does. If none has it, it returns those that have not answered: a sibling is
// not waited for when gone says so, and nobody for longer than PendingMax. Somebody
// who is there and silent may be waiting for the origin.
func (s *Swarm) askAround(ctx context.Context, c cid.Cid, ids []peer.ID, gone func(peer.ID) bool) (b blocks.Block, silent []peer.ID) {
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.PendingMax)
	defer cancel()
	r := &round{s: s, cid: c, asks: map[peer.ID]*bitswap.Ask{}, heard: make(chan said, 2*len(ids))}
	defer r.cancel()
	for _, id := range ids {
		switch {
		case s.isDistrusted(id):
		case gone(id):
			r.silent = append(r.silent, id)
		default:
			r.ask(id, bitswap.WantHave)
		}
	}
	timer := time.NewTicker(s.opts.ProbeAfter)
	defer timer.Stop()
	for len(r.asks) > 0 {
		select {
		case <-ctx.Done():
			for id := range r.asks {
				r.silent = append(r.silent, id)
			}
			return nil, r.silent
		case <-timer.C:
			r.drop(gone)
		case x := <-r.heard:
			if r.take(x); x.Block != nil {
				return x.Block, nil
			}
		}
		if r.asks[r.sender] == nil && len(r.have) > 0 {
			r.sender, r.have = r.have[0], r.have[1:]
			r.ask(r.sender, bitswap.WantBlock)
		}
	}
	return nil, r.silent
}

// round is one askAround.
type round struct {
	s      *Swarm
	cid    cid.Cid
	asks   map[peer.ID]*bitswap.Ask // not answered yet
	heard  chan said                // room for the answers to a WantHave and a WantBlock of each
	have   []peer.ID                // said so, and were not asked for it yet
	sender peer.ID                  // was asked for it
	silent []peer.ID
}

// said is what a sibling replied.
type said struct {
	from peer.ID
	bitswap.Reply
}

func (r *round) ask(id peer.ID, kind bitswap.Kind) {
	r.asks[id] = r.s.exchange.Ask(id, r.cid, kind, func(reply bitswap.Reply) { r.heard <- said{id, reply} })
}

func (r *round) take(x said) {
	delete(r.asks, x.from)
	switch {
	case x.Have:
		r.have = append(r.have, x.from)
	case errors.Is(x.Err, bitswap.ErrLied):
		r.s.lied(x.from)
	case errors.Is(x.Err, bitswap.ErrGone):
		r.silent = append(r.silent, x.from)
	}
}

// drop pings siblings that have not answered, and stops waiting for those that are
// gone.
func (r *round) drop(gone func(peer.ID) bool) {
	for id, a := range r.asks {
		if gone(id) {
			a.Cancel()
			delete(r.asks, id)
			r.silent = append(r.silent, id)
		} else {
			r.s.fleet.Probe(id)
		}
	}
}

func (r *round) cancel() {
	for _, a := range r.asks {
		a.Cancel()
	}
}
