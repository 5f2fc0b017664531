package main

import (
	"slices"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// waiter waits for a flight: a visitor's miss of the same edge (here), or another
// edge, to which reply says whether there is a block.
type waiter struct {
	here  func(block.Source)
	edge  *edge
	reply func(has bool)
	have  bool // asked with WANT-HAVE: HAVE will do
}

// flight is a home's fill (swarm/fill.go).
type flight struct {
	*edge
	block    int32
	waiting  []waiter
	asking   []*edge // siblings that have not said whether they have it
	have     []*edge // siblings that said they do
	sender   *edge   // who was asked for it
	atOrigin bool
	over     bool
}

// wanted takes a WANT-BLOCK from a sibling.
func (e *edge) wanted(b int32, w waiter) {
	e.served++
	switch {
	case e.read(b):
		e.answer(b, w, true)
	case e.flights[b] != nil || e.isAnyHome(b):
		e.fill(b, w)
	case e.relays(b, w.edge):
		e.relay(b, w)
	default:
		e.answer(b, w, false)
	}
}

// relays reports whether this edge gets a block for another one from its home.
func (e *edge) relays(b int32, to *edge) bool {
	mh := e.content.cids[b].Hash()
	return e.Spread && e.ring.Rank(mh, e.name, placement.Ranks) >= 0 && e.ring.Before(mh, e.name, to.name)
}

// relay joins this edge's own search for a block, or starts one.
func (e *edge) relay(b int32, w waiter) {
	m := e.misses[b]
	if m == nil {
		m = &miss{edge: e, block: b, relayed: true}
		e.misses[b] = m
		e.Misses++
		defer m.start()
	}
	m.relayed = true
	m.waiting = append(m.waiting, func(block.Source) { e.answer(b, w, true) })
}

// asked takes a WANT-HAVE from a sibling. It causes no fetch.
func (e *edge) asked(b int32, w waiter) {
	w.have = true
	if f := e.flights[b]; !e.holds(b) && f != nil && f.atOrigin {
		f.waiting = append(f.waiting, w)
		return
	}
	e.answer(b, w, e.holds(b))
}

// unwanted takes a CANCEL.
func (e *edge) unwanted(from *edge, b int32) {
	if f := e.flights[b]; f != nil {
		f.waiting = slices.DeleteFunc(f.waiting, func(w waiter) bool { return w.edge == from })
	}
}

// answer replies to a sibling.
func (e *edge) answer(b int32, w waiter, has bool) {
	switch {
	case !has:
		e.send(&e.DontHave, 0, func() { w.reply(false) })
	case w.have:
		e.send(&e.Have, 0, func() { w.reply(true) })
	default:
		e.send(&e.Blocks, e.content.size(b), func() { w.reply(true) })
	}
}

// fill joins the flight for a block, or starts one.
func (e *edge) fill(b int32, w waiter) {
	f := e.flights[b]
	if f == nil {
		f = &flight{edge: e, block: b, waiting: []waiter{w}}
		e.flights[b] = f
		f.find()
		return
	}
	f.waiting = append(f.waiting, w)
}

// find asks those who may well have the block, then the origin.
func (f *flight) find() {
	f.asking = f.holders()
	if len(f.asking) == 0 {
		f.askOrigin()
		return
	}
	for _, to := range slices.Clone(f.asking) {
		f.send(&f.WantHave, 0, func() {
			to.asked(f.block, waiter{edge: f.edge, reply: func(has bool) { f.heard(to, has) }})
		})
	}
}

// holders returns the other home, members that are leaving, and some time after a
// loss everyone; not those who wait for this flight.
func (f *flight) holders() []*edge {
	list := slices.Clone(f.drained)
	for rank := range 2 {
		if other := f.home(f.block, rank); other != nil && other != f.edge {
			list = append(list, other)
			break
		}
	}
	if f.clock.now-f.lossAt < unsettled {
		for _, e := range f.edges {
			if e.present && e != f.edge && !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
	}
	return slices.DeleteFunc(list, func(e *edge) bool {
		return slices.ContainsFunc(f.waiting, func(w waiter) bool { return w.edge == e })
	})
}

// heard deals with what a sibling says to a WANT-HAVE.
func (f *flight) heard(from *edge, has bool) {
	f.asking = slices.DeleteFunc(f.asking, func(e *edge) bool { return e == from })
	if f.over {
		return
	}
	if has {
		f.have = append(f.have, from)
	}
	f.next()
}

// next asks a sibling that has the block for it, and the origin if none has.
func (f *flight) next() {
	switch {
	case f.sender != nil:
	case len(f.have) > 0:
		f.sender, f.have = f.have[0], f.have[1:]
		to := f.sender
		f.send(&f.WantBlock, 0, func() {
			to.handOver(f.block, waiter{edge: f.edge, reply: func(has bool) {
				f.sender = nil
				if has {
					f.land(block.Sibling)
				} else {
					f.next()
				}
			}})
		})
	case len(f.asking) == 0:
		f.askOrigin()
	}
}

// handOver answers a WANT-BLOCK of a sibling that was told HAVE.
func (e *edge) handOver(b int32, w waiter) { e.answer(b, w, e.read(b)) }

func (f *flight) askOrigin() {
	f.atOrigin = true
	f.Fetches++
	f.FetchedBytes += f.content.size(f.block)
	f.clock.after(f.vary(f.Origin), func() { f.land(block.Origin) })
}

// land hands the block to everyone who waits, and stores it.
func (f *flight) land(src block.Source) {
	f.over = true
	for _, to := range f.asking {
		f.send(&f.Cancel, 0, func() { to.unwanted(f.edge, f.block) })
	}
	delete(f.flights, f.block)
	f.keepHome(f.block)
	for _, w := range f.waiting {
		if w.here != nil {
			w.here(src)
		} else {
			f.answer(f.block, w, true)
		}
	}
}
