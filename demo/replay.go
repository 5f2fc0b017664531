package demo

import (
	"container/list"
	"fmt"
)

// A byteLRU is a simulated cache: of blocks, bounded by the sum of their sizes,
// which forgets the least recently used one first. It costs nothing but the bytes.
type byteLRU struct {
	capacity, bytes int64
	order           *list.List // of cachedBlock, the least recently used at the back
	blocks          map[blockID]*list.Element
}

// blockID is a block of a file.
type blockID struct {
	file   string
	number int64
}

type cachedBlock struct {
	blockID
	size int64
}

func newByteLRU(capacity int64) *byteLRU {
	return &byteLRU{capacity: capacity, order: list.New(), blocks: map[blockID]*list.Element{}}
}

// ask uses a block and reports whether it was there. It is there afterwards, unless
// it is larger than the whole cache.
func (c *byteLRU) ask(id blockID, size int64) bool {
	if e, ok := c.blocks[id]; ok {
		c.order.MoveToFront(e)
		return true
	}
	if size > c.capacity {
		return false
	}
	for c.bytes+size > c.capacity {
		last := c.order.Remove(c.order.Back()).(cachedBlock)
		delete(c.blocks, last.blockID)
		c.bytes -= last.size
	}
	c.blocks[id] = c.order.PushFront(cachedBlock{id, size})
	c.bytes += size
	return false
}

// replay sends requests through caches of the given number of bytes each, which take
// turns, and returns the bytes that they had to fetch after the first ones, which
// fill them.
func replay(filling, requests []request, caches int, capacity int64) (missed int64) {
	lrus := make([]*byteLRU, caches)
	for i := range lrus {
		lrus[i] = newByteLRU(capacity)
	}
	for _, r := range [][]request{filling, requests} {
		missed = 0
		for i, r := range r {
			missed += lrus[i%caches].serve(r)
		}
	}
	return missed
}

// serve asks for the blocks of a request and returns the bytes that were not there.
func (c *byteLRU) serve(r request) (missed int64) {
	for at := r.offset; at < r.offset+r.length; at += chunk {
		size := min(chunk, r.offset+r.length-at)
		if !c.ask(blockID{r.file, at / chunk}, size) {
			missed += size
		}
	}
	return missed
}

// Lines are the two fleets that a real one is compared with, in bytes that the
// origin sends for each request. Both are computed: the requests of the crowd are
// replayed, in their order, through simulated LRU caches.
type Lines struct {
	// Separate is what as many edges would ask for that share nothing, each with
	// as many bytes as a real one has in memory and on disk.
	Separate float64 `json:"separate"`
	// Ideal is a single cache with the bytes of all edges together.
	Ideal float64 `json:"ideal"`
}

// saved returns what a fleet spared its origin as a share of what the ideal cache
// would have spared it.
func (l Lines) saved(r Result) float64 {
	sent := float64(r.Bytes) / float64(max(r.Requests, 1))
	if ideal := sent - l.Ideal; ideal > 0 {
		return (sent - r.OriginBytesPerRequest) / ideal
	}
	return 1
}

// compareWith computes the lines for a number of edges.
func compareWith(filling, requests []request, edges int, capacity int64) Lines {
	n := max(float64(len(requests)), 1)
	return Lines{
		Separate: float64(replay(filling, requests, edges, capacity)) / n,
		Ideal:    float64(replay(filling, requests, 1, int64(edges)*capacity)) / n,
	}
}

func edgesText(n int) string {
	if n == 1 {
		return "1 edge"
	}
	return fmt.Sprintf("%d edges", n)
}
