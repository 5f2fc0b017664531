package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// Get implements [block.Getter] for a block that is not stored on this edge. It
// asks the block's homes, and the origin if this edge is one of them or none can be
// reached. A block that is at home here is stored, maybe after Get returned.
func (s *Swarm) Get(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	if err := block.CheckCID(c); err != nil {
		return nil, block.Sibling, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.FetchTimeout, fmt.Errorf("no answer within %s", s.opts.FetchTimeout))
	defer cancel()
	v := s.view.Load()
	if len(v.ring.Members()) == 0 {
		return s.rescue(ctx, c)
	}
	hs := s.homesOf(v, c)
	if hs[0].self {
		return s.local.Fill(ctx, c)
	}
	p := &pursuit{s: s, ctx: ctx, cid: c, view: v, homes: hs, heard: make(chan reply, maxReplies)}
	defer p.cancelAll()
	return p.run()
}

// maxReplies is how many replies a pursuit can get: one from each home, one to the
// hedge, and one to the want that follows a HAVE.
const maxReplies = homes + 2

// pursuit is one Get: who was asked and what they said.
type pursuit struct {
	s     *Swarm
	ctx   context.Context
	cid   cid.Cid
	view  *view
	homes []home
	next  int        // the next home to ask
	heard chan reply // has room for everything that can be said

	asked  []*asked
	denied []string // the homes that said they do not have it
	hedged bool
}

// asked is one want that was sent.
type asked struct {
	home
	kind   bitswap.Kind
	ask    *bitswap.Ask
	at     time.Time
	done   bool
	resent bool
}

// reply is what came of asking somebody: a sibling, or this edge itself.
type reply struct {
	from *asked
	bitswap.Reply
	// What this edge's own fill came to.
	block  blocks.Block
	source block.Source
	err    error
}

func (p *pursuit) run() (blocks.Block, block.Source, error) {
	if !p.advance() {
		return p.s.rescue(p.ctx, p.cid)
	}
	timer := time.NewTimer(p.s.opts.ProbeAfter)
	defer timer.Stop()
	var changed <-chan struct{}
	for {
		select {
		case <-p.ctx.Done():
			p.s.metrics.giveups.Inc()
			return nil, block.Sibling, p.ended()
		case r := <-p.heard:
			if b, src, over, err := p.take(r); over {
				return b, src, err
			}
		case <-changed:
			changed = p.s.fleet.Changed()
			p.route()
		case <-timer.C:
			// Only who has been silent for a while has to be watched.
			changed = p.s.fleet.Changed()
			timer.Reset(p.silence())
			p.route()
		}
		if p.idle() && !p.advance() {
			return p.exhausted()
		}
	}
}

// advance asks the next home for the block. It reports false if there is none.
func (p *pursuit) advance() bool {
	for p.next < len(p.homes) {
		h := p.homes[p.next]
		p.next++
		if h.self {
			p.fill(h)
			return true
		}
		if p.s.answers(h.id) {
			p.ask(h, bitswap.WantBlock)
			return true
		}
	}
	return false
}

func (p *pursuit) ask(h home, kind bitswap.Kind) {
	a := &asked{home: h, kind: kind, at: time.Now()}
	p.asked = append(p.asked, a)
	a.ask = p.s.exchange.Ask(h.id, p.cid, kind, func(r bitswap.Reply) { p.heard <- reply{from: a, Reply: r} })
}

// fill has this edge fetch the block, being one of its homes.
func (p *pursuit) fill(h home) {
	a := &asked{home: h, at: time.Now()}
	p.asked = append(p.asked, a)
	if !p.s.run(func() {
		b, src, err := p.s.local.Fill(p.ctx, p.cid)
		p.heard <- reply{from: a, block: b, source: src, err: err}
	}) {
		p.heard <- reply{from: a, err: ErrClosed}
	}
}

// idle reports whether nobody is left who may still send the block.
func (p *pursuit) idle() bool {
	return !slices.ContainsFunc(p.asked, func(a *asked) bool { return !a.done })
}

