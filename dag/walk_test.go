package dag

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// shelf has blocks and writes down what a walk tells it.
type shelf struct {
	blocks  map[string][]byte
	glances bool // leaves need no reading
	wait    func(ctx context.Context)
	after   func(Visited) error

	mu       sync.Mutex
	read     []cid.Cid
	inFlight int
	most     int
	visited  []Visited
}

func newShelf() *shelf { return &shelf{blocks: map[string][]byte{}} }

func (s *shelf) add(codec uint64, data []byte) cid.Cid {
	c := sum(codec, data)
	s.blocks[string(c.Hash())] = data
	return c
}

func (s *shelf) Glance(_ context.Context, v Visit) (int64, bool, error) {
	data, ok := s.blocks[string(v.CID.Hash())]
	return int64(len(data)), ok && s.glances, nil
}

func (s *shelf) Read(ctx context.Context, v Visit) ([]byte, error) {
	s.mu.Lock()
	s.read = append(s.read, v.CID)
	s.inFlight++
	s.most = max(s.most, s.inFlight)
	s.mu.Unlock()
	if s.wait != nil {
		s.wait(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	if data, ok := s.blocks[string(v.CID.Hash())]; ok {
		return data, nil
	}
	return nil, block.NotFound(v.CID)
}

func (s *shelf) After(_ context.Context, v Visited) error {
	s.visited = append(s.visited, v)
	if s.after != nil {
		return s.after(v)
	}
	return v.Err
}

func (s *shelf) order() (all []cid.Cid) {
	for _, v := range s.visited {
		all = append(all, v.CID)
	}
	return all
}

func TestWalkVisitsEachBlockOnce(t *testing.T) {
	s := newShelf()
	a, b := s.add(cid.Raw, []byte("a")), s.add(cid.Raw, []byte("b"))
	inner := s.add(cid.DagCBOR, cborList(b, a))
	old := s.add(cid.DagProtobuf, append(pbLinkTo(a, 1), pbLinkTo(inner, 9)...))
	carried := identity(cid.DagCBOR, cborList(inner))
	root := s.add(cid.DagCBOR, cborList(cid.NewCidV0(old.Hash()), old, carried, a))
	for _, glances := range []bool{false, true} {
		s.glances, s.read, s.visited = glances, nil, nil
		w := NewWalk(DefaultLimits(), s)
		w.Remember(b.Hash())
		if err := w.Run(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		// inner was first met below old, and is visited before what comes behind old.
		if want := []cid.Cid{root, cid.NewCidV0(old.Hash()), carried, a}; s.visited[0].CID != root || !containsAll(s.order(), want...) || len(s.visited) != 6 {
			t.Errorf("visited %v", s.order())
		}
		for _, v := range s.visited {
			if v.Known != (v.CID == b) || v.Inline != (v.CID == carried) || !v.Fresh {
				t.Errorf("%+v", v.Visit)
			}
			if v.CID == a && v.Size != 1 {
				t.Errorf("size %d", v.Size)
			}
		}
		if want := map[bool]int{false: 5, true: 3}[glances]; len(s.read) != want {
			t.Errorf("read %d blocks, want %d", len(s.read), want)
		}
	}
}

func containsAll(all []cid.Cid, some ...cid.Cid) bool {
	return !slices.ContainsFunc(some, func(c cid.Cid) bool { return !slices.Contains(all, c) })
}

func TestWalkGoesDeepFirst(t *testing.T) {
	s := newShelf()
	var tops, want []cid.Cid
	for i := range 3 {
		a, b := s.add(cid.Raw, fmt.Append(nil, i, "a")), s.add(cid.Raw, fmt.Append(nil, i, "b"))
		tops = append(tops, s.add(cid.DagCBOR, cborList(a, b)))
		want = append(want, tops[i], a, b)
	}
	root := s.add(cid.DagCBOR, cborList(tops...))
	if err := NewWalk(DefaultLimits(), s).Run(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if got := s.order()[1:]; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// One hash under two codecs is one block with two lists of links.
func TestWalkFollowsAHashUnderEachCodec(t *testing.T) {
	s := newShelf()
	a := s.add(cid.Raw, []byte("a"))
	asCBOR := s.add(cid.DagCBOR, cborList(a))
	root := s.add(cid.DagCBOR, cborList(cid.NewCidV1(cid.Raw, asCBOR.Hash()), asCBOR))
	if err := NewWalk(DefaultLimits(), s).Run(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	var fresh []bool
	for _, v := range s.visited {
		fresh = append(fresh, v.Fresh)
	}
	if !slices.Equal(fresh, []bool{true, true, false, true}) {
		t.Errorf("%v, %v", s.order(), fresh)
	}
}

func TestWalkPastFaults(t *testing.T) {
	md5, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	a, b := s.add(cid.Raw, []byte("a")), s.add(cid.Raw, []byte("b"))
	insecure, missing := cid.NewCidV1(cid.Raw, md5), leaf(1)
	broken := s.add(cid.DagCBOR, append([]byte{0x82}, cborLinkTo(a)...))
	odd := s.add(cid.GitRaw, []byte("blob 1\x00x"))
	root := s.add(cid.DagCBOR, cborList(insecure, missing, broken, odd, b))
	faults := map[cid.Cid]error{}
	s.after = func(v Visited) error {
		if v.Err != nil {
			faults[v.CID] = v.Err
		}
		return nil
	}
	if err := NewWalk(DefaultLimits(), s).Run(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(faults[insecure], block.ErrUnsupported) || faults[missing] == nil || !errors.Is(faults[broken], ErrMalformed) || !errors.Is(faults[odd], ErrCodec) || len(faults) != 4 {
		t.Errorf("%v", faults)
	}
	if slices.Contains(s.read, insecure) {
		t.Error("asked for what cannot be verified")
	}
	// What the malformed block has before its fault is followed.
	if !containsAll(s.order(), a, b) {
		t.Errorf("visited %v", s.order())
	}
}

func TestWalkLimits(t *testing.T) {
	s := newShelf()
	var many []cid.Cid
	for i := range 20 {
		many = append(many, s.add(cid.Raw, fmt.Append(nil, i)))
	}
	wide := s.add(cid.DagCBOR, cborList(many...))
	chain := wide
	for range 20 {
		chain = s.add(cid.DagCBOR, cborList(chain))
	}
	for name, tc := range map[string]struct {
		root  cid.Cid
		limit func(*Limits)
		say   string
	}{
		"depth":   {chain, func(l *Limits) { l.Depth = 20 }, "more than 20 links away"},
		"blocks":  {wide, func(l *Limits) { l.Blocks = 20 }, "more than 20 blocks"},
		"links":   {wide, func(l *Limits) { l.Links = 19 }, wide.String() + " has more than 19 links"},
		"pending": {wide, func(l *Limits) { l.Pending = 20 * 40 }, "more than 800 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			limits := DefaultLimits()
			tc.limit(&limits)
			if err := NewWalk(limits, s).Run(t.Context(), tc.root); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), tc.say) {
				t.Errorf("got %v, want %q", err, tc.say)
			}
			exact := limits
			exact.Depth, exact.Blocks, exact.Links, exact.Pending = 21, 41, 20, 20*43
			if err := NewWalk(exact, s).Run(t.Context(), chain); err != nil {
				t.Errorf("at the limits: %v", err)
			}
		})
	}
}

// A DAG that is small on disk can have more paths than anybody could walk.
func TestWalkOfAnExponentialDAG(t *testing.T) {
	s := newShelf()
	at := []cid.Cid{s.add(cid.Raw, []byte("a")), s.add(cid.Raw, []byte("b"))}
	for range 60 {
		at = []cid.Cid{s.add(cid.DagCBOR, cborList(at[0], at[1])), s.add(cid.DagCBOR, cborList(at[1], at[0]))}
	}
	if err := NewWalk(DefaultLimits(), s).Run(t.Context(), at[0]); err != nil || len(s.visited) != 121 {
		t.Errorf("%d visits, %v", len(s.visited), err)
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		root := s.add(cid.DagCBOR, cborList(s.add(cid.Raw, []byte("a"))))
		s.wait = func(ctx context.Context) { <-ctx.Done() }
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		done := make(chan error)
		go func() { done <- NewWalk(DefaultLimits(), s).Run(ctx, root) }()
		synctest.Wait()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) || s.inFlight != 0 {
			t.Errorf("got %v with %d being read", err, s.inFlight)
		}
	})
}

func TestWalkReadsBoundedly(t *testing.T) {
	for name, tc := range map[string]struct {
		tsize int
		bytes int64
		want  int
	}{
		"by number":              {1, 8 << 20, 5},
		"by bytes, when unknown": {0, 3 << 20, 3},
		"one at least":           {0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf()
				var node []byte
				for i := range 20 {
					node = append(node, pbLinkTo(s.add(cid.Raw, fmt.Append(nil, i)), tc.tsize)...)
				}
				limits := DefaultLimits()
				limits.Parallel, limits.ParallelBytes = 5, tc.bytes
				s.wait = func(context.Context) { time.Sleep(time.Second) }
				if err := NewWalk(limits, s).Run(t.Context(), s.add(cid.DagProtobuf, node)); err != nil {
					t.Fatal(err)
				}
				if s.most != tc.want {
					t.Errorf("%d at once, want %d", s.most, tc.want)
				}
			})
		})
	}
}

