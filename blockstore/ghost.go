package blockstore

// ghost remembers, in four bytes each, blocks that were evicted before anyone
// used them. One of them coming back was evicted too early, and goes straight to
// the main segments. A slot is overwritten by the next block that falls on it,
// which is forgetting enough.
type ghost struct {
	slots []uint32
}

// fit sizes the memory for a store of n blocks. It is emptied when it grows; by
// the time that anything is evicted, n hardly changes.
func (g *ghost) fit(n int64) {
	if int64(len(g.slots)) >= n {
		return
	}
	g.slots = make([]uint32, max(1024, n+n/4))
}

func (g *ghost) add(k key) {
	if len(g.slots) > 0 {
		*g.slot(k) = k[2] | 1
	}
}

// take reports whether k was remembered, and forgets it.
func (g *ghost) take(k key) bool {
	if len(g.slots) == 0 || *g.slot(k) != k[2]|1 {
		return false
	}
	*g.slot(k) = 0
	return true
}

func (g *ghost) slot(k key) *uint32 {
	return &g.slots[(uint64(k[0])<<32|uint64(k[1]))%uint64(len(g.slots))]
}
