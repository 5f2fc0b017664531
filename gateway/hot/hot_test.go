package hot

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// lending is a memory that is asked for bytes and has no blocks.
type lending func(int64)

func (l lending) Lend(n int64)                { l(n) }
func (lending) Hold(...*block.Verified) int64 { return 0 }
func (lending) Release(...cid.Cid) int64      { return 0 }
func (lending) Use(...cid.Cid)                {}

func page(key string, size int) *Entry {
	return &Entry{Space: "h", Key: key, Charge: int64(size + len(key))}
}

// What was begun before everything was forgotten does not come back.
func TestForgetWhileAtWork(t *testing.T) {
	s := New(1<<20, lending(func(int64) {}))
	generation := s.Generation()
	s.Clear()
	if s.Put(page("/x", 10), generation); s.Find("h", "/x") != nil {
		t.Error("an old result was kept")
	}
	if s.Put(page("/x", 10), s.Generation()); s.Find("h", "/x") == nil {
		t.Error("a new result was not kept")
	}
}

// A nil store is one that keeps nothing.
func TestNoStore(t *testing.T) {
	var s *Store
	s.Put(page("/x", 10), s.Generation())
	s.Drop(page("/x", 10))
	s.Clear()
	s.Resize(1)
	if bytes, n := s.Size(); bytes != 0 || n != 0 || s.Find("h", "/x") != nil || s.Largest() != 0 {
		t.Error("something is kept")
	}
}

func TestHotStoreIsBounded(t *testing.T) {
	var lent int64
	s := New(1<<20, lending(func(n int64) { lent += n }))
	for i := range 5000 {
		uri := fmt.Sprint("/", i)
		s.Put(page(uri, 2000), 0)
		if e := s.Find("h", "/0"); e != nil {
			e.Mark() // asked for again and again
		}
		if e := s.Find("h", uri); e == nil {
			t.Fatalf("%s is not there", uri)
		}
	}
	bytes, n := s.Size()
	if bytes > 1<<20 || n < 200 || lent < bytes || lent > bytes+2*borrowStep {
		t.Errorf("%d bytes in %d entries, %d lent", bytes, n, lent)
	}
	if s.Find("h", "/0") == nil {
		t.Error("what is asked for again and again had to go")
	}
	s.Put(page("/large", 512<<10), 0)
	if s.Find("h", "/large") != nil {
		t.Error("one entry takes half of the store")
	}
	if s.Clear(); lent != 0 {
		t.Errorf("%d bytes are still lent", lent)
	}
}

func TestHotStoreAtOnce(t *testing.T) {
	s := New(256<<10, lending(func(int64) {}))
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 2000 {
				uri := fmt.Sprint("/", (i*7+w)%300)
				switch r := s.Find("h", uri); {
				case r == nil:
					s.Put(page(uri, 1500), s.Generation())
				case r.Key != uri:
					t.Errorf("asked for %s, got %s", uri, r.Key)
				case i%97 == 0:
					s.Drop(r)
				case i%1999 == 0:
					s.Clear()
				default:
					r.Mark()
				}
			}
		})
	}
	all.Wait()
	bytes, n := s.Size()
	sum, count := int64(0), 0
	for r := s.oldest; r != nil; r = r.newer {
		sum, count = sum+r.Charge, count+1
		if s.Find("h", r.Key) != r {
			t.Errorf("%s is in the queue and cannot be found", r.Key)
		}
	}
	if sum != bytes || count != n {
		t.Errorf("%d bytes in %d entries are counted, %d in %d are there", bytes, n, sum, count)
	}
}

// An entry that is replaced is there all the while, as it was or as it will be: who misses
// it would work it out again.
func TestAnEntryIsThereWhileItIsReplaced(t *testing.T) {
	s := New(1<<20, lending(func(int64) {}))
	s.Put(page("/x", 10), s.Generation())
	var replacing sync.WaitGroup
	done := make(chan struct{})
	replacing.Go(func() {
		defer close(done)
		for range 20_000 {
			s.Put(page("/x", 10), s.Generation())
		}
	})
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if s.Find("h", "/x") == nil {
			t.Error("it was not there")
			break
		}
	}
	replacing.Wait()
	if bytes, n := s.Size(); n != 1 || bytes != 10+2+Overhead {
		t.Errorf("%d entries, %d bytes", n, bytes)
	}
}
