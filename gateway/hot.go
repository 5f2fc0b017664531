package gateway

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/shoal-cdn/shoal/block"
)

// hotStore keeps routes: what is answered to plain requests for one URL. And it keeps
// the encoded forms of what the routes answer with (see compress.go), which several
// routes may share: a form is found by its coding and its content. A look-up
// takes no lock and writes to no memory that others read, so that it costs the
// same however many processors ask for the same page. Whoever adds or removes takes
// the one mutex; that happens when an answer was assembled from blocks, which costs
// a hundred times as much.
//
// What goes when the room is needed, SIEVE decides (Zhang et al., "SIEVE is Simpler
// than LRU", NSDI 2024): a hit leaves a mark and moves nothing, and what was asked
// for only once goes first.
type hotStore struct {
	memory Memory

	hostSeed, uriSeed maphash.Seed
	buckets           []atomic.Pointer[hotLink]

	// generation changes when entries that were begun until now may be wrong.
	generation atomic.Uint64

	mu             sync.Mutex // guards what follows
	capacity       int64
	newest, oldest *entry
	hand           *entry // where SIEVE looks next
	bytes          int64
	borrowed       int64
	count          int
}

// entry is what the store knows about a route or a form, which contain it.
type entry struct {
	// A route's URL as requests write it; a form's coding and content.
	host, uri string
	hash      uint64
	charge    int64             // what it costs, in bytes, without its blocks
	blocks    []*block.Verified // what a route stands for and keeps in memory

	route *route // one of the two
	form  *form

	newer, older *entry // the store's queue, guarded by its mutex
	marked       atomic.Bool
}

// mark tells SIEVE of a hit. It writes only when there is something to say.
func (e *entry) mark() {
	if !e.marked.Load() {
		e.marked.Store(true)
	}
}

// hotLink is one link of a bucket's chain. It never changes: who removes an entry
// makes a new chain.
type hotLink struct {
	entry *entry
	next  *hotLink
}

const (
	// borrowStep keeps the block cache's shards from being resized all the time.
	borrowStep = 1 << 20
	// entryShare is the part of the store that one entry may take.
	entryShare = 8
)

// newHotStore makes a store of so many bytes. It takes them from the memory's budget as
// it needs them, and gives them back.
func newHotStore(capacity int64, memory Memory) *hotStore {
	n := max(1<<10, min(capacity>>12, 1<<18))
	return &hotStore{
		capacity: capacity, memory: memory,
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
	if e := s.find(host, uri); e != nil {
		return e.route
	}
	return nil
}

// form finds a content's form in a coding.
func (s *hotStore) form(content string, c coding) *form {
	if e := s.find(codings[c].space, content); e != nil {
		return e.form
	}
	return nil
}

func (s *hotStore) find(host, uri string) *entry {
	hash := s.hash(host, uri)
	for l := s.bucket(hash).Load(); l != nil; l = l.next {
		if l.entry.hash == hash && l.entry.uri == uri && l.entry.host == host {
			return l.entry
		}
	}
	return nil
}

// add keeps a route in place of the one with the same URL, unless it is too large
// or was captured before the last change of generation.
func (s *hotStore) add(r *route, generation uint64) {
	r.route, r.charge = r, r.cost()
	s.put(&r.entry, generation)
}

// addForm keeps a form of a content, as add does a route.
func (s *hotStore) addForm(content string, f *form, generation uint64) {
	f.host, f.uri = codings[f.coding].space, content
	f.form, f.charge = f, f.cost()
	s.put(&f.entry, generation)
}

func (s *hotStore) put(e *entry, generation uint64) {
	e.hash = s.hash(e.host, e.uri)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.charge+bytesOf(e.blocks) > s.capacity/entryShare || s.generation.Load() != generation {
		return
	}
	if old := s.find(e.host, e.uri); old != nil {
		s.remove(old)
	}
	// Blocks that other entries hold already take nothing more.
	s.bytes += e.charge + s.memory.Hold(e.blocks...)
	for s.bytes > s.capacity && s.count > 0 {
		s.evict()
	}
	s.settle()
	b := s.bucket(e.hash)
	b.Store(&hotLink{e, b.Load()})
	e.older, s.newest = s.newest, e
	if e.older != nil {
		e.older.newer = e
	} else {
		s.oldest = e
	}
	s.count++
}

// largest is what one route may cost.
func (s *hotStore) largest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity / entryShare
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
	if s.find(r.host, r.uri) == &r.entry {
		s.remove(&r.entry)
		s.settle()
	}
}

// clear forgets everything, and what is being captured meanwhile.
func (s *hotStore) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation.Add(1)
	for s.count > 0 {
		s.remove(s.oldest)
	}
	s.bytes = 0
	s.settle()
}

// evict removes the first entry without a mark, going from old to new, and takes
// the marks off on its way. The caller holds mu, and there is an entry.
func (s *hotStore) evict() {
	e := s.hand
	if e == nil {
		e = s.oldest
	}
	for e.marked.Load() {
		e.marked.Store(false)
		if e = e.newer; e == nil {
			e = s.oldest
		}
	}
	s.hand = e
	s.remove(e)
}

// remove takes an entry out. The caller holds mu.
func (s *hotStore) remove(e *entry) {
	if s.hand == e {
		s.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
	b := s.bucket(e.hash)
	b.Store(b.Load().without(e))
	s.bytes -= e.charge + s.memory.Release(idsOf(e.blocks)...)
	s.count--
}

// without returns the chain without an entry.
func (l *hotLink) without(e *entry) *hotLink {
	if l == nil {
		return nil
	}
	if l.entry == e {
		return l.next
	}
	return &hotLink{l.entry, l.next.without(e)}
}

// settle borrows what is used, in whole steps. The caller holds mu.
func (s *hotStore) settle() {
	need := (s.bytes + borrowStep - 1) / borrowStep * borrowStep
	if need > s.borrowed || need < s.borrowed-borrowStep || need == 0 {
		s.memory.Lend(need - s.borrowed)
		s.borrowed = need
	}
}

// size is what the entries take, in bytes.
func (s *hotStore) size() (bytes int64, entries int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.count
}
