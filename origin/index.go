package origin

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// index finds where the payload of a block lies, by the block's multihash.
//
// An entry has 16 bytes: a 64-bit hash of the multihash and a packed place. The
// multihash itself is not kept: every payload is verified against the whole CID
// when it is read, so that an entry that collides costs one read and is never a
// wrong answer. The hash is seeded at random, so that nobody can prepare archives
// whose blocks collide.
//
// Entries are spread over 256 shards by the hash's first byte. While an archive is
// read, only the shard that grows is copied; seal sorts them and gives back what
// growing left over. So a million blocks take 16 MB, and little more while opening.
type index struct {
	seed   maphash.Seed
	shards [256][]entry
	len    int
}

type entry struct {
	hash  uint64
	place place
}

// place packs the offset of a payload (42 bits: 4 TiB of archives) and its length
// (22 bits, enough for block.MaxSize).
type place uint64

const (
	lengthBits = 22
	maxOffset  = 1<<(64-lengthBits) - 1
)

// The length of the largest block must fit.
var _ = [1]struct{}{}[block.MaxSize>>lengthBits]

func newPlace(offset int64, length int) place { return place(offset)<<lengthBits | place(length) }

func (p place) offset() int64 { return int64(p >> lengthBits) }
func (p place) length() int   { return int(p & (1<<lengthBits - 1)) }

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

// add notes a payload. It must not be called after seal.
func (x *index) add(mh multihash.Multihash, offset int64, length int) error {
	if offset > maxOffset {
		return fmt.Errorf("more than %d TiB of archives in one origin", (maxOffset+1)>>40)
	}
	h := maphash.Bytes(x.seed, mh)
	shard := &x.shards[h>>56]
	*shard = append(*shard, entry{h, newPlace(offset, length)})
	x.len++
	return nil
}

// seal makes the index ready for lookups, from any number of goroutines.
func (x *index) seal() {
	for i, shard := range x.shards {
		slices.SortFunc(shard, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.place, b.place))
		})
		if cap(shard) > len(shard) {
			shard = slices.Clone(shard)
		}
		x.shards[i] = slices.Clip(shard)
	}
}

// places yields where the block may be, in the order of the archives: its copies,
// and hardly ever a block that collides with it.
func (x *index) places(mh multihash.Multihash) iter.Seq[place] {
	h := maphash.Bytes(x.seed, mh)
	shard := x.shards[h>>56]
	i, _ := slices.BinarySearchFunc(shard, h, func(e entry, h uint64) int { return cmp.Compare(e.hash, h) })
	return func(yield func(place) bool) {
		for _, e := range shard[i:] {
			if e.hash != h || !yield(e.place) {
				return
			}
		}
	}
}

// bytes returns the memory that the entries take.
func (x *index) bytes() int {
	n := 0
	for _, shard := range x.shards {
		n += cap(shard) * 16
	}
	return n
}
