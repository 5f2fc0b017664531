package main

import (
	"math/rand/v2"

	"github.com/shoal-cdn/shoal/block"
)

// crowdResult is what a crowd at an empty fleet came to.
type crowdResult struct {
	counts
	Unique int
}

func (r crowdResult) fetchesPerBlock() float64 { return float64(r.Fetches) / float64(r.Unique) }
func (r crowdResult) messagesPerMiss() float64 { return ratio(r.Messages(), r.Misses) }

// crowd has every edge asked for every block, in the same order, by a number of
// visitors per edge who each ask for the next block as soon as they have one. With
// inTurn, one edge is asked after the other, by one visitor.
func crowd(s Setup, k *content, visitors int, inTurn bool) crowdResult {
	s.Disk, s.Memory = 2*k.bytes()+1, 0 // nothing has to go
	f := newFleet(s, k)
	if inTurn {
		visitors = 1
	}
	for _, e := range f.edges {
		next := 0
		var visit func(block.Source)
		visit = func(block.Source) {
			if next == k.len() {
				return
			}
			next++
			e.request(int32(next-1), visit)
		}
		for range visitors {
			// Nobody comes at exactly the same moment.
			f.clock.after(f.vary(f.Latency), func() { visit(0) })
		}
		if inTurn {
			f.clock.run()
		}
	}
	f.clock.run()
	return crowdResult{f.counts, k.len()}
}

// churnResult is what became of a settled fleet when its members changed.
type churnResult struct {
	counts
	Unique int
	Moved  int // blocks whose first home changed
	Astray int // of them: neither from nor to the edge that came or went
}

// churnKind is what happens to an edge.
type churnKind string

const (
	joins  churnKind = "joins"
	drains churnKind = "leaves" // what it has is handed on while it drains
	dies   churnKind = "is lost"
)

// churn has each block asked for once somewhere, changes the members, and has each
// asked for once more, somewhere else.
func churn(s Setup, k *content, kind churnKind) churnResult {
	s.Disk, s.Memory = 2*k.bytes()+1, 0
	f := newFleet(s, k)
	rng := rand.New(rand.NewPCG(s.Seed, 2))
	f.each(rng)
	before := make([]*edge, k.len())
	for b := range before {
		before[b] = f.home(int32(b), 0)
	}
	f.reset()
	var changed *edge
	switch kind {
	case joins:
		changed = f.add()
		f.place()
	case drains:
		changed = f.edges[rng.IntN(s.Edges)]
		f.leave(changed)
	case dies:
		changed = f.edges[rng.IntN(s.Edges)]
		f.lose(changed)
	}
	r := churnResult{Unique: k.len()}
	for b := range k.len() {
		from, to := before[b], f.home(int32(b), 0)
		if from == to {
			continue
		}
		r.Moved++
		if from != changed && to != changed {
			r.Astray++
		}
	}
	f.each(rng)
	r.counts = f.counts
	return r
}

// each asks for every block once, at edges of the ring in no particular order.
func (f *fleet) each(rng *rand.Rand) {
	var ring []*edge
	for _, e := range f.edges {
		if e.present && !e.leaving {
			ring = append(ring, e)
		}
	}
	for b := range f.content.len() {
		ring[rng.IntN(len(ring))].request(int32(b), nil)
		f.clock.run()
	}
}
