package main

// lru is an LRU list of blocks, bounded in bytes: what the memory of an edge is
// (package cache, without its shards), and what caches are compared with.
type lru struct {
	capacity int64
	overhead int64 // charged for each block beside its bytes
	evicted  func(block int32)

	bytes int64
	slots map[int32]int32
	nodes []node // nodes[0] is the head of a ring: next is the newest, prev the oldest
	free  []int32
}

type node struct {
	block, prev, next int32
	size              int32
}

func newLRU(capacity, overhead int64) *lru {
	return &lru{capacity: capacity, overhead: overhead, slots: map[int32]int32{}, nodes: make([]node, 1)}
}

func (l *lru) has(block int32) bool {
	_, ok := l.slots[block]
	return ok
}

// get reports whether the block is there, and counts as a use.
func (l *lru) get(block int32) bool {
	at, ok := l.slots[block]
	if ok {
		l.unlink(at)
		l.push(at)
	}
	return ok
}

// put keeps the block and lets go of the least recently used ones. A block that is
// larger than the whole is not kept.
func (l *lru) put(block int32, size int64) {
	cost := size + l.overhead
	if cost > l.capacity || l.get(block) {
		return
	}
	for l.bytes+cost > l.capacity {
		l.drop(l.nodes[0].prev)
	}
	var at int32
	if n := len(l.free); n > 0 {
		at, l.free = l.free[n-1], l.free[:n-1]
	} else {
		l.nodes = append(l.nodes, node{})
		at = int32(len(l.nodes) - 1)
	}
	l.nodes[at] = node{block: block, size: int32(size)}
	l.push(at)
	l.slots[block] = at
	l.bytes += cost
}

func (l *lru) drop(at int32) {
	n := l.nodes[at]
	l.unlink(at)
	l.free = append(l.free, at)
	delete(l.slots, n.block)
	l.bytes -= int64(n.size) + l.overhead
	if l.evicted != nil {
		l.evicted(n.block)
	}
}

func (l *lru) push(at int32) {
	first := l.nodes[0].next
	l.nodes[at].prev, l.nodes[at].next = 0, first
	l.nodes[first].prev, l.nodes[0].next = at, at
}

func (l *lru) unlink(at int32) {
	n := l.nodes[at]
	l.nodes[n.prev].next, l.nodes[n.next].prev = n.next, n.prev
}

func (l *lru) each(f func(block int32)) {
	for at := l.nodes[0].next; at != 0; at = l.nodes[at].next {
		f(l.nodes[at].block)
	}
}
