package placement

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/multiformats/go-multihash"
)

// key returns the multihash of the i-th test block.
func key(t testing.TB, i int) multihash.Multihash {
	t.Helper()
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		t.Fatal(err)
	}
	return mh
}

func fleet(n int) []Member {
	var members []Member
	for i := range n {
		members = append(members, Member{Name: fmt.Sprintf("edge-%d", i), Weight: 10 << 30})
	}
	return members
}

func names(r *Ring, homes []int) []string {
	var list []string
	for _, i := range homes {
		list = append(list, r.Member(i).Name)
	}
	return list
}

// A line of testdata/homes.txt is: members as name=weight, the number of the test
// block, and its homes.
func TestHomesFollowTheContract(t *testing.T) {
	f, err := os.Open("testdata/homes.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		lines++
		fields := strings.Fields(sc.Text())
		var members []Member
		for _, m := range strings.Split(fields[0], ",") {
			name, weight, _ := strings.Cut(m, "=")
			w, err := strconv.ParseUint(weight, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, Member{Name: name, Weight: w})
		}
		i, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		r := NewRing(members)
		if got := strings.Join(names(r, r.Homes(key(t, i), r.Len(), nil)), ","); got != fields[2] {
			t.Errorf("%s block %d: got %s, want %s", fields[0], i, got, fields[2])
		}
	}
	if lines < 20 {
		t.Fatalf("only %d test vectors", lines)
	}
}

func TestNegLogIsTheLogarithm(t *testing.T) {
	for _, m := range []uint64{0, 1, 2, 12345, 1 << 20, 1<<51 - 1, 1 << 51, 1<<52 - 2, 1<<52 - 1} {
		want := -math.Log((float64(m) + 0.5) / (1 << 52))
		if got := negLog(m); math.Abs(got-want) > 1e-14*math.Max(want, 1e-3) {
			t.Errorf("negLog(%d) = %v, want %v", m, got, want)
		}
	}
}

func TestFewHomesAreTheFirstOfMany(t *testing.T) {
	r := NewRing(fleet(9))
	for i := range 200 {
		all := r.Homes(key(t, i), 9, nil)
		for n := range 12 {
			if got := r.Homes(key(t, i), n, nil); !slices.Equal(got, all[:min(n, 9)]) {
				t.Fatalf("block %d: first %d homes are %v of %v", i, n, got, all)
			}
		}
		for rank, at := range all {
			if got := r.Rank(key(t, i), r.Member(at).Name, 9); got != rank {
				t.Fatalf("rank of %s is %d, want %d", r.Member(at).Name, got, rank)
			}
		}
	}
	if got := r.Rank(key(t, 1), "stranger", 9); got != -1 {
		t.Fatalf("rank of a stranger is %d", got)
	}
}

func TestBeforeAgreesWithTheOrderOfHomes(t *testing.T) {
	r := NewRing([]Member{{Name: "a", Weight: 1 << 30}, {Name: "b", Weight: 2 << 30}, {Name: "c", Weight: 3 << 30}, {Name: "d"}})
	for i := range 100 {
		order := names(r, r.Homes(key(t, i), 4, nil))
		for x, a := range order {
			for y, b := range order {
				if got := r.Before(key(t, i), a, b); got != (x < y) {
					t.Fatalf("block %d: %s before %s is %v in %v", i, a, b, got, order)
				}
			}
			if !r.Before(key(t, i), a, "stranger") || r.Before(key(t, i), "stranger", a) {
				t.Fatal("a stranger comes first")
			}
		}
	}
}

func TestOrderAndRepetitionOfMembersDoNotMatter(t *testing.T) {
	members := fleet(5)
	again := slices.Concat(members, members)
	slices.Reverse(again)
	a, b := NewRing(members), NewRing(again)
	if !a.Equal(b) {
		t.Fatal("rings differ")
	}
	for i := range 100 {
		if !slices.Equal(a.Homes(key(t, i), 3, nil), b.Homes(key(t, i), 3, nil)) {
			t.Fatalf("block %d has other homes", i)
		}
	}
}

func TestEmptyRingHasNoHomes(t *testing.T) {
	var r Ring
	if got := r.Homes(key(t, 0), 2, nil); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
}

func TestSharesFollowWeights(t *testing.T) {
	const blocks = 20000
	r := NewRing([]Member{{Name: "a", Weight: 10 << 30}, {Name: "b", Weight: 10 << 30}, {Name: "c", Weight: 20 << 30}, {Name: "d", Weight: 60 << 30}, {Name: "none"}})
	counts := map[string]int{}
	for i := range blocks {
		counts[r.Member(r.Homes(key(t, i), 1, nil)[0]).Name]++
	}
	for name, share := range map[string]float64{"a": 0.1, "b": 0.1, "c": 0.2, "d": 0.6, "none": 0} {
		// Four standard deviations of a binomial distribution.
		slack := 4 * math.Sqrt(share*(1-share)/blocks)
		if got := float64(counts[name]) / blocks; math.Abs(got-share) > slack {
			t.Errorf("%s is home to %.4f of the blocks, want %.2f", name, got, share)
		}
	}
}

func TestJoiningMovesItsShareAndNothingElse(t *testing.T) {
	const blocks = 20000
	for _, n := range []int{1, 2, 4, 8, 30} {
		before, after := NewRing(fleet(n)), NewRing(append(fleet(n), Member{Name: "new", Weight: 10 << 30}))
		moved := 0
		for i := range blocks {
			old := before.Member(before.Homes(key(t, i), 1, nil)[0]).Name
			now := names(after, after.Homes(key(t, i), 2, nil))
			if now[0] == old {
				continue
			}
			moved++
			if now[0] != "new" || now[1] != old {
				t.Fatalf("block %d moved from %s to %v", i, old, now)
			}
		}
		want := 1 / float64(n+1)
		if got := float64(moved) / blocks; math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/blocks) {
			t.Errorf("%d edges: %.4f of the blocks moved, want %.4f", n, got, want)
		}
	}
}

func TestHomesDoNotAllocate(t *testing.T) {
	r := NewRing(fleet(10))
	k := key(t, 1)
	var buf [4]int
	if n := testing.AllocsPerRun(100, func() { r.Homes(k, 3, buf[:0]) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkHomes(b *testing.B) {
	for _, n := range []int{3, 10, 100, 1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			r := NewRing(fleet(n))
			k := key(b, 1)
			var buf [4]int
			for b.Loop() {
				r.Homes(k, 2, buf[:0])
			}
		})
	}
}
