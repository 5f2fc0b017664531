package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-cdn/shoal/swarm"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// Setup is a fleet to be simulated.
type Setup struct {
	Edges  int
	Memory int64 // bytes per edge
	Disk   int64 // bytes per edge of weight 1
	// Weights are multiples of Disk, taken in turn; none: all have 1.
	Weights []int64
	// HotShare and Remembered are those of [placement.AdmissionOptions].
	HotShare   float64
	Remembered int
	Spread     bool // hot blocks whose home has too much to do are asked of the next in rank
	LRUDisk    bool // the disk evicts like an LRU list, not like package blockstore

	Latency   time.Duration // one way between two edges, on average
	Origin    time.Duration // how long the origin takes, on average
	Bandwidth int64         // bytes per second between two edges
	Seed      uint64
}

// These are not exported by package swarm.
const (
	homes     = 3               // of a block that are ever asked
	unsettled = 2 * time.Minute // after a loss, a home asks everyone
	// cacheOverhead is what package cache charges a block beside its bytes.
	cacheOverhead = 249
)

// fleet is a number of edges, the network between them, and an origin that has
// everything. All edges always agree about who is there.
type fleet struct {
	Setup
	clock   clock
	rng     *rand.Rand
	swarm   swarm.Options
	content *content
	edges   []*edge // all there ever were
	ring    *placement.Ring
	numbers []int32 // of the edges, by position in the ring
	homesOf []int32 // see content.place
	drained []*edge // they have left and still answer
	lossAt  time.Duration

	counts
}

// counts is what happened.
type counts struct {
	Requests int
	Bytes    int64
	// Where their blocks came from. Who joined a fetch counts like who began it.
	FromMemory, FromDisk, FromSibling, FromOrigin int

	Misses       int // fetches that edges began, of blocks that they did not have
	Fetches      int // of blocks, by homes, from the origin
	FetchedBytes int64
	// What crossed the network between edges. Entries of a message count one by
	// one, although Bitswap sends several at once where it can.
	WantBlock, WantHave, Have, DontHave, Blocks, Cancel int
	Hedges                                              int
	Copies                                              int // blocks taken to disk that are at home elsewhere
}

// Messages is all that crossed the network between edges.
func (c *counts) Messages() int {
	return c.WantBlock + c.WantHave + c.Have + c.DontHave + c.Blocks + c.Cancel
}

func newFleet(s Setup, k *content) *fleet {
	f := &fleet{Setup: s, content: k, swarm: swarm.DefaultOptions(), rng: rand.New(rand.NewPCG(s.Seed, 1)), lossAt: -unsettled}
	for range s.Edges {
		f.add()
	}
	f.place()
	return f
}

// add makes an edge. It is in the ring once place was called.
func (f *fleet) add() *edge {
	e := newEdge(f, len(f.edges))
	f.edges = append(f.edges, e)
	return e
}

// weight is the disk of the i-th edge, as a multiple of s.Disk.
func (s Setup) weight(i int) int64 {
	if len(s.Weights) == 0 {
		return 1
	}
	return s.Weights[i%len(s.Weights)]
}

func edgeName(i int) string { return fmt.Sprintf("edge-%d", i) }

// place makes the ring of the edges that are present.
func (f *fleet) place() {
	var list []placement.Member
	byName := map[string]int32{}
	for _, e := range f.edges {
		if e.present && !e.leaving {
			list = append(list, e.member())
			byName[e.name] = int32(e.number)
		}
	}
	f.ring = placement.NewRing(list)
	f.numbers = make([]int32, f.ring.Len())
	for _, e := range f.edges {
		e.position = -1
	}
	for i := range f.numbers {
		f.numbers[i] = byName[f.ring.Member(i).Name]
		f.edges[f.numbers[i]].position = i
	}
	f.homesOf = f.content.place(f.ring)
}

// home returns the block's home of the given rank, nil if there is none.
func (f *fleet) home(block int32, rank int) *edge {
	if rank >= homes {
		return nil
	}
	at := f.homesOf[homes*int(block)+rank]
	if at < 0 {
		return nil
	}
	return f.edges[f.numbers[at]]
}

// send has something arrive at a sibling. count is what it is counted as.
func (f *fleet) send(count *int, bytes int64, arrive func()) {
	*count++
	d := f.vary(f.Latency)
	if f.Bandwidth > 0 {
		d += time.Duration(float64(bytes) / float64(f.Bandwidth) * float64(time.Second))
	}
	f.clock.after(d, arrive)
}

// vary spreads a duration evenly from half of it to one and a half.
func (f *fleet) vary(d time.Duration) time.Duration {
	return d/2 + time.Duration(f.rng.Float64()*float64(d))
}

// reset forgets what was counted.
func (f *fleet) reset() {
	f.counts = counts{}
	for _, e := range f.edges {
		e.served = 0
	}
}

// leave has an edge drain: it is out of the ring, and still answers.
func (f *fleet) leave(e *edge) {
	e.leaving = true
	f.drained = append(f.drained, e)
	f.place()
}

// lose has an edge vanish with all that it has.
func (f *fleet) lose(e *edge) {
	e.present, e.leaving = false, false
	f.drained = slices.DeleteFunc(f.drained, func(d *edge) bool { return d == e })
	f.lossAt = f.clock.now
	f.place()
}
