package main

import (
	"math/rand/v2"
	"time"
)

// offloadResult compares fleets and caches on one trace: what share of the requests
// each of them kept from the origin.
type offloadResult struct {
	counts
	Fleet float64
	// One is an LRU list of the summed size.
	One float64
	// OneStore is the same size with the eviction of the edges' disks: what a
	// fleet loses against it, it loses by being many.
	OneStore float64
	// Separate is edges that do not know each other.
	Separate float64
	// Copying is edges that ask all others, and keep what they get.
	Copying         float64
	CopyingMessages float64 // per miss
	FleetBytes      float64 // the same as Fleet and One, in bytes
	OneBytes        float64
	// Distinct is the bytes of the different blocks that the fleet held in the end,
	// of all the bytes that it may hold.
	Distinct float64
	// CopyShare is the bytes on disks of blocks that are at home elsewhere, of what
	// the disks may hold.
	CopyShare float64
	// Hottest is the most wants that an edge served, over the mean.
	Hottest float64
}

func (r offloadResult) ratio() float64      { return r.Fleet / r.One }
func (r offloadResult) bytesRatio() float64 { return r.FleetBytes / r.OneBytes }

// visits says which edge each request goes to: any, whatever it is for.
func visits(edges, requests int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 4))
	list := make([]int32, requests)
	for i := range list {
		list[i] = int32(rng.IntN(edges))
	}
	return list
}

// offload replays a trace, a request each interval. s.Disk and s.Memory together are
// what the caches that the fleet is compared with have for each edge.
func offload(s Setup, t *trace, interval time.Duration, compare bool) offloadResult {
	at := visits(s.Edges, len(t.requests), s.Seed)
	f := newFleet(s, t.content)
	f.replay(t, at, interval)
	n := float64(len(t.requests))
	r := offloadResult{counts: f.counts}
	r.Fleet = 1 - float64(f.Fetches)/n
	r.FleetBytes = 1 - float64(f.FetchedBytes)/float64(f.Bytes)
	r.Distinct = float64(f.distinct()) / float64(f.capacity())
	r.CopyShare = f.copyShare()
	served, even := make([]int, s.Edges), make([]float64, s.Edges)
	for i, e := range f.edges {
		served[i], even[i] = e.served, float64(e.disk)
	}
	r.Hottest = hottest(served, even)
	r.One, r.OneBytes = replayOne(newLRU(f.capacity(), 0), t)
	if compare {
		r.OneStore, _ = replayOne(newS3FIFO(f.capacity()), t)
		r.Separate = separate(f, t, at)
		r.Copying, r.CopyingMessages = copying(f, t, at)
	}
	return r
}

func hottest(served []int, weights []float64) float64 {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	for i := range weights {
		weights[i] /= sum
	}
	_, most := extremes(served, weights)
	return most
}

func (f *fleet) capacity() int64 {
	var sum int64
	for _, e := range f.edges {
		sum += e.disk + f.Memory
	}
	return sum
}

func (f *fleet) replay(t *trace, at []int32, interval time.Duration) {
	i := 0
	var next func()
	next = func() {
		if i == len(t.requests) {
			return
		}
		f.edges[at[i]].request(t.requests[i], nil)
		i++
		f.clock.after(interval, next)
	}
	next()
	f.clock.run()
}

// distinct is the size of all blocks that at least one edge holds.
func (f *fleet) distinct() int64 {
	held := make([]bool, f.content.len())
	var sum int64
	see := func(b int32) {
		if !held[b] {
			held[b] = true
			sum += f.content.size(b)
		}
	}
	for _, e := range f.edges {
		e.memory.each(see)
		e.store.each(see)
	}
	return sum
}

// copyShare is how much of the disks is taken by what is not at home there.
func (f *fleet) copyShare() float64 {
	var copies, all int64
	for _, e := range f.edges {
		all += e.disk
		e.store.each(func(b int32) {
			if !e.isHome(b) {
				copies += f.content.size(b)
			}
		})
	}
	return float64(copies) / float64(all)
}

// replayOne replays a trace on a single cache.
func replayOne(c disk, t *trace) (offload, offloadBytes float64) {
	misses := 0
	var missed, all int64
	for _, b := range t.requests {
		all += t.content.size(b)
		if !c.get(b) {
			misses++
			missed += t.content.size(b)
			c.put(b, t.content.size(b))
		}
	}
	return 1 - ratio(misses, len(t.requests)), 1 - float64(missed)/float64(all)
}

// caches are the LRU caches that a fleet is compared with, of its edges' sizes.
func caches(f *fleet) []*lru {
	list := make([]*lru, len(f.edges))
	for i, e := range f.edges {
		list[i] = newLRU(e.disk+f.Memory, 0)
	}
	return list
}

// separate replays a trace on caches that do not know each other.
func separate(f *fleet, t *trace, at []int32) float64 {
	all, misses := caches(f), 0
	for i, b := range t.requests {
		if c := all[at[i]]; !c.get(b) {
			misses++
			c.put(b, t.content.size(b))
		}
	}
	return 1 - ratio(misses, len(t.requests))
}

// copying replays a trace on caches that ask all others what they have, and take
// copies of it, as Bitswap peers do by themselves.
func copying(f *fleet, t *trace, at []int32) (offload, messagesPerMiss float64) {
	all, fetches, misses, messages := caches(f), 0, 0, 0
	holders := make([]int32, t.content.len())
	for _, c := range all {
		c.evicted = func(b int32) { holders[b]-- }
	}
	for i, b := range t.requests {
		c := all[at[i]]
		if c.get(b) {
			continue
		}
		misses++
		messages += 2 * (len(all) - 1) // WANT-HAVE, and HAVE or DONT_HAVE
		if holders[b] == 0 {
			fetches++
		} else {
			messages += 2 // WANT-BLOCK, and the block
		}
		if c.put(b, t.content.size(b)); c.has(b) {
			holders[b]++
		}
	}
	return 1 - ratio(fetches, len(t.requests)), ratio(messages, misses)
}
