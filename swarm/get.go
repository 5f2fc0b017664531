package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// Get implements [block.Getter] for a block that is not stored on this edge. It
// asks the block's homes, and the origin if this edge is one of them or none can be
// reached. A block that is at home here is stored, maybe after Get returned.
func (s *Swarm) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	if err := block.CheckCID(c); err != nil {
		return nil, block.Sibling, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.FetchTimeout, fmt.Errorf("no answer within %s", s.opts.FetchTimeout))
	defer cancel()
	v := s.view.Load()
	if len(v.ring.Members()) == 0 {
		return s.fallback(ctx, c)
	}
	hs := s.homesOf(v, c)
	if hs[0].self {
		return s.local.Fill(ctx, c)
	}
	p := &lookup{s: s, ctx: ctx, cid: c, homes: hs, heard: make(chan reply, maxReplies), verdicts: make(chan judged, maxReplies)}
	defer p.cancelAll()
	return p.run()
}

// maxReplies is how many replies a lookup can get: one from each home, one to the
// hedge, one to the want that follows a HAVE, and what this edge itself found.
const maxReplies = homes + 3

// lookup is one Get: who was asked and what they said.
type lookup struct {
	s     *Swarm
	ctx   context.Context
	cid   cid.Cid
	homes []home
	next  int        // the next home to ask
	heard chan reply // has room for everything that can be said
	// verdicts has room for one about each want.
	verdicts chan judged

	asked  []*asked
	denied []string // the homes that said they do not have it
	hedged bool
	last   bool  // everyone else was asked, and the last resort is tried
	err    error // what is known of why the block cannot be had
}

// asked is one want that was sent.
type asked struct {
	home
	kind   bitswap.Kind
	ask    *bitswap.Ask
	at     time.Time
	done   bool
	resent bool

	inquired  time.Time
	inquiring bool
	failed    bool // it does nothing about the want; it may still answer
}

// judged is what a sibling says that it does about a want.
type judged struct {
	on      *asked
	working bool
}

// reply is what came of asking somebody: a sibling, or this edge itself.
type reply struct {
	from *asked
	bitswap.Reply
	// What this edge's own fill came to.
	block  *block.Verified
	source block.Source
	err    error
}

func (p *lookup) run() (*block.Verified, block.Source, error) {
	timer := time.NewTimer(p.s.opts.ProbeAfter)
	defer timer.Stop()
	var changed <-chan struct{}
	for {
		for p.idle() && !p.advance() {
			if over, err := p.lastResort(); over {
				return nil, block.Origin, err
			}
		}
		select {
		case <-p.ctx.Done():
			p.s.metrics.giveups.Inc()
			return nil, block.Sibling, p.ended()
		case r := <-p.heard:
			if b, src, over := p.take(r); over {
				return b, src, nil
			}
		case v := <-p.verdicts:
			p.convict(v)
		case <-changed:
			changed = p.s.fleet.Changed()
			p.route()
		case <-timer.C:
			// Only who has been silent for a while has to be watched.
			changed = p.s.fleet.Changed()
			timer.Reset(p.silence())
			p.route()
		}
	}
}

// advance asks the next home for the block. It reports false if there is none but
// those that are asked last.
func (p *lookup) advance() bool {
	for p.next < len(p.homes) && !p.homes[p.next].last {
		h := p.homes[p.next]
		p.next++
		if h.self {
			p.fill(h, p.s.local.Fill)
			return true
		}
		if p.s.answers(h.id) {
			p.ask(h, bitswap.WantBlock)
			return true
		}
	}
	return false
}

func (p *lookup) ask(h home, kind bitswap.Kind) {
	a := &asked{home: h, kind: kind, at: time.Now()}
	p.asked = append(p.asked, a)
	a.ask = p.s.exchange.Ask(h.id, p.cid, kind, func(r bitswap.Reply) { p.heard <- reply{from: a, Reply: r} })
}

// fill has this edge fetch the block.
func (p *lookup) fill(h home, get func(context.Context, cid.Cid) (*block.Verified, block.Source, error)) {
	a := &asked{home: h, at: time.Now()}
	p.asked = append(p.asked, a)
	if !p.s.run(func() {
		b, src, err := get(p.ctx, p.cid)
		p.heard <- reply{from: a, block: b, source: src, err: err}
	}) {
		p.heard <- reply{from: a, err: ErrClosed}
	}
}

// idle reports whether nobody is left of whom the block can be expected.
func (p *lookup) idle() bool {
	return !slices.ContainsFunc(p.asked, func(a *asked) bool { return !a.done && !a.failed })
}

