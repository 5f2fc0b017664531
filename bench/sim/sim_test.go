package main

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// testSetup is a fleet of n edges of the given capacity each, with no memory, no hot
// copies and LRU disks: the shape in which it must behave like one LRU list.
func testSetup(n int, disk int64) Setup {
	return Setup{
		Edges: n, Disk: disk, Remembered: 64, LRUDisk: true,
		Latency: time.Millisecond, Origin: 20 * time.Millisecond, Bandwidth: 1e8, Seed: 1,
	}
}

func testContent(n int) *content { return sized(n, 1000, 0, rand.New(rand.NewPCG(1, 1))) }

func TestClockKeepsOrder(t *testing.T) {
	var c clock
	var got []int
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		at := rng.IntN(50)
		c.after(time.Duration(at), func() {
			got = append(got, at)
			c.after(0, func() {
				if c.now != time.Duration(at) {
					t.Errorf("what was due at %d happened at %d", at, c.now)
				}
			})
		})
	}
	c.run()
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Fatalf("%d events, sorted: %v", len(got), slices.IsSorted(got))
	}
}

func TestLRUIsTheOneOfTheMemoryCache(t *testing.T) {
	want, err := simplelru.NewLRU[int32, int](50, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := newLRU(50*(100+cacheOverhead), cacheOverhead)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		b := int32(rng.ExpFloat64() * 40)
		_, had := want.Get(b)
		if got.get(b) != had {
			t.Fatalf("block %d: got %v, want %v", b, !had, had)
		}
		if !had {
			want.Add(b, 0)
			got.put(b, 100)
		}
	}
}

func TestDisksStayWithinTheirBytes(t *testing.T) {
	const capacity = 10_000
	for name, d := range map[string]disk{"lru": newLRU(capacity, 0), "s3fifo": newS3FIFO(capacity)} {
		rng := rand.New(rand.NewPCG(1, 1))
		sizes := map[int32]int64{}
		for range 20000 {
			b := int32(rng.ExpFloat64() * 200)
			if sizes[b] == 0 {
				sizes[b] = 1 + rng.Int64N(900)
			}
			if !d.get(b) {
				if d.put(b, sizes[b]); !d.has(b) {
					t.Fatalf("%s: block %d was put and is not there", name, b)
				}
			}
		}
		var sum int64
		d.each(func(b int32) { sum += sizes[b] })
		if sum > capacity || sum < capacity*9/10 {
			t.Errorf("%s: holds %d of %d bytes", name, sum, capacity)
		}
		if d.put(-1, capacity+1); d.has(-1) {
			t.Errorf("%s: keeps a block that is larger than itself", name)
		}
	}
}

func TestColdCrowdFetchesEachBlockOnce(t *testing.T) {
	for _, n := range []int{1, 2, 4, 8, 100} {
		for _, inTurn := range []bool{false, true} {
			r := crowd(testSetup(n, 0), testContent(200), 16, inTurn)
			if r.Fetches != 200 || r.Requests != 200*n {
				t.Errorf("%d edges, in turn %v: %d fetches of 200 blocks, %d requests", n, inTurn, r.Fetches, r.Requests)
			}
			if n > 1 && r.messagesPerMiss() < 1 {
				t.Errorf("%d edges: %.2f messages per miss", n, r.messagesPerMiss())
			}
		}
	}
}

func TestSlowOriginMakesHedgesButNoFetches(t *testing.T) {
	s := testSetup(4, 0)
	s.Origin = 2 * time.Second
	r := crowd(s, testContent(100), 16, false)
	if r.Hedges == 0 || r.Fetches != 100 {
		t.Fatalf("%d hedges, %d fetches of 100 blocks", r.Hedges, r.Fetches)
	}
}

func TestChurnMovesAnEdgesShareAndLosesNothingElse(t *testing.T) {
	const blocks = 5000
	for _, n := range []int{2, 4, 10, 30} {
		for kind, ideal := range map[churnKind]float64{joins: 1 / float64(n+1), drains: 1 / float64(n), dies: 1 / float64(n)} {
			r := churn(testSetup(n, 0), testContent(blocks), kind)
			got := float64(r.Moved) / blocks
			if math.Abs(got-ideal) > 4*math.Sqrt(ideal*(1-ideal)/blocks) || r.Astray > 0 {
				t.Errorf("%d edges, one %s: %.4f moved, want %.4f; %d astray", n, kind, got, ideal, r.Astray)
			}
			lost := 0
			if kind == dies { // nobody else had what was at home there
				lost = r.Moved
			}
			if r.Fetches != lost {
				t.Errorf("%d edges, one %s: %d fetches, want %d", n, kind, r.Fetches, lost)
			}
		}
	}
}

