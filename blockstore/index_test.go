package blockstore

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// TestIndexAgainstMap compares the table with Go's own, with keys that collide
// far more than real ones.
func TestIndexAgainstMap(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	var x index
	want := map[key]uint32{}
	for i := range 15_000 {
		// Few homes, few shards: long runs that wrap around the end of the table.
		k := key{uint32(random.IntN(3)), ^uint32(0) * uint32(random.IntN(2)), uint32(random.IntN(300)), uint32(random.IntN(2))}
		switch e, ok := x.get(k); {
		case ok != (want[k] != 0) || e.segment != want[k]:
			t.Fatalf("step %d: %v is %d, want %d", i, k, e.segment, want[k])
		case random.IntN(5) < 2+i/4_500:
			x.change(k, func(e *entry) { e.segment = 0 })
			delete(want, k)
		default:
			x.change(k, func(e *entry) { e.segment = uint32(i + 1) })
			want[k] = uint32(i + 1)
		}
	}
	n := 0
	x.removeAll(func(e entry) bool { n++; return e.segment%2 == 0 })
	if n != len(want) {
		t.Errorf("%d entries, want %d", n, len(want))
	}
	for k, segment := range want {
		if e, ok := x.get(k); ok != (segment%2 == 1) || ok && e.segment != segment {
			t.Fatalf("after removal: %v is %d, was %d", k, e.segment, segment)
		}
	}
}

func TestIndexIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size != 36 {
		t.Errorf("an entry takes %d bytes", size)
	}
	var x index
	keys := newKeyer()
	worst := 0.0
	for i := range 120_000 {
		hash, _ := multihash.Encode([]byte{byte(i), byte(i >> 8), byte(i >> 16), 3, 4, 5}, multihash.SHA2_256)
		x.change(keys.key(hash), func(e *entry) { e.segment = 1 })
		if i < 10_000 || i%1000 > 0 {
			continue
		}
		slots := 0
		for j := range x.shards {
			slots += len(x.shards[j].slots)
		}
		worst = max(worst, float64(slots*36)/float64(i+1))
	}
	if worst > 75 {
		t.Errorf("%.0f bytes a block", worst)
	}
}

func TestUsesAreCountedUpToThree(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b := storetest.Block(1, 1<<21)
	mustPut(t, s, b)
	for want := range 6 {
		e, _ := s.index.get(s.keys.key(b.Cid().Hash()))
		if e.uses() != min(want, maxUses) || e.length() != 1<<21 {
			t.Errorf("after %d reads: %d uses, %d bytes", want, e.uses(), e.length())
		}
		read(t, s, b)
	}
}
