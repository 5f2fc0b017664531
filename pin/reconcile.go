package pin

import (
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// queue collects what changed until somebody looks at it. Adding to it never waits.
type queue struct {
	mu    *sync.Mutex
	ids   map[string]bool
	roots map[cid.Cid]bool
	kick  work.Signal
}

func newQueue() queue {
	return queue{mu: &sync.Mutex{}, ids: map[string]bool{}, roots: map[cid.Cid]bool{}, kick: work.NewSignal()}
}

func (q *queue) pins(ids []string) {
	q.mu.Lock()
	for _, id := range ids {
		q.ids[id] = true
	}
	q.mu.Unlock()
	q.kick.Give()
}

func (q *queue) root(c cid.Cid) {
	q.mu.Lock()
	q.roots[c] = true
	q.mu.Unlock()
	q.kick.Give()
}

func (q *queue) take() (ids []string, roots []cid.Cid) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.ids {
		ids = append(ids, id)
	}
	for c := range q.roots {
		roots = append(roots, c)
	}
	clear(q.ids)
	clear(q.roots)
	return ids, roots
}

// informedAfter is how long an edge that starts waits for what its siblings hold before
// it lets go of what nobody seems to want, or of what others seem to hold.
const informedAfter = 10 * time.Second

// reconcile brings what is wanted and what is held together until Close. It alone calls
// the holder's Hold and Let, so that these come in the order of the decisions.
func (p *Pins) reconcile(ready <-chan struct{}) {
	if ready != nil {
		select {
		case <-ready:
		case <-p.ctx.Done():
			return
		}
	}
	look := time.NewTicker(p.opts.Look)
	defer look.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	started := time.Now()
	p.updateMembership(true)
	p.adoptImports()
	for {
		p.allowRelease(started)
		p.processQueue()
		select {
		case <-p.work.kick:
		case <-look.C:
			p.updateMembership(false)
		case <-retry.C:
			p.enqueueFailed()
		case <-p.ctx.Done():
			return
		}
	}
}

// knows has this edge let go of things once every sibling has said what it holds.
func (p *Pins) allowRelease(started time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mayRelease {
		return
	}
	told := !slices.ContainsFunc(p.membership.present, func(m member.Member) bool {
		s := p.siblings[m.Name]
		return !m.Self && (s == nil || !s.complete)
	})
	if told || time.Since(started) > informedAfter {
		p.mayRelease = true
		p.enqueueAll()
	}
}

// enqueueAll has every root be planned again. p.mu is held.
func (p *Pins) enqueueAll() {
	for c := range p.roots {
		p.work.root(c)
	}
}

// retryEvery is how often the holder is told again of what failed here although others
// hold it, or a site leads to it. The holder decides when it is worth another try.
const retryEvery = time.Minute

func (p *Pins) enqueueFailed() {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for c, r := range p.roots {
		if r.local.Status == record.Failed && len(r.reports)+len(r.sites) > 0 {
			p.work.root(c)
		}
	}
}

// updateMembership sees who is there now, and does what follows if that changed or is the first
// look.
func (p *Pins) updateMembership(first bool) {
	c := p.tracker.look(p.fleet.Members(), time.Now())
	p.mu.RLock()
	same := c.same(p.membership)
	p.mu.RUnlock()
	if same && !first {
		return
	}
	p.setMembership(c)
	if err := p.tracker.save(p.ctx, c); err != nil && p.ctx.Err() == nil {
		p.log.Warn("a restart will not know who was in the fleet", "err", err)
	}
	p.mu.Lock()
	p.followSiblings(c)
	p.enqueueAll()
	p.mu.Unlock()
}

// processQueue looks at everything that changed.
func (p *Pins) processQueue() {
	ids, roots := p.work.take()
	p.refresh(ids)
	for _, c := range roots {
		if p.ctx.Err() != nil {
			return
		}
		p.reconcileRoot(c)
	}
}

// refresh takes in pins that came, went or changed.
func (p *Pins) refresh(ids []string) {
	if len(ids) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		pin, _ := p.list.Get(id)
		p.setPin(id, pin)
	}
}

