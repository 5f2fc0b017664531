package cache

import (
	"math"
	"math/bits"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	blocks "github.com/ipfs/go-block-format"
)

// Overhead is what a cached block is charged, in bytes, on top of its payload: an
// LRU element of 96, a map slot of 24 (between 7/16 and 7/8 of a map's slots are
// in use, so up to 57), a block header of 48 and a CID of 48. The key is a part of
// the CID.
const Overhead = 96 + 57 + 48 + 48

// lru is the part of hashicorp's list that takes no lock of its own: a shard has
// one already.
type lru = simplelru.LRU[string, blocks.Block]

// shard holds the blocks whose keys fall to it, and the flights for those that
// are on their way.
type shard struct {
	mu      sync.Mutex // guards what follows; never held while a block is fetched
	budget  int64
	lru     *lru
	bytes   int64
	evicted uint64
	flights map[string]*flight
	closed  bool

	_ [64]byte // keeps the next shard's mutex off this one's cache line
}

func newShard(budget int64) *shard {
	// The number of blocks is not the bound: bytes are. NewLRU fails for sizes
	// below 1 only.
	l, _ := simplelru.NewLRU[string, blocks.Block](math.MaxInt, nil)
	return &shard{budget: budget, lru: l, flights: make(map[string]*flight)}
}

func (s *shard) get(key string) (blocks.Block, bool) {
	s.mu.Lock()
	b, ok := s.lru.Get(key)
	s.mu.Unlock()
	return b, ok
}

func (s *shard) peek(key string) (blocks.Block, bool) {
	s.mu.Lock()
	b, ok := s.lru.Peek(key)
	s.mu.Unlock()
	return b, ok
}

// keep stores b, which is not there yet: a flight starts only for what is not, and
// nothing else stores. It evicts first, so that the budget holds at every moment.
// The caller holds mu.
func (s *shard) keep(b blocks.Block) {
	// The key shares memory with the block's own CID, not with the one that
	// somebody asked with.
	key, cost := keyOf(b.Cid()), charge(b)
	if cost > s.budget || s.closed {
		return
	}
	s.makeRoom(cost)
	s.lru.Add(key, b)
	s.bytes += cost
}

// makeRoom evicts until cost fits. The caller holds mu.
func (s *shard) makeRoom(cost int64) {
	for s.bytes+cost > s.budget && s.lru.Len() > 0 {
		_, old, _ := s.lru.RemoveOldest()
		s.bytes -= charge(old)
		s.evicted++
	}
}

func (s *shard) resize(budget int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = budget
	s.makeRoom(0)
}

// drop forgets one block. The caller holds mu.
func (s *shard) drop(key string) bool {
	b, ok := s.lru.Peek(key)
	if !ok {
		return false
	}
	s.lru.Remove(key)
	s.bytes -= charge(b)
	return true
}

func (s *shard) remove(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, key) // a flight that is not listed keeps nothing
	return s.drop(key)
}

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru, _ = simplelru.NewLRU[string, blocks.Block](math.MaxInt, nil)
	s.bytes = 0
	clear(s.flights)
}

func (s *shard) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.clear()
}

// charge is the memory, in bytes, that keeping b costs.
func charge(b blocks.Block) int64 {
	// The capacity: a slice of a larger buffer holds on to all that follows it.
	return allocated(int64(cap(b.RawData()))) + Overhead
}

// allocated is what Go's allocator takes for n bytes, within an eighth: whole 8
// KiB pages above 32 KiB, and below it size classes, of which there are about
// eight to each power of two (runtime/sizeclasses.go).
func allocated(n int64) int64 {
	const page, largestClass = 8 << 10, 32 << 10
	step := int64(page)
	if n <= largestClass {
		step = max(8, int64(1)<<max(0, bits.Len64(uint64(n))-4))
	}
	return (n + step - 1) &^ (step - 1)
}
