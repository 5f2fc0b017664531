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

// controller brings what is wanted and what is held together. Only its goroutine decides.
type controller struct {
	*gossip
	list    pinList
	hold    holder
	imports Imports // nil: nothing is imported here
	tracker *tracker
	every   time.Duration // how often the members of the fleet are looked at
	adopt   func()        // makes pins of imports that have none
	// mayRelease says that this edge knows enough to let go of something; guarded by
	// table.mu.
	mayRelease bool
}

// informedAfter is how long an edge that starts waits for what its siblings hold before
// it lets go of what nobody seems to want, or of what others seem to hold.
const informedAfter = 10 * time.Second

// reconcile brings what is wanted and what is held together until Close. It alone calls
// the holder's Hold and Let, so that these come in the order of the decisions.
func (ctl *controller) reconcile(ready <-chan struct{}) {
	if ready != nil {
		select {
		case <-ready:
		case <-ctl.ctx.Done():
			return
		}
	}
	look := time.NewTicker(ctl.every)
	defer look.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	started := time.Now()
	ctl.updateMembership(true)
	ctl.adopt()
	for {
		ctl.allowRelease(started)
		ctl.processQueue()
		select {
		case <-ctl.work.kick:
		case <-look.C:
			ctl.updateMembership(false)
		case <-retry.C:
			ctl.enqueueFailed()
		case <-ctl.ctx.Done():
			return
		}
	}
}

// allowRelease has this edge let go of things once every sibling has said what it holds.
func (ctl *controller) allowRelease(started time.Time) {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	if ctl.mayRelease {
		return
	}
	told := !slices.ContainsFunc(ctl.membership.present, func(m member.Member) bool {
		s := ctl.others[m.Name]
		return !m.Self && (s == nil || !s.complete)
	})
	if told || time.Since(started) > informedAfter {
		ctl.mayRelease = true
		ctl.enqueueAll()
	}
}

// retryEvery is how often the holder is told again of what failed here although others
// hold it, or a site leads to it. The holder decides when it is worth another try.
const retryEvery = time.Minute

// updateMembership sees who is there now, and does what follows if that changed or is the
// first look.
func (ctl *controller) updateMembership(first bool) {
	c := ctl.tracker.look(ctl.fleet.Members(), time.Now())
	ctl.mu.RLock()
	same := c.same(ctl.membership)
	ctl.mu.RUnlock()
	if same && !first {
		return
	}
	ctl.setMembership(c)
	if err := ctl.tracker.save(ctl.ctx, c); err != nil && ctl.ctx.Err() == nil {
		ctl.log.Warn("a restart will not know who was in the fleet", "err", err)
	}
	ctl.mu.Lock()
	ctl.followSiblings(c)
	ctl.enqueueAll()
	ctl.mu.Unlock()
}

// processQueue looks at everything that changed.
func (ctl *controller) processQueue() {
	ids, roots := ctl.work.take()
	ctl.refresh(ids)
	for _, c := range roots {
		if ctl.ctx.Err() != nil {
			return
		}
		ctl.reconcileRoot(c)
	}
}

// refresh takes in pins that came, went or changed.
func (ctl *controller) refresh(ids []string) {
	if len(ids) == 0 {
		return
	}
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	for _, id := range ids {
		pin, _ := ctl.list.Get(id)
		ctl.setPin(id, pin)
	}
}

// reconcileRoot looks at one root and does what has to be done about it.
func (ctl *controller) reconcileRoot(c cid.Cid) {
	state, _ := ctl.hold.State(c)
	local := state.Report
	ctl.own.set(c, local)
	ctl.mu.Lock()
	r := ctl.at(c)
	r.local = local
	j := ctl.replan(r)
	release := j.release && ctl.mayRelease
	imported, wanted := r.imported, j.wanted > 0
	if r.idle() {
		delete(ctl.roots, c)
	}
	var origins []string
	if j.hold {
		origins = originsOf(r)
	}
	ctl.mu.Unlock()

	if imported && (!wanted || local.Status == record.Pinned) {
		ctl.endImport(c)
	}
	switch {
	case j.hold:
		ctl.hold.Hold(c, origins)
	case release:
		ctl.hold.Let(c)
		ctl.work.root(c)
	}
	if j.settle {
		if err := ctl.hold.Settle(c); err != nil {
			ctl.log.Warn("remember that a pin has its replicas", "cid", c, "err", err)
			return
		}
		ctl.work.root(c)
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
