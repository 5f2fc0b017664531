package cache

import (
	"math"
	"math/bits"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// Overhead is what a cached block is charged, in bytes, on top of its payload: an
// LRU element of 96, a map slot of 24 (between 7/16 and 7/8 of a map's slots are
// in use, so up to 57), a block header of 48, a CID of 48, and what is counted of its
// uses. The key is a part of the CID.
const Overhead = 96 + 57 + 48 + 48 + 32

// item is a block in memory.
type item struct {
	b    *block.Verified
	last uint32 // the moment of the last use that was counted
	uses uint32 // how many were counted

	// Something stands for the block that is kept elsewhere, so many times. Such an
	// item is in held and not in lru.
	holds int
	bytes int64 // what was said to be held
}

// lru is the part of hashicorp's list that takes no lock of its own: a shard has
// one already.
type lru = simplelru.LRU[string, *item]

// shard holds the blocks whose keys fall to it, and the flights for those that
// are on their way.
type shard struct {
	mu      sync.Mutex // guards what follows; never held while a block is fetched
	budget  int64
	lru     *lru
	held    map[string]*item
	bytes   int64 // of the blocks in lru
	evicted uint64
	flights map[flightKey]*flight
	closed  bool

	_ [64]byte // keeps the next shard's mutex off this one's cache line
}

func newShard(budget int64) *shard {
	return &shard{budget: budget, lru: newLRU(), held: map[string]*item{}, flights: map[flightKey]*flight{}}
}

// newLRU returns an empty list. The number of blocks is not the bound: bytes are.
func newLRU() *lru {
	l, _ := simplelru.NewLRU[string, *item](math.MaxInt, nil) // fails for sizes below 1 only
	return l
}

// get returns a block, as the one that was used last. first says that this is its first
// use in this moment.
func (s *shard) get(key string, moment uint32) (b *block.Verified, first, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.lru.Get(key)
	if !ok {
		if it, ok = s.held[key]; !ok || it.b == nil {
			return nil, false, false
		}
	}
	if first = it.last != moment; first {
		it.last = moment
		it.uses++
	}
	return it.b, first, true
}

func (s *shard) peek(key string) (*block.Verified, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.lru.Peek(key)
	if !ok {
		it, ok = s.held[key]
	}
	if !ok || it.b == nil {
		return nil, false
	}
	return it.b, true
}

// find is peek, as the one that was used last. The caller holds mu.
func (s *shard) find(key string) (*block.Verified, bool) {
	if it, ok := s.lru.Get(key); ok {
		return it.b, true
	}
	if it, ok := s.held[key]; ok && it.b != nil {
		return it.b, true
	}
	return nil, false
}

// keep stores b, unless it is there. It evicts first, so that the budget holds at every
// moment. The caller holds mu.
func (s *shard) keep(b *block.Verified) {
	// The key shares memory with the block's own CID, not with the one that
	// somebody asked with.
	key := block.Key(b.Cid())
	if _, there := s.find(key); there || s.closed {
		return
	}
	if it := s.held[key]; it != nil {
		it.b = b // it was purged, and is here again
		return
	}
	s.add(key, &item{b: b})
}

// add puts an item into the list, if it fits. The caller holds mu.
func (s *shard) add(key string, it *item) {
	cost := charge(it.b)
	if cost > s.budget {
		return
	}
	s.makeRoom(cost)
	s.lru.Add(key, it)
	s.bytes += cost
}

// makeRoom evicts until cost fits. The caller holds mu.
func (s *shard) makeRoom(cost int64) {
	for s.bytes+cost > s.budget && s.lru.Len() > 0 {
		_, old, _ := s.lru.RemoveOldest()
		s.bytes -= charge(old.b)
		s.evicted++
	}
}

func (s *shard) resize(budget int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = budget
	s.makeRoom(0)
}

// take takes a block off the list. The caller holds mu.
func (s *shard) take(key string) (*item, bool) {
	it, ok := s.lru.Peek(key)
	if ok {
		s.lru.Remove(key)
		s.bytes -= charge(it.b)
	}
	return it, ok
}

// hold takes a block off the list for as long as it is held, and returns the bytes that
// were not held before.
func (s *shard) hold(b *block.Verified) int64 {
	key := block.Key(b.Cid())
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.held[key]; it != nil {
		it.holds++
		if it.b == nil {
			it.b = b // it was purged, and is here again
		}
		return 0
	}
	it, ok := s.take(key)
	if !ok {
		it = &item{}
	}
	// The bytes of whoever holds it, not another copy of them.
	it.b, it.holds, it.bytes = b, 1, charge(b)
	s.held[key] = it
	return it.bytes
}

// release ends a hold. The last one leaves the block to the list, as new.
func (s *shard) release(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.held[key]
	if it == nil {
		return 0
	}
	if it.holds--; it.holds > 0 {
		return 0
	}
	delete(s.held, key)
	bytes := it.bytes
	if it.b != nil && !s.closed {
		it.holds, it.bytes = 0, 0
		s.add(key, it)
	}
	return bytes
}

// remove forgets one block, and has the flights under way not bring it back.
func (s *shard) remove(key string) (b *block.Verified, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fill := range []bool{false, true} {
		delete(s.flights, flightKey{key, fill}) // a flight that is not listed keeps nothing
	}
	if it, ok := s.take(key); ok {
		return it.b, true
	}
	if it := s.held[key]; it != nil && it.b != nil {
		b, it.b = it.b, nil
		return b, true
	}
	return nil, false
}

func (s *shard) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru, s.bytes = newLRU(), 0
	for _, it := range s.held {
		it.b = nil
	}
	clear(s.flights)
}

func (s *shard) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.clear()
}

// heat says how much a block was used.
type heat struct {
	id   cid.Cid
	size int64
	uses uint32
}

// heats appends the blocks that were used.
func (s *shard) heats(to []heat) []heat {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(it *item) {
		if it.b != nil && it.uses > 0 {
			to = append(to, heat{it.b.Cid(), int64(len(it.b.RawData())), it.uses})
		}
	}
	for _, it := range s.lru.Values() {
		add(it)
	}
	for _, it := range s.held {
		add(it)
	}
	return to
}

// charge is the memory, in bytes, that keeping b costs.
func charge(b *block.Verified) int64 {
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
