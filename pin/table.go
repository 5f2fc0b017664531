package pin

import (
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// table has every DAG that somebody wants or holds, with the pins that want it, and says
// who is to hold it ([table.plan]). It does nothing about it.
type table struct {
	perPin int   // how many edges hold a pin that does not say it
	work   queue // roots and pins that changed

	mu         sync.RWMutex // guards what follows
	membership *membership
	roots      map[cid.Cid]*root
	pins       map[string]*record.Pin // by ID: those that roots have
	counts     map[record.Status]int  // of pins
	// exposed counts the roots that are pinned by the fleet, by multihash.
	exposed map[string]int

	// hashes has the keys of exposed, for readers that must not wait.
	hashes sync.Map
}

func newTable(perPin int) *table {
	return &table{
		perPin: perPin, work: newQueue(), roots: map[cid.Cid]*root{}, pins: map[string]*record.Pin{},
		counts: map[record.Status]int{}, exposed: map[string]int{},
	}
}

// at returns the root, which may be a new one. table.mu is held.
func (t *table) at(c cid.Cid) *root {
	r := t.roots[c]
	if r == nil {
		r = &root{cid: c}
		t.roots[c] = r
	}
	return r
}

// Listed reports whether c is the root of something that the fleet pins, whatever the
// version and codec of the CID. It is quick.
func (t *table) Listed(c cid.Cid) bool {
	if !c.Defined() {
		return false
	}
	_, ok := t.hashes.Load(string(c.Hash()))
	return ok
}

// enqueueAll has every root be planned again. table.mu is held.
func (t *table) enqueueAll() {
	for c := range t.roots {
		t.work.root(c)
	}
}

func (t *table) enqueueFailed() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for c, r := range t.roots {
		if r.local.Status == record.Failed && len(r.reports)+len(r.sites) > 0 {
			t.work.root(c)
		}
	}
}

// setPin notes that a pin is as given, or that there is none (nil). table.mu is held.
func (t *table) setPin(id string, pin *record.Pin) {
	old := t.pins[id]
	if old == pin {
		return
	}
	if old != nil {
		delete(t.pins, id)
		t.unlink(old)
	}
	if pin == nil {
		return
	}
	t.pins[id] = pin
	t.edit(record.Root(pin.CID), func(r *root) { r.pins = append(r.pins, pin) })
	if pin.Old.Defined() {
		t.edit(record.Root(pin.Old), func(r *root) { r.successors = append(r.successors, pin) })
	}
}

// unlink takes a pin out of the roots that know of it. table.mu is held.
func (t *table) unlink(pin *record.Pin) {
	is := func(other *record.Pin) bool { return other.ID == pin.ID }
	t.edit(record.Root(pin.CID), func(r *root) { r.pins = slices.DeleteFunc(r.pins, is) })
	if pin.Old.Defined() {
		t.edit(record.Root(pin.Old), func(r *root) { r.successors = slices.DeleteFunc(r.successors, is) })
	}
}

// edit changes what is known of a root and has it be looked at. table.mu is held.
func (t *table) edit(c cid.Cid, change func(*root)) {
	r := t.at(c)
	t.counts[r.status] -= len(r.pins)
	was := len(r.pins)+len(r.sites) > 0
	change(r)
	t.counts[r.status] += len(r.pins)
	if is := len(r.pins)+len(r.sites) > 0; is != was {
		t.expose(r, is)
	}
	t.replan(r)
	t.work.root(c)
}

// expose notes whether a root is pinned by the fleet, for [Pins.Pinned]. table.mu is held.
func (t *table) expose(r *root, pinned bool) {
	hash := string(r.cid.Hash()) // the same bytes may be a root by several codecs
	if pinned {
		if t.exposed[hash]++; t.exposed[hash] == 1 {
			t.hashes.Store(hash, true)
		}
		return
	}
	if t.exposed[hash]--; t.exposed[hash] == 0 {
		delete(t.exposed, hash)
		t.hashes.Delete(hash)
	}
}

// replan brings the status of a root up to date. table.mu is held.
func (t *table) replan(r *root) plan {
	j := t.plan(r)
	if j.status != r.status {
		t.counts[r.status] -= len(r.pins)
		t.counts[j.status] += len(r.pins)
		r.status = j.status
		// Whoever is kept until this one is pinned or has failed may go now.
		for _, pin := range r.pins {
			if pin.Old.Defined() {
				t.work.root(record.Root(pin.Old))
			}
		}
	}
	return j
}

// Counts returns how many pins there are in each status.
func (t *table) Counts() map[record.Status]int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	counts := map[record.Status]int{}
	for _, s := range []record.Status{record.Queued, record.Pinning, record.Pinned, record.Failed} {
		counts[s] = t.counts[s]
	}
	return counts
}

// statusNow returns the status of a pin.
func (t *table) statusNow(pin *record.Pin) record.Status {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r := t.roots[record.Root(pin.CID)]; r != nil && r.status != "" {
		return r.status
	}
	return record.Queued // the list has it, and this package is about to hear of it
}

func (t *table) self() string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.membership.self.Name
}
