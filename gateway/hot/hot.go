package hot

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// Memory is where blocks are kept in memory, and a budget of which the store may take a
// part. None of its methods may call back.
type Memory interface {
	// Lend takes so many bytes out of the budget, or with a negative number gives
	// them back. It is called seldom.
	Lend(bytes int64)
	// Hold keeps blocks that an entry stands for and shares its bytes with, and
	// Release lets them go again. They return how many bytes are held that were not
	// before, or no longer are.
	Hold(bs ...*block.Verified) (bytes int64)
	Release(ids ...cid.Cid) (bytes int64)
	// Use counts a use of blocks that something stands for which is kept.
	Use(ids ...cid.Cid)
}

// Store keeps entries up to a number of bytes. A nil Store keeps nothing. All methods may
// be called from many goroutines at once.
type Store struct {
	memory Memory

	spaceSeed, keySeed maphash.Seed
	buckets            []atomic.Pointer[link]

	// generation changes when entries that were begun until now may be wrong.
	generation atomic.Uint64

	mu             sync.Mutex // guards what follows
	capacity       int64
	newest, oldest *Entry
	hand           *Entry // where SIEVE looks next
	bytes          int64
	borrowed       int64
	count          int
}

// Entry is one result that is kept, under a key in a space of keys. Nobody changes it, or
// what its value points to, after [Store.Put].
type Entry struct {
	Space, Key string
	Value      any
	// Charge is what it costs, in bytes, keys and value included, without its blocks and
	// without [Overhead].
	Charge int64
	// Blocks are what it stands for and keeps in memory, see [Memory].
	Blocks []*block.Verified

	hash         uint64
	newer, older *Entry // the store's queue, guarded by its mutex
	marked       atomic.Bool
}

// Overhead is what the store itself takes for an entry, in bytes: the struct, and a link
// of a bucket.
const Overhead = 192

// Mark tells the store of a hit. It writes only when there is something to say.
func (e *Entry) Mark() {
	if !e.marked.Load() {
		e.marked.Store(true)
	}
}

// link is one link of a bucket's chain. It never changes: who removes an entry
// makes a new chain.
type link struct {
	entry *Entry
	next  *link
}

const (
	// borrowStep keeps the block cache's shards from being resized all the time.
	borrowStep = 1 << 20
	// entryShare is the part of the store that one entry may take.
	entryShare = 8
)

// New makes a store of so many bytes. It takes them from the memory's budget as
// it needs them, and gives them back.
func New(capacity int64, memory Memory) *Store {
	n := max(1<<10, min(capacity>>12, 1<<18))
	return &Store{
		capacity: capacity, memory: memory,
		spaceSeed: maphash.MakeSeed(), keySeed: maphash.MakeSeed(),
		buckets: make([]atomic.Pointer[link], 1<<(bits.Len64(uint64(n))-1)),
	}
}

func (s *Store) hash(space, key string) uint64 {
	return maphash.String(s.keySeed, key) ^ bits.RotateLeft64(maphash.String(s.spaceSeed, space), 1)
}

func (s *Store) bucket(hash uint64) *atomic.Pointer[link] {
	return &s.buckets[hash&uint64(len(s.buckets)-1)]
}

// Find returns an entry; nil if there is none. It takes no lock and allocates nothing.
func (s *Store) Find(space, key string) *Entry {
	if s == nil {
		return nil
	}
	hash := s.hash(space, key)
	for l := s.bucket(hash).Load(); l != nil; l = l.next {
		if l.entry.hash == hash && l.entry.Key == key && l.entry.Space == space {
			return l.entry
		}
	}
	return nil
}

// Generation is to be asked for before an entry's value is worked out, see [Store.Put].
func (s *Store) Generation() uint64 {
	if s == nil {
		return 0
	}
	return s.generation.Load()
}

// Put keeps an entry in place of the one with the same key, unless it is too large
// or was begun in a generation that has passed.
func (s *Store) Put(e *Entry, generation uint64) {
	if s == nil {
		return
	}
	e.hash = s.hash(e.Space, e.Key)
	e.Charge += Overhead
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Charge+bytesOf(e.Blocks) > s.capacity/entryShare || s.generation.Load() != generation {
		return
	}
	// Who looks meanwhile, without a lock, finds the old one or the new one.
	old, b := s.Find(e.Space, e.Key), s.bucket(e.hash)
	b.Store(&link{e, b.Load()})
	// Blocks that other entries hold already take nothing more.
	s.bytes += e.Charge + s.memory.Hold(e.Blocks...)
	if old != nil {
		s.remove(old)
	}
	for s.bytes > s.capacity && s.count > 0 {
		s.evict()
	}
	s.settle()
	e.older, s.newest = s.newest, e
	if e.older != nil {
		e.older.newer = e
	} else {
		s.oldest = e
	}
	s.count++
}

// Largest is what one entry may cost, in bytes.
func (s *Store) Largest() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.capacity / entryShare
}

// Resize changes how many bytes the entries may take, and lets go of what no longer
// fits. The table of buckets stays as large as it was made.
func (s *Store) Resize(capacity int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = capacity
	for s.bytes > s.capacity {
		s.evict()
	}
	s.settle()
}

// Drop forgets an entry that turned out to be wrong.
func (s *Store) Drop(e *Entry) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Find(e.Space, e.Key) == e {
		s.remove(e)
		s.settle()
	}
}

// Clear forgets everything, and what is being worked out meanwhile.
func (s *Store) Clear() {
	if s == nil {
		return
	}
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
func (s *Store) evict() {
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
func (s *Store) remove(e *Entry) {
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
	s.bytes -= e.Charge + s.memory.Release(idsOf(e.Blocks)...)
	s.count--
}

// without returns the chain without an entry.
func (l *link) without(e *Entry) *link {
	if l == nil {
		return nil
	}
	if l.entry == e {
		return l.next
	}
	return &link{l.entry, l.next.without(e)}
}

// settle borrows what is used, in whole steps. The caller holds mu.
func (s *Store) settle() {
	need := (s.bytes + borrowStep - 1) / borrowStep * borrowStep
	if need > s.borrowed || need < s.borrowed-borrowStep || need == 0 {
		s.memory.Lend(need - s.borrowed)
		s.borrowed = need
	}
}

// Size is what the entries take, in bytes, and how many there are.
func (s *Store) Size() (bytes int64, entries int) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.count
}

// All returns the entries, the newest first, as they are now.
func (s *Store) All() []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Entry, 0, s.count)
	for e := s.newest; e != nil; e = e.older {
		all = append(all, e)
	}
	return all
}

func idsOf(bs []*block.Verified) []cid.Cid {
	ids := make([]cid.Cid, len(bs))
	for i, b := range bs {
		ids[i] = b.Cid()
	}
	return ids
}

func bytesOf(bs []*block.Verified) (n int64) {
	for _, b := range bs {
		n += int64(cap(b.RawData()))
	}
	return n
}
