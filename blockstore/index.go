package blockstore

import (
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/multiformats/go-multihash"
)

// The index knows where every block is, in 36 bytes of memory each (45 to 68 with
// the empty slots). It keeps no multihash: a key is 128 bits of a hash with
// random seeds, so that two blocks share one only by an accident that nobody can
// bring about (for a thousand million blocks, 1 in 10^20), and no disk is read to
// know that a block is here.

const (
	shardCount = 64 // a power of two
	minSlots   = 16
	maxUses    = 3 // what the two bits of an entry count up to

	lengthBits = 22 // block.MaxSize needs all of them
	lengthMask = 1<<lengthBits - 1
	useShift   = lengthBits
	useMask    = 3 << useShift
	// The record was read whole and found to be good since it was placed.
	checkedBit = 1 << (useShift + 2)
)

type key [4]uint32

// keyer derives keys from multihashes.
type keyer struct{ a, b maphash.Seed }

func newKeyer() keyer { return keyer{maphash.MakeSeed(), maphash.MakeSeed()} }

func (k keyer) key(h multihash.Multihash) key {
	a, b := maphash.Bytes(k.a, h), maphash.Bytes(k.b, h)
	return key{uint32(a), uint32(a >> 32), uint32(b), uint32(b >> 32)}
}

// entry says where a block is and how much it is wanted. An entry with segment 0
// stands for a block that owners hold but that is not here (its record went
// bad): it is pinned again as soon as it comes back.
type entry struct {
	key        key
	segment    uint32
	offset     uint32 // of the data
	lengthUses uint32
	crc        uint32 // of the data
	holds      uint32 // references by owners
}

func (e *entry) length() int   { return int(e.lengthUses & lengthMask) }
func (e *entry) uses() int     { return int(e.lengthUses & useMask >> useShift) }
func (e *entry) checked() bool { return e.lengthUses&checkedBit != 0 }
func (e *entry) present() bool { return e.segment != 0 }
func (e *entry) empty() bool   { return e.segment == 0 && e.holds == 0 }

func (e *entry) setUses(n int) { e.lengthUses = e.lengthUses&^useMask | uint32(n)<<useShift }

// at reports whether the block is the record r of segment id.
func (e *entry) at(id uint32, r record) bool { return e.segment == id && e.offset == r.offset }

// place moves the block to the record r of segment id.
func (e *entry) place(id uint32, r record) {
	e.segment, e.offset, e.crc = id, r.offset, r.crc
	e.lengthUses = e.lengthUses&useMask | r.length
}

// index is safe for concurrent use. Only the holder of Store.mu changes what an
// entry says, apart from the count of uses, so what it has looked up stays true.
type index struct {
	shards [shardCount]shard
}

// get returns a copy of the entry.
func (x *index) get(k key) (entry, bool) { return x.shard(k).get(k, false) }

// use returns a copy of the entry and counts one use of it.
func (x *index) use(k key) (entry, bool) { return x.shard(k).get(k, true) }

// change lets f change the entry of k, which is a zero entry when there was none,
// and removes it when f leaves it empty.
func (x *index) change(k key, f func(*entry)) { x.shard(k).change(k, f) }

// removeAll removes the places that f returns true for; held blocks stay as
// blocks that are not here.
func (x *index) removeAll(f func(entry) bool) {
	for i := range x.shards {
		x.shards[i].removeAll(f)
	}
}

func (x *index) shard(k key) *shard { return &x.shards[k[3]%shardCount] }

// shard is an open-addressed table with linear probing. A slot's home follows
// from the hash by multiplication, so the table can grow by half instead of
// doubling, which bounds what is wasted.
type shard struct {
	mu    sync.Mutex
	slots []entry
	used  int
}

func (s *shard) home(k *key) int {
	hi, _ := bits.Mul64(uint64(k[1])<<32|uint64(k[0]), uint64(len(s.slots)))
	return int(hi)
}

// find returns the slot of k, or the empty slot where it belongs.
func (s *shard) find(k *key) int {
	i := s.home(k)
	for s.slots[i].key != *k && !s.slots[i].empty() {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i
}

func (s *shard) get(k key, use bool) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == 0 {
		return entry{}, false
	}
	e := &s.slots[s.find(&k)]
	if e.empty() {
		return entry{}, false
	}
	if use && e.uses() < maxUses {
		e.setUses(e.uses() + 1)
	}
	return *e, true
}

func (s *shard) change(k key, f func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grow()
	i := s.find(&k)
	e := &s.slots[i]
	was := e.empty()
	if was {
		*e = entry{key: k}
	}
	f(e)
	switch is := e.empty(); {
	case was && !is:
		s.used++
	case is && !was:
		s.used--
		s.closeGap(i)
	case is:
		*e = entry{}
	}
}

// grow makes space for one more entry, at four fifths full.
func (s *shard) grow() {
	if (s.used+1)*5 <= len(s.slots)*4 {
		return
	}
	old := s.slots
	s.slots = make([]entry, max(minSlots, len(old)+len(old)/2))
	for i := range old {
		if !old[i].empty() {
			s.slots[s.find(&old[i].key)] = old[i]
		}
	}
}

// closeGap empties slot i and moves back what would no longer be found behind it.
func (s *shard) closeGap(i int) {
	s.slots[i] = entry{}
	for j := i; ; {
		if j++; j == len(s.slots) {
			j = 0
		}
		if s.slots[j].empty() {
			return
		}
		home := s.home(&s.slots[j].key)
		// The entry may stay when its home lies cyclically in (i, j].
		if stays := i < home && home <= j || j < i && (i < home || home <= j); stays {
			continue
		}
		s.slots[i], s.slots[j] = s.slots[j], entry{}
		i = j
	}
}

func (s *shard) removeAll(f func(entry) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.slots
	s.slots, s.used = make([]entry, len(old)), 0
	for i := range old {
		e := &old[i]
		if e.present() && f(*e) {
			e.segment = 0
		}
		if !e.empty() {
			s.slots[s.find(&e.key)] = *e
			s.used++
		}
	}
}