func TestOneEdgeIsOneCache(t *testing.T) {
	k := testContent(500)
	tr := zipf(k, 0.9, 5000, rand.New(rand.NewPCG(1, 2)))
	// Requests are so far apart that none waits for another's fetch.
	r := offload(testSetup(1, 50_000), tr, time.Minute, true)
	if r.Fleet != r.One || r.Fleet != r.Separate || r.Fleet != r.Copying {
		t.Fatalf("fleet %v, one LRU %v, separate %v, copying %v: want the same", r.Fleet, r.One, r.Separate, r.Copying)
	}
}

func TestHomesAddUp(t *testing.T) {
	k := testContent(2000)
	tr := zipf(k, 0.9, 40000, rand.New(rand.NewPCG(1, 2)))
	r := offload(testSetup(8, 100_000), tr, time.Millisecond, true)
	if r.ratio() < 0.97 || r.ratio() > 1.01 {
		t.Errorf("eight homes reach %.3f of one LRU list of their size", r.ratio())
	}
	if !(r.Separate < r.Copying && r.Copying < r.Fleet) {
		t.Errorf("separate %.3f, copying %.3f, fleet %.3f: want them in this order", r.Separate, r.Copying, r.Fleet)
	}
	if sum := r.FromMemory + r.FromDisk + r.FromSibling + r.FromOrigin; sum != r.Requests || r.Requests != len(tr.requests) {
		t.Errorf("%d requests, %d answered, of %d", r.Requests, sum, len(tr.requests))
	}
	if r.CopyShare != 0 || r.Distinct > 1 {
		t.Errorf("copies take %.3f without a hot share, and %.3f is distinct", r.CopyShare, r.Distinct)
	}
}

func TestHotCopiesAreLocalAndTakeSpace(t *testing.T) {
	k := testContent(2000)
	tr := zipf(k, 1, 40000, rand.New(rand.NewPCG(1, 2)))
	s := testSetup(4, 100_000)
	cold := offload(s, tr, time.Millisecond, false)
	s.HotShare = 0.2
	hot := offload(s, tr, time.Millisecond, false)
	if hot.Copies == 0 || hot.CopyShare == 0 || hot.FromDisk <= cold.FromDisk || hot.Fleet >= cold.Fleet {
		t.Errorf("with copies: %d taken, %.3f of the disks, %d local against %d, offload %.3f against %.3f",
			hot.Copies, hot.CopyShare, hot.FromDisk, cold.FromDisk, hot.Fleet, cold.Fleet)
	}
}

func TestBalanceFollowsWeights(t *testing.T) {
	for _, w := range [][]int64{nil, {1, 3}} {
		b := balance(4, w, testContent(20000), 1)
		if b.MaxMean > 1.06 || b.MinMean < 0.94 || b.Chance < 1 {
			t.Errorf("weights %v: %.3f to %.3f of the mean, %.3f by chance", w, b.MinMean, b.MaxMean, b.Chance)
		}
	}
}

func TestRunsAreTheSameEveryTime(t *testing.T) {
	var outs []string
	for range 2 {
		o := defaults()
		o.Edges, o.Blocks, o.Zipf, o.Share, o.Requests, o.JSON = list[int]{1, 5}, 300, list[float64]{0.9}, list[float64]{20}, 5, true
		o.Index = 0.1
		var out bytes.Buffer
		for _, s := range names() {
			o.Only = s
			if err := run(o, &out); err != nil {
				t.Fatal(err)
			}
		}
		outs = append(outs, out.String())
		for line := range strings.Lines(out.String()) {
			if !json.Valid([]byte(line)) {
				t.Fatalf("not JSON: %s", line)
			}
		}
	}
	if outs[0] != outs[1] {
		t.Fatalf("two runs differ:\n%s\n%s", outs[0], outs[1])
	}
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range []string{
		"-edges 0", "-edges x", "-only all", "-hot 1", "-memory -1", "-zipf NaN", "-share 0", "-weights 0",
		"-origin 1h", "-requests 0", "-block 0", "-visitors 0", "-bandwidth 0", "-index 2",
	} {
		fields := strings.Fields(args)
		o, err := parse(fields)
		if err == nil || !strings.Contains(err.Error(), fields[0][1:]) {
			t.Errorf("%s: got %v, %+v", args, err, o)
		}
	}
	if _, err := parse([]string{"all"}); err == nil {
		t.Error("an argument was taken")
	}
}