// take deals with a reply. over says that the pursuit has ended.
func (p *pursuit) take(r reply) (b blocks.Block, src block.Source, over bool, err error) {
	a := r.from
	a.done = true
	switch {
	case a.self:
		return r.block, r.source, true, r.err
	case r.Block != nil:
		p.s.answered(a.id, a.name, time.Since(a.at))
		return r.Block, block.Sibling, true, nil
	case r.Have:
		p.ask(a.home, bitswap.WantBlock)
	case errors.Is(r.Err, bitswap.ErrDontHave):
		if a.kind == bitswap.WantBlock {
			p.denied = append(p.denied, a.name)
		}
		// Two homes have looked everywhere. A third would only ask the origin once
		// more.
		if len(p.denied) >= 2 {
			p.next = len(p.homes)
		}
	case errors.Is(r.Err, bitswap.ErrLied):
		p.s.lied(a.id)
	}
	return nil, 0, false, nil
}

// route asks the next home if those that were asked are not there any more, or have
// taken too long. What was asked of them stays asked: they may only have been slow.
func (p *pursuit) route() {
	for _, a := range p.asked {
		switch {
		case a.done:
		case a.self:
			return
		case a.kind == bitswap.WantBlock && time.Since(a.at) < p.s.opts.PendingMax && p.s.fleet.State(a.id) == members.Alive:
			return
		}
	}
	if p.advance() {
		p.s.metrics.hedges.Inc()
	}
}

// silence looks after homes that have not answered, and returns when to look
// again. A home that shows signs of life is waiting for the origin, as a rule.
func (p *pursuit) silence() time.Duration {
	now := time.Now()
	wait := p.s.opts.HedgeMax
	for _, a := range p.asked {
		if a.done || a.self {
			continue
		}
		silent := now.Sub(a.at)
		if heard := p.s.exchange.Heard(a.id); now.Sub(heard) > p.s.opts.ProbeAfter {
			p.s.fleet.Probe(a.id)
		}
		if !a.resent && silent >= p.s.opts.ResendAfter {
			a.resent = true
			a.ask.Resend()
		}
		if after := p.s.hedgeAfter(a.id); silent >= after {
			p.hedge()
		} else {
			wait = min(wait, after-silent)
		}
	}
	return max(wait, p.s.opts.ProbeAfter)
}

// hedge asks the next home, once, whether it happens to have the block. That
// causes no fetch, so it costs one small message when the first home is only slow.
func (p *pursuit) hedge() {
	if p.hedged {
		return
	}
	p.hedged = true
	for _, h := range p.homes[p.next:] {
		if !h.self && p.s.answers(h.id) {
			p.s.metrics.hedges.Inc()
			p.ask(h, bitswap.WantHave)
			return
		}
	}
}

func (p *pursuit) cancelAll() {
	for _, a := range p.asked {
		if !a.done && a.ask != nil {
			a.ask.Cancel()
		}
	}
}

// exhausted ends a pursuit in which everyone has answered and nobody has the block.
func (p *pursuit) exhausted() (blocks.Block, block.Source, error) {
	if len(p.denied) > 0 {
		if err := p.s.reasons(p.ctx, p.denied, p.cid); err != nil {
			return nil, block.Origin, err
		}
	}
	// Nobody has looked for it. If edges disagree about its homes, the visitor need
	// not suffer.
	return p.s.rescue(p.ctx, p.cid)
}

// ended says that the context has ended, and whom that was waiting for.
func (p *pursuit) ended() error {
	var waiting []string
	for _, a := range p.asked {
		if !a.done {
			waiting = append(waiting, a.name)
		}
	}
	return ended(p.ctx, p.cid, "wait for "+strings.Join(waiting, ", "))
}

// ended turns the end of a context into an error that wraps its cause.
func ended(ctx context.Context, c cid.Cid, doing string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("block %s: %s: %w", c, doing, cause)
	}
	return fmt.Errorf("block %s: %s: %w (%w)", c, doing, cause, err)
}
