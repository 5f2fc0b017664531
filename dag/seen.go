package dag

import (
	"hash/maphash"
	"math/bits"

	"github.com/multiformats/go-multihash"
)

// mark says what is known of a block in a walk. One multihash may be met under
// several codecs, and each of them has links of its own.
type mark uint8

const (
	markKnown mark = 1 << iota // the visitor named it before the walk
	markLeaf                   // met under a codec without links
	markDagPB
	markDagCBOR
	markDagJSON
	markOther

	markMet = markLeaf | markDagPB | markDagCBOR | markDagJSON | markOther
)

// seen remembers marks by multihash, in 16 bytes each (20 to 32 with the empty
// slots). It keeps 122 bits of a hash with random seeds, so that two blocks
// share an entry only by an accident that nobody can bring about.
type seen struct {
	a, b   maphash.Seed
	shards [seenShards]seenShard
	met    int // entries that were met
}

// seenShards keeps small what is there twice while a table grows.
const seenShards = 32

type seenShard struct {
	slots []slot
	used  int
}

// slot has marks in the low bits of its second word; an empty one has none.
type slot [2]uint64

func newSeen() *seen { return &seen{a: maphash.MakeSeed(), b: maphash.MakeSeed()} }

// mark adds m to the marks of a multihash and returns those it had.
func (s *seen) mark(h multihash.Multihash, m mark) mark {
	k := slot{maphash.Bytes(s.a, h), maphash.Bytes(s.b, h) &^ uint64(markKnown|markMet)}
	at := s.shards[k[0]%seenShards].slot(k)
	before := mark(at[1] & uint64(markKnown|markMet))
	at[1] |= uint64(m)
	if before&markMet == 0 && m&markMet != 0 {
		s.met++
	}
	return before
}

// slot returns the slot of k, which the caller must give a mark.
func (s *seenShard) slot(k slot) *slot {
	if (s.used+1)*5 > len(s.slots)*4 {
		old := s.slots
		s.slots = make([]slot, max(16, len(old)+len(old)/2))
		for _, o := range old {
			if o[1]&uint64(markKnown|markMet) != 0 {
				*s.find(o) = o
			}
		}
	}
	at := s.find(k)
	if *at == (slot{}) {
		*at = k
		s.used++
	}
	return at
}

func (s *seenShard) find(k slot) *slot {
	// The low bits of the first word have chosen the shard; the high ones are free.
	hi, _ := bits.Mul64(k[0], uint64(len(s.slots)))
	for i := int(hi); ; {
		at := &s.slots[i]
		if *at == (slot{}) || at[0] == k[0] && (at[1]^k[1])&^uint64(markKnown|markMet) == 0 {
			return at
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}
