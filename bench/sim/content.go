package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/swarm/placement"
)

// content is every block that there is, by number. The CIDs are real ones, because
// homes and admission are computed from them; the bytes are not.
type content struct {
	cids  []cid.Cid
	sizes []int32
	index []bool
	leaf  []byte // what a block holds, cut to its size
	inner []byte // the same for index blocks

	placed []placed // the rings of late, with everyone's homes
}

// placed is the homes of all blocks on a ring: homes of each, by rank, as positions
// in the ring; -1 where there is none.
type placed struct {
	ring    *placement.Ring
	homesOf []int32
}

// maxPlaced is how many rings are remembered. To place a hundred thousand blocks on
// thousands of edges takes seconds.
const maxPlaced = 4

// place computes the homes of all blocks, on all processors.
func (k *content) place(ring *placement.Ring) []int32 {
	for _, p := range k.placed {
		if p.ring.Equal(ring) && len(p.homesOf) == homes*k.len() {
			return p.homesOf
		}
	}
	all := make([]int32, homes*k.len())
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			var buf [homes]int
			for b := w * k.len() / workers; b < (w+1)*k.len()/workers; b++ {
				found := ring.Homes(k.cids[b].Hash(), homes, buf[:0])
				for rank := range homes {
					all[homes*b+rank] = -1
					if rank < len(found) {
						all[homes*b+rank] = int32(found[rank])
					}
				}
			}
		})
	}
	wg.Wait()
	k.placed = append(k.placed[max(0, len(k.placed)-maxPlaced+1):], placed{ring, all})
	return all
}

const indexSize = 8 << 10 // a UnixFS node with 174 links is about as large

func (k *content) add(size int32, index bool) {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(len(k.cids))))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err) // SHA2_256 is a known code
	}
	codec := uint64(cid.Raw)
	if index {
		codec, size = cid.DagProtobuf, indexSize
	}
	k.cids = append(k.cids, cid.NewCidV1(codec, mh))
	k.sizes = append(k.sizes, size)
	k.index = append(k.index, index)
	if int(size) > len(k.leaf) {
		k.leaf, k.inner = make([]byte, size), make([]byte, size)
		k.inner[0] = 0x12 // a link comes first: placement takes it for an index block
	}
}

// sized returns n blocks of one size, of which a share are index blocks.
func sized(n int, size int32, share float64, rng *rand.Rand) *content {
	k := &content{}
	for range n {
		k.add(size, share > 0 && rng.Float64() < share)
	}
	return k
}

func (k *content) len() int { return len(k.cids) }

func (k *content) size(block int32) int64 { return int64(k.sizes[block]) }

func (k *content) data(block int32) []byte {
	if k.index[block] {
		return k.inner[:k.sizes[block]]
	}
	return k.leaf[:k.sizes[block]]
}

// bytes is the size of all blocks together.
func (k *content) bytes() int64 {
	var sum int64
	for _, n := range k.sizes {
		sum += int64(n)
	}
	return sum
}