// The memory of a walk does not depend on what its blocks claim and contain: a folder
// of blocks that are large as nodes, and one block below the other with as many made-up
// links as fit.
func TestWalkOfHostileBlocksTakesBoundedMemory(t *testing.T) {
	limits := DefaultLimits()
	limits.Parallel, limits.ParallelBytes, limits.Pending = 16, 8<<20, 8<<20
	for name, tc := range map[string]struct {
		root  func(*shelf) cid.Cid
		limit bool
	}{
		"a folder of two million empty arrays each": {func(s *shelf) cid.Cid {
			var node []byte
			for i := range 32 {
				data := full(cborArg(cborArray, block.MaxSize-5), "\x80", "")
				data[6+i] = 0xf6
				node = append(node, pbLinkTo(s.add(cid.DagCBOR, data), 1)...)
			}
			return s.add(cid.DagProtobuf, node)
		}, false},
		"a chain of blocks full of links": {func(s *shelf) cid.Cid {
			next := s.add(cid.Raw, []byte("end"))
			for i := range 6 {
				to := []cid.Cid{next}
				for j := range 50_000 {
					hash, _ := multihash.Encode(fmt.Appendf(nil, "%032d", i*50_000+j), multihash.SHA2_256)
					to = append(to, cid.NewCidV1(cid.Raw, hash))
				}
				next = s.add(cid.DagCBOR, cborList(to...))
			}
			return next
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			root := tc.root(s)
			s.after = func(v Visited) error {
				s.visited = nil
				if ipld.IsNotFound(v.Err) {
					return nil
				}
				return v.Err
			}
			before := heap()
			var most uint64
			reads := 0
			s.wait = func(context.Context) {
				s.mu.Lock()
				defer s.mu.Unlock()
				if reads++; reads%8 == 0 {
					now := heap()
					most = max(most, now-min(now, before))
				}
			}
			err := NewWalk(limits, s).Run(t.Context(), root)
			if errors.Is(err, ErrLimit) != tc.limit || err != nil && !tc.limit {
				t.Errorf("got %v", err)
			}
			t.Logf("%d bytes at most", most)
			// Pending, the links of one block twice, and what is known of 300 000 CIDs.
			if most > 32<<20 {
				t.Errorf("%d bytes", most)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestSeen(t *testing.T) {
	s := newSeen()
	const n = 50_000
	hash := func(i int) multihash.Multihash {
		return multihash.Multihash(fmt.Appendf(nil, "hash %d", i))
	}
	for i := range n {
		if before := s.mark(hash(i), markKnown); before != 0 {
			t.Fatalf("%d was marked %b before it was", i, before)
		}
	}
	for i := range n {
		if i%2 == 0 {
			if before := s.mark(hash(i), markLeaf); before != markKnown {
				t.Fatalf("%d was marked %b", i, before)
			}
		}
	}
	for i := range n {
		want := markKnown
		if i%2 == 0 {
			want |= markLeaf
		}
		if before := s.mark(hash(i), markDagPB); before != want {
			t.Fatalf("%d was marked %b, want %b", i, before, want)
		}
	}
	if s.met != n {
		t.Errorf("%d met, want %d", s.met, n)
	}
	slots := 0
	for i := range s.shards {
		slots += len(s.shards[i].slots)
	}
	if perEntry := 16 * slots / n; perEntry > 32 {
		t.Errorf("%d bytes per block", perEntry)
	}
}