// setPin notes that a pin is as given, or that there is none (nil). p.mu is held.
func (p *Pins) setPin(id string, pin *record.Pin) {
	old := p.pins[id]
	if old == pin {
		return
	}
	if old != nil {
		delete(p.pins, id)
		p.unlink(old)
	}
	if pin == nil {
		return
	}
	p.pins[id] = pin
	p.edit(record.Root(pin.CID), func(r *root) { r.pins = append(r.pins, pin) })
	if pin.Old.Defined() {
		p.edit(record.Root(pin.Old), func(r *root) { r.successors = append(r.successors, pin) })
	}
}

// unlink takes a pin out of the roots that know of it. p.mu is held.
func (p *Pins) unlink(pin *record.Pin) {
	is := func(other *record.Pin) bool { return other.ID == pin.ID }
	p.edit(record.Root(pin.CID), func(r *root) { r.pins = slices.DeleteFunc(r.pins, is) })
	if pin.Old.Defined() {
		p.edit(record.Root(pin.Old), func(r *root) { r.successors = slices.DeleteFunc(r.successors, is) })
	}
}

// edit changes what is known of a root and has it be looked at. p.mu is held.
func (p *Pins) edit(c cid.Cid, change func(*root)) {
	r := p.at(c)
	p.counts[r.status] -= len(r.pins)
	was := len(r.pins)+len(r.sites) > 0
	change(r)
	p.counts[r.status] += len(r.pins)
	if is := len(r.pins)+len(r.sites) > 0; is != was {
		p.expose(r, is)
	}
	p.replan(r)
	p.work.root(c)
}

// expose notes whether a root is pinned by the fleet, for [Pins.Pinned]. p.mu is held.
func (p *Pins) expose(r *root, pinned bool) {
	hash := string(r.cid.Hash()) // the same bytes may be a root by several codecs
	if pinned {
		if p.exposed[hash]++; p.exposed[hash] == 1 {
			p.hashes.Store(hash, true)
		}
		return
	}
	if p.exposed[hash]--; p.exposed[hash] == 0 {
		delete(p.exposed, hash)
		p.hashes.Delete(hash)
	}
}

// replan brings the status of a root up to date. p.mu is held.
func (p *Pins) replan(r *root) plan {
	j := p.plan(r)
	if j.status != r.status {
		p.counts[r.status] -= len(r.pins)
		p.counts[j.status] += len(r.pins)
		r.status = j.status
		// Whoever is kept until this one is pinned or has failed may go now.
		for _, pin := range r.pins {
			if pin.Old.Defined() {
				p.work.root(record.Root(pin.Old))
			}
		}
	}
	return j
}

// reconcileRoot looks at one root and does what has to be done about it.
func (p *Pins) reconcileRoot(c cid.Cid) {
	state, _ := p.hold.State(c)
	local := state.Report
	p.own.set(c, local)
	p.mu.Lock()
	r := p.at(c)
	r.local = local
	j := p.replan(r)
	release := j.release && p.mayRelease
	imported, wanted := r.imported, j.wanted > 0
	if r.idle() {
		delete(p.roots, c)
	}
	var origins []string
	if j.hold {
		origins = originsOf(r)
	}
	p.mu.Unlock()

	if imported && (!wanted || local.Status == record.Pinned) {
		p.endImport(c)
	}
	switch {
	case j.hold:
		p.hold.Hold(c, origins)
	case release:
		p.hold.Let(c)
		p.work.root(c)
	}
	if j.settle {
		if err := p.hold.Settle(c); err != nil {
			p.log.Warn("remember that a pin has its replicas", "cid", c, "err", err)
			return
		}
		p.work.root(c)
	}
}

// maxOrigins is how many origins of all pins of one root are tried.
const maxOrigins = 4 * record.MaxOrigins

// originsOf returns who the clients say has a root.
func originsOf(r *root) []string {
	var all []string
	for _, pin := range r.pins {
		for _, o := range pin.Origins {
			if len(all) < maxOrigins && !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all
}
