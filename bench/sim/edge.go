package main

import (
	"slices"
	"time"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// edge is one simulated edge.
type edge struct {
	*fleet
	number  int
	name    string
	present bool
	leaving bool

	memory    *lru
	store     disk
	disk      int64                // bytes
	admission *placement.Admission // the real one
	load      *placement.Load      // likewise
	position  int                  // in the ring, -1 if it is not there

	misses  map[int32]*miss   // under way, one per block
	flights map[int32]*flight // likewise, for blocks at home here
	usually map[int]*latency  // of siblings

	served int // wants of siblings
}

func newEdge(f *fleet, number int) *edge {
	e := &edge{
		fleet: f, number: number, name: edgeName(number), present: true, disk: f.Disk * f.weight(number),
		memory: newLRU(f.Memory, cacheOverhead), load: placement.NewLoad(), position: -1,
		misses: map[int32]*miss{}, flights: map[int32]*flight{}, usually: map[int]*latency{},
	}
	if e.store = disk(newS3FIFO(e.disk)); f.LRUDisk {
		e.store = newLRU(e.disk, 0)
	}
	var err error
	e.admission, err = placement.NewAdmission(placement.AdmissionOptions{DiskBytes: e.disk, HotShare: f.HotShare, Remembered: f.Remembered})
	if err != nil {
		panic(err) // flags were validated
	}
	return e
}

// request is a visitor's. done may be nil.
func (e *edge) request(b int32, done func(block.Source)) {
	e.Requests++
	e.Bytes += e.content.size(b)
	w := func(src block.Source) {
		e.count(src)
		if done != nil {
			done(src)
		}
	}
	if e.memory.get(b) {
		w(block.Memory)
		return
	}
	if m := e.misses[b]; m != nil {
		m.waiting = append(m.waiting, w)
		return
	}
	if e.store.get(b) {
		e.memory.put(b, e.content.size(b))
		w(block.Disk)
		return
	}
	m := &miss{edge: e, block: b, waiting: []func(block.Source){w}}
	e.misses[b] = m
	e.Misses++
	m.start()
}

func (e *edge) count(src block.Source) {
	switch src {
	case block.Memory:
		e.FromMemory++
	case block.Disk:
		e.FromDisk++
	case block.Sibling:
		e.FromSibling++
	case block.Origin:
		e.FromOrigin++
	}
}

// member is this edge as the ring sees it. Only the ratio of weights matters; their
// size does not follow the disk's, so that fleets of different sizes share homes.
func (e *edge) member() placement.Member {
	return placement.Member{Name: e.name, Weight: uint64(e.weight(e.number)) << 30}
}

// isHome reports whether this edge is the block's first home.
func (e *edge) isHome(b int32) bool { return e.home(b, 0) == e }

// isAnyHome reports whether this edge is among the block's homes.
func (e *edge) isAnyHome(b int32) bool {
	for rank := range homes {
		if e.home(b, rank) == e {
			return true
		}
	}
	return false
}

// keepHome stores a block that a fill has brought.
func (e *edge) keepHome(b int32) {
	if e.admission.ToDisk(e.content.cids[b], e.content.data(b), true, false) {
		e.store.put(b, e.content.size(b))
	}
}

// keepCopy takes a block that came from a sibling to disk if the admission says so.
func (e *edge) keepCopy(b int32, near bool) {
	if e.admission.ToDisk(e.content.cids[b], e.content.data(b), false, near) {
		e.Copies++
		e.store.put(b, e.content.size(b))
	}
}

// holds reports whether a block is here. It is no use of it.
func (e *edge) holds(b int32) bool { return e.memory.has(b) || e.store.has(b) }

// read fetches a block for a sibling. What is in memory does not count as used.
func (e *edge) read(b int32) bool { return e.memory.has(b) || e.store.get(b) }

// latency is how long a sibling usually takes, as package swarm keeps it.
type latency struct{ mean, deviation time.Duration }

func (e *edge) took(sibling int, d time.Duration) {
	l := e.usually[sibling]
	if l == nil {
		e.usually[sibling] = &latency{d, d / 2}
		return
	}
	l.deviation += ((l.mean - d).Abs() - l.deviation) / 8
	l.mean += (d - l.mean) / 16
}

func (e *edge) hedgeAfter(sibling int) time.Duration {
	d := 2 * e.swarm.ProbeAfter
	if l := e.usually[sibling]; l != nil {
		d = max(d, l.mean+2*l.deviation)
	}
	return min(d, e.swarm.HedgeMax)
}

// miss is an edge's search for a block that it does not have (swarm/get.go).
type miss struct {
	*edge
	block   int32
	relayed bool // siblings wait for it, too
	waiting []func(block.Source)
	open    []*edge // wants that are not answered
	over    bool
}

func (m *miss) start() {
	if m.isHome(m.block) {
		m.fill(m.block, waiter{here: m.end})
		return
	}
	if m.Spread && !m.relayed {
		at := m.load.Choose(m.ring, m.content.cids[m.block].Hash(), m.home(m.block, 0).position, m.position)
		if to := m.edges[m.numbers[at]]; to != m.home(m.block, 0) {
			m.askEdge(to, -1)
			return
		}
	}
	m.ask(0)
}

// ask sends a want to the home of the given rank.
func (m *miss) ask(rank int) { m.askEdge(m.home(m.block, rank), rank) }

// askEdge sends a want to the home of the given rank, or to another edge instead of the
// home when rank is -1.
func (m *miss) askEdge(to *edge, rank int) {
	at := m.clock.now
	if to == nil {
		panic("no home has it, though the origin has everything")
	}
	if to == m.edge {
		m.fill(m.block, waiter{here: m.end})
		return
	}
	m.open = append(m.open, to)
	m.send(&m.WantBlock, 0, func() {
		to.wanted(m.block, waiter{edge: m.edge, reply: func(has bool) {
			m.open = slices.DeleteFunc(m.open, func(e *edge) bool { return e == to })
			switch {
			case m.over:
			case has:
				m.took(to.number, m.clock.now-at)
				m.end(block.Sibling)
			default:
				m.ask(rank + 1)
			}
		}})
	})
	m.clock.after(m.hedgeAfter(to.number), func() { m.hedge(rank + 1) })
}

// hedge asks the next home whether it happens to have the block.
func (m *miss) hedge(rank int) {
	to := m.home(m.block, rank)
	if m.over || rank != 1 || to == nil || to == m.edge {
		return
	}
	m.Hedges++
	m.open = append(m.open, to)
	m.send(&m.WantHave, 0, func() {
		to.asked(m.block, waiter{edge: m.edge, reply: func(has bool) {
			m.open = slices.DeleteFunc(m.open, func(e *edge) bool { return e == to })
			if has && !m.over {
				m.ask(rank)
			}
		}})
	})
}

// end has the block come in.
func (m *miss) end(src block.Source) {
	if m.over {
		return
	}
	m.over = true
	for _, to := range m.open {
		m.send(&m.Cancel, 0, func() { to.unwanted(m.edge, m.block) })
	}
	delete(m.misses, m.block)
	m.memory.put(m.block, m.content.size(m.block))
	if !m.isHome(m.block) {
		m.keepCopy(m.block, m.relayed)
	}
	for _, w := range m.waiting {
		w(src)
	}
}
