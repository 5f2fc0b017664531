package swarm

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// maxAsked is how many siblings are asked about one block at the same time. As they
// answer, the others have their turn.
const maxAsked = 64

// askAround asks siblings whether they have a block, and takes it from the first
// that does. If none has it, it returns those that have not answered: a sibling is
// not waited for when gone says so, nor when it does not deliver. Somebody who is
// there and silent may be waiting for the origin, for PendingMax at most.
func (s *Swarm) askAround(ctx context.Context, c cid.Cid, ids []peer.ID, gone func(peer.ID) bool) (b *block.Verified, silent []peer.ID) {
	r, end := s.newRound(ctx, c, ids, gone)
	defer end()
	return r.run(nil), r.missing()
}

// round is one search among the siblings.
type round struct {
	s    *Swarm
	ctx  context.Context
	cid  cid.Cid
	gone func(peer.ID) bool

	todo  []peer.ID // to be asked what they have
	homes []peer.ID // to be asked to fetch it, when it is time for that

	asks     map[peer.ID]*query // not answered yet
	heard    chan said          // has room for everything that can be said
	verdicts chan verdict
	have     []peer.ID // said so, and were not asked for it yet

	silent  map[peer.ID]bool
	denied  []peer.ID // homes that could not get it
	fetched bool      // the block is from a home that was asked to fetch it
}

// query is one want that a round has sent.
type query struct {
	ask       *bitswap.Ask
	kind      bitswap.Kind
	fetch     bool // of a home that was asked to fetch the block
	at        time.Time
	inquired  time.Time
	inquiring bool
}

// said is what a sibling replied.
type said struct {
	from  peer.ID
	query *query
	bitswap.Reply
}

// verdict is what came of asking a sibling what it is doing about a want.
type verdict struct {
	on      peer.ID
	query   *query
	working bool
}

// newRound prepares a round; end takes back what it has asked.
func (s *Swarm) newRound(ctx context.Context, c cid.Cid, ids []peer.ID, gone func(peer.ID) bool) (r *round, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	r = &round{
		s: s, ctx: ctx, cid: c, gone: gone, todo: ids,
		asks: map[peer.ID]*query{}, silent: map[peer.ID]bool{},
		heard:    make(chan said, 2*len(ids)+3*homes), // a WantHave, a WantBlock, and a fetch
		verdicts: make(chan verdict),
	}
	return r, func() {
		cancel()
		for _, q := range r.asks {
			q.ask.Cancel()
		}
	}
}

// run asks until the block is there, or everyone has answered or is silent. The homes
// are asked to fetch it once fetch is closed; nil says that they are not.
func (r *round) run(fetch <-chan struct{}) *block.Verified {
	tick := time.NewTicker(r.s.opts.ProbeAfter)
	defer tick.Stop()
	select {
	case <-fetch: // at once: there is no need to ask them for less before
		fetch = nil
		r.fetch()
	default:
	}
	for {
		r.next()
		if len(r.asks) == 0 && fetch == nil {
			return nil
		}
		select {
		case <-r.ctx.Done():
			for id := range r.asks {
				r.silent[id] = true
			}
			for _, id := range r.todo {
				r.silent[id] = true
			}
			return nil
		case <-fetch:
			fetch = nil
			r.fetch()
		case <-tick.C:
			r.watch()
		case v := <-r.verdicts:
			r.convict(v)
		case x := <-r.heard:
			if b := r.take(x); b != nil {
				return b
			}
		}
	}
}

// next asks whoever has their turn.
func (r *round) next() {
	if len(r.have) > 0 && !r.sending() {
		id := r.have[0]
		r.have = r.have[1:]
		r.ask(id, bitswap.WantBlock, false)
	}
	for len(r.asks) < maxAsked && len(r.todo) > 0 {
		id := r.todo[0]
		r.todo = r.todo[1:]
		if r.asks[id] == nil && r.worthAsking(id) {
			r.ask(id, bitswap.WantHave, false)
		}
	}
}

// sending reports whether a sibling that said it has the block may be about to send
// it. One that takes long is overtaken by the next one that has it.
func (r *round) sending() bool {
	for id, q := range r.asks {
		if q.kind == bitswap.WantBlock && !q.fetch && time.Since(q.at) < r.s.hedgeAfter(id) {
			return true
		}
	}
	return false
}

// fetch has the homes fetch the block.
func (r *round) fetch() {
	for _, id := range r.homes {
		if r.worthAsking(id) {
			r.ask(id, bitswap.WantBlock, true)
		}
	}
}

// worthAsking reports whether an answer is to be expected. Who is not asked is silent.
func (r *round) worthAsking(id peer.ID) bool {
	if r.gone(id) || !r.s.delivers(id) {
		r.silent[id] = true
		return false
	}
	return true
}

func (r *round) ask(id peer.ID, kind bitswap.Kind, fetch bool) {
	q := &query{kind: kind, fetch: fetch, at: time.Now()}
	before := r.asks[id]
	r.asks[id] = q
	q.ask = r.s.exchange.Ask(id, r.cid, kind, func(reply bitswap.Reply) { r.heard <- said{id, q, reply} })
	if before != nil {
		before.ask.Cancel() // after the stronger want, so that nothing is taken back
	}
}

// take deals with a reply, and returns the block if it is one.
func (r *round) take(x said) *block.Verified {
	q := x.query
	if x.Block != nil {
		if q.kind == bitswap.WantBlock {
			r.s.judge(x.from, true)
		}
		r.fetched = q.fetch
		return x.Block
	}
	if r.asks[x.from] != q {
		return nil // asked for more meanwhile, or given up
	}
	delete(r.asks, x.from)
	switch {
	case x.Have:
		r.have = append(r.have, x.from)
	case errors.Is(x.Err, bitswap.ErrDontHave):
		delete(r.silent, x.from)
		if q.fetch {
			r.denied = append(r.denied, x.from)
		}
	case errors.Is(x.Err, bitswap.ErrLied):
		r.s.liar(x.from)
		r.silent[x.from] = true
	default:
		r.silent[x.from] = true
	}
	return nil
}

// watch looks after those that have not answered: it pings them, asks what they are
// doing, and stops waiting for those that are gone or take too long. A home that was
// asked to fetch may take as long as it says that it is at it.
func (r *round) watch() {
	now := time.Now()
	for id, q := range r.asks {
		waited := now.Sub(q.at)
		if r.gone(id) || !r.s.delivers(id) || !q.fetch && waited >= r.s.opts.PendingMax {
			r.drop(id)
			continue
		}
		r.s.fleet.Probe(id)
		if !q.inquiring && waited >= r.s.inquireAfter(id) && now.Sub(q.inquired) >= r.s.opts.ResendAfter {
			q.inquired = now
			q.inquiring = r.s.inquire(r.ctx, id, r.cid, q.at, func(working bool) {
				select {
				case r.verdicts <- verdict{id, q, working}:
				case <-r.ctx.Done():
				}
			})
		}
	}
}

// convict stops waiting for a sibling that does nothing about a want.
func (r *round) convict(v verdict) {
	v.query.inquiring = false
	if !v.working && r.asks[v.on] == v.query {
		r.s.failed(v.on)
		r.drop(v.on)
	}
}

func (r *round) drop(id peer.ID) {
	r.asks[id].ask.Cancel()
	delete(r.asks, id)
	r.silent[id] = true
}

// missing returns who has not answered, without those that have left meanwhile.
func (r *round) missing() []peer.ID {
	var ids []peer.ID
	for id := range r.silent {
		if r.s.fleet.State(id) != members.Left {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
