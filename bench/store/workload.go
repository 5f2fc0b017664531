package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
)

// request asks for one object of a workload.
type request struct {
	object uint64
	size   uint32
}

type workload struct {
	name     string
	requests []request
}

// unique is what all objects of the workload take together, in bytes.
func (w workload) unique() (total int64) {
	seen := map[uint64]bool{}
	for _, r := range w.requests {
		if !seen[r.object] {
			seen[r.object] = true
			total += int64(r.size)
		}
	}
	return total
}

// zipf draws n requests for objects of one size, whose popularity falls with the
// power s of their rank. (The standard library's Zipf wants s > 1; the web has
// 0.6 to 1.)
func zipf(s float64, objects, n int, size uint32) workload {
	cumulative := make([]float64, objects)
	total := 0.0
	for i := range cumulative {
		total += 1 / math.Pow(float64(i+1), s)
		cumulative[i] = total
	}
	random := rand.New(rand.NewPCG(1, math.Float64bits(s)))
	w := workload{name: fmt.Sprintf("zipf %.1f", s)}
	for range n {
		rank, _ := slices.BinarySearch(cumulative, random.Float64()*total)
		w.requests = append(w.requests, request{uint64(rank), size})
	}
	return w
}

// scanned is a workload with a crawler in it: after every hundred requests come
// twenty-five for objects that nobody else asks for.
func scanned(w workload) workload {
	mixed := workload{name: w.name + " + crawler"}
	next := uint64(1) << 40
	for i, r := range w.requests {
		mixed.requests = append(mixed.requests, r)
		if i%100 == 99 {
			for range 25 {
				mixed.requests = append(mixed.requests, request{next, r.size})
				next++
			}
		}
	}
	return mixed
}

// cloudphysics reads a trace of a storage volume: records of 24 bytes.
func cloudphysics(folder string) (workload, error) {
	data, err := os.ReadFile(filepath.Join(folder, "cloudphysics.bin"))
	if err != nil {
		return workload{}, err
	}
	w := workload{name: "cloudphysics"}
	for ; len(data) >= 24; data = data[24:] {
		w.requests = append(w.requests, request{
			object: binary.LittleEndian.Uint64(data[4:]),
			size:   binary.LittleEndian.Uint32(data[12:]),
		})
	}
	return w, nil
}

// oltpSize is what we take a block of the trace to be; it does not say.
const oltpSize = 4 << 10

// oltp reads a trace of a database's file system: lines of "first count ...".
func oltp(folder string) (workload, error) {
	f, err := os.Open(filepath.Join(folder, "oltp.gz"))
	if err != nil {
		return workload{}, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return workload{}, err
	}
	w := workload{name: "oltp"}
	in := bufio.NewReader(unzipped)
	for {
		var first, count, ignored, number uint64
		if _, err := fmt.Fscanln(in, &first, &count, &ignored, &number); err == io.EOF {
			return w, nil
		} else if err != nil {
			return workload{}, fmt.Errorf("read oltp.gz: %w", err)
		}
		for i := range count {
			w.requests = append(w.requests, request{first + i, oltpSize})
		}
	}
}

// filler is what the data of made-up blocks is cut from.
var filler = func() []byte {
	data := make([]byte, 4*block.MaxSize)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}()

// madeUp returns the block of an object. Its data is not what its CID names:
// hashing would only measure SHA-256, and the same for every store.
func madeUp(object uint64, size uint32) *block.Verified {
	data := filler[object%block.MaxSize&^7:][:size]
	return blocktest.MadeUp(madeUpCID(object), data)
}

func madeUpCID(object uint64) cid.Cid {
	digest := make([]byte, 32)
	random := rand.NewPCG(object, 2)
	for i := 0; i < len(digest); i += 8 {
		binary.LittleEndian.PutUint64(digest[i:], random.Uint64())
	}
	hash, err := multihash.Encode(digest, multihash.SHA2_256)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, hash)
}