// take deals with a reply. over says that it is the block.
func (p *lookup) take(r reply) (b *block.Verified, src block.Source, over bool) {
	a := r.from
	a.done = true
	switch {
	case a.self && r.err == nil:
		return r.block, r.source, true
	case a.self:
		p.err = r.err
	case r.Block != nil:
		p.s.answered(a.id, a.name, time.Since(a.at))
		if !a.failed {
			p.s.judge(a.id, true)
		}
		return r.Block, block.Sibling, true
	case r.Have:
		p.ask(a.home, bitswap.WantBlock)
	case errors.Is(r.Err, bitswap.ErrDontHave):
		if a.kind == bitswap.WantBlock && !a.near {
			p.denied = append(p.denied, a.name)
		}
		// Two homes have looked everywhere. A third would only ask the origin once
		// more.
		if len(p.denied) >= 2 {
			p.next = len(p.homes)
		}
	case errors.Is(r.Err, bitswap.ErrLied):
		p.s.liar(a.id)
	}
	return nil, 0, false
}

// convict turns to the next home if a sibling does nothing about a want. What was asked
// of it stays asked.
func (p *lookup) convict(v judged) {
	a := v.on
	if a.inquiring = false; v.working || a.done || a.failed {
		return
	}
	p.s.failed(a.id)
	p.pass(a)
}

// pass expects nothing of a sibling any more.
func (p *lookup) pass(a *asked) {
	a.failed = true
	if p.advance() {
		p.s.metrics.hedges.Inc()
	}
}

// route asks the next home if those that were asked are not there any more, or have
// taken too long. What was asked of them stays asked: they may only have been slow.
func (p *lookup) route() {
	for _, a := range p.asked {
		switch {
		case a.done || a.failed:
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
func (p *lookup) silence() time.Duration {
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
		if after := p.s.inquireAfter(a.id); silent >= after {
			p.inquire(a, now)
		} else {
			wait = min(wait, after-silent)
		}
	}
	return max(wait, p.s.opts.ProbeAfter)
}

// hedge asks the next home, once, whether it happens to have the block. That
// causes no fetch, so it costs one small message when the first home is only slow.
func (p *lookup) hedge() {
	if p.hedged {
		return
	}
	p.hedged = true
	rest := p.homes[p.next:]
	if near := p.asked[0]; near.near && p.next == 1 {
		rest = p.s.nextNear(p.cid, near.id) // a copy in the zone costs less
	}
	for _, h := range rest {
		if !h.self && !h.last && p.s.answers(h.id) {
			p.s.metrics.hedges.Inc()
			p.ask(h, bitswap.WantHave)
			return
		}
	}
}

// inquire asks a sibling what it does about a want, and every second again.
func (p *lookup) inquire(a *asked, now time.Time) {
	if a.failed || a.inquiring || now.Sub(a.inquired) < p.s.opts.ResendAfter {
		return
	}
	if !a.last && !p.s.delivers(a.id) {
		p.pass(a) // others have found that out
		return
	}
	a.inquired = now
	a.inquiring = p.s.inquire(p.ctx, a.id, p.cid, a.at, func(working bool) { p.verdicts <- judged{a, working} })
}

func (p *lookup) cancelAll() {
	for _, a := range p.asked {
		if !a.done && a.ask != nil {
			a.ask.Cancel()
		}
	}
}

// lastResort is for when everyone else has answered or failed. Those that have not
// delivered lately are asked now, and if nobody has looked for the block, this edge asks
// the origin: if edges disagree about the homes, or all of those are out of order, the
// visitor need not suffer. over says that there is nothing left to try.
func (p *lookup) lastResort() (over bool, err error) {
	if len(p.denied) > 0 && (p.err == nil || ipld.IsNotFound(p.err)) {
		if err := p.s.reasons(p.ctx, p.denied, p.cid); err != nil {
			p.err = err
		}
	}
	if p.last || ipld.IsNotFound(p.err) {
		return true, p.gaveUp()
	}
	p.last = true
	if p.err == nil {
		p.fill(home{name: "the origin", self: true}, p.s.fallback)
	}
	for ; p.next < len(p.homes); p.next++ {
		if h := p.homes[p.next]; h.last && p.s.answers(h.id) {
			p.ask(h, bitswap.WantBlock)
		}
	}
	return false, nil
}

// gaveUp returns why the block cannot be had.
func (p *lookup) gaveUp() error {
	if p.err != nil {
		return p.err
	}
	var silent []string
	for _, a := range p.asked {
		if a.failed {
			silent = append(silent, a.name)
		}
	}
	return unanswered(p.cid, silent)
}

// ended says that the context has ended, and whom that was waiting for.
func (p *lookup) ended() error {
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
