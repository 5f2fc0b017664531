package gateway

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// hotStore keeps routes: what is answered to plain requests for one URL. A look-up
// takes no lock and writes to no memory that others read, so that it costs the
// same however many processors ask for the same page. Whoever adds or removes takes
// the one mutex; that happens when an answer was assembled from blocks, which costs
// a hundred times as much.
//
// What goes when the room is needed, SIEVE decides (Zhang et al., "SIEVE is Simpler
// than LRU", NSDI 2024): a hit leaves a mark and moves nothing, and what was asked
// for only once goes first.
type hotStore struct {
	borrow func(delta int64)

	hostSeed, uriSeed maphash.Seed
	buckets           []atomic.Pointer[hotLink]

	// generation changes when routes that were captured until now may be wrong.
	generation atomic.Uint64

	mu             sync.Mutex // guards what follows
	capacity       int64
	newest, oldest *route
	hand           *route // where SIEVE looks next
	bytes          int64
	borrowed       int64
	count          int
}

// hotLink is one link of a bucket's chain. It never changes: who removes a route
// makes a new chain.
type hotLink struct {
	route *route
	next  *hotLink
}

const (
	// borrowStep keeps the block cache's shards from being resized all the time.
	borrowStep = 1 << 20
	// routeShare is the part of the store that one route may take.
	routeShare = 8
)

// newHotStore makes a store of so many bytes. It takes them from whoever is behind
// borrow as it needs them, and gives them back; borrow may be nil.
func newHotStore(capacity int64, borrow func(int64)) *hotStore {
	n := max(1<<10, min(capacity>>12, 1<<18))
	if borrow == nil {
		borrow = func(int64) {}
	}
	return &hotStore{
		capacity: capacity, borrow: borrow,
		hostSeed: maphash.MakeSeed(), uriSeed: maphash.MakeSeed(),
		buckets: make([]atomic.Pointer[hotLink], 1<<(bits.Len64(uint64(n))-1)),
	}
}

func (s *hotStore) hash(host, uri string) uint64 {
	return maphash.String(s.uriSeed, uri) ^ bits.RotateLeft64(maphash.String(s.hostSeed, host), 1)
}

func (s *hotStore) bucket(hash uint64) *atomic.Pointer[hotLink] {
	return &s.buckets[hash&uint64(len(s.buckets)-1)]
}

// lookup finds the route of a URL, given as its host and request target.
func (s *hotStore) lookup(host, uri string) *route {
	hash := s.hash(host, uri)
	for l := s.bucket(hash).Load(); l != nil; l = l.next {
		if l.route.hash == hash && l.route.uri == uri && l.route.host == host {
			return l.route
		}
	}
	return nil
}

// add keeps a route in place of the one with the same URL, unless it is too large
// or was captured before the last change of generation.
func (s *hotStore) add(r *route, generation uint64) {
	r.hash = s.hash(r.host, r.uri)
	cost := r.cost()
	s.mu.Lock()
	defer s.mu.Unlock()
	if cost > s.capacity/routeShare || s.generation.Load() != generation {
		return
	}
	if old := s.lookup(r.host, r.uri); old != nil {
		s.remove(old)
	}
	for s.bytes+cost > s.capacity {
		s.evict()
	}
	s.bytes += cost
	s.settle()
	b := s.bucket(r.hash)
	b.Store(&hotLink{r, b.Load()})
	r.older, s.newest = s.newest, r
	if r.older != nil {
		r.older.newer = r
	} else {
		s.oldest = r
	}
	s.count++
}

// largest is what one route may cost.
func (s *hotStore) largest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity / routeShare
}

// resize changes how many bytes the routes may take, and lets go of what no longer
// fits. The table of buckets stays as large as it was made.
func (s *hotStore) resize(capacity int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = capacity
	for s.bytes > s.capacity {
		s.evict()
	}
	s.settle()
}

// drop forgets a route that turned out to be wrong.
func (s *hotStore) drop(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lookup(r.host, r.uri) == r {
		s.remove(r)
		s.settle()
	}
}

// clear forgets everything, and what is being captured meanwhile.
func (s *hotStore) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation.Add(1)
	for i := range s.buckets {
		s.buckets[i].Store(nil)
	}
	s.newest, s.oldest, s.hand = nil, nil, nil
	s.bytes, s.count = 0, 0
	s.settle()
}

// evict removes the first route without a mark, going from old to new, and takes
// the marks off on its way. The caller holds mu, and there is a route.
func (s *hotStore) evict() {
	r := s.hand
	if r == nil {
		r = s.oldest
	}
	for r.marked.Load() {
		r.marked.Store(false)
		if r = r.newer; r == nil {
			r = s.oldest
		}
	}
	s.hand = r
	s.remove(r)
}

// remove takes a route out. The caller holds mu.
func (s *hotStore) remove(r *route) {
	if s.hand == r {
		s.hand = r.newer
	}
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		s.newest = r.older
	}
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		s.oldest = r.newer
	}
	r.newer, r.older = nil, nil
	b := s.bucket(r.hash)
	b.Store(b.Load().without(r))
	s.bytes -= r.cost()
	s.count--
}

// without returns the chain without a route.
func (l *hotLink) without(r *route) *hotLink {
	if l == nil {
		return nil
	}
	if l.route == r {
		return l.next
	}
	return &hotLink{l.route, l.next.without(r)}
}

// settle borrows what is used, in whole steps. The caller holds mu.
func (s *hotStore) settle() {
	need := (s.bytes + borrowStep - 1) / borrowStep * borrowStep
	if need > s.borrowed || need < s.borrowed-borrowStep || need == 0 {
		s.borrow(need - s.borrowed)
		s.borrowed = need
	}
}

// size is what the routes take, in bytes.
func (s *hotStore) size() (bytes int64, routes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.count
}
