package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestReadWrk(t *testing.T) {
	whole, few, again := benchCase{}, benchCase{few: true}, benchCase{revalidate: true}
	for _, c := range []struct {
		name, out string
		c         benchCase
		length    int64
		perSecond float64
	}{
		{"whole", "Running\nseen 1000 2000000 4500000 0 0 300 4000\n", whole, 4096, 500},
		{"large", "seen 10 2000000 4000000 0 0 300 4000\n", few, 100_000, 20}, // two thirds were under way
		{"not modified", "seen 1000 1000000 500000 0 0 300 4000\n", again, 4096, 1000},
	} {
		r, err := readWrk([]byte(c.out), c.c, c.length)
		if err != nil || math.Abs(r.perSecond-c.perSecond) > 1e-6 || r.p50 != 300*time.Microsecond || r.p99 != 4*time.Millisecond {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
	for name, out := range map[string]string{
		"no line":      "Running 1s test\n",
		"cut off":      "seen 10 2000000",
		"errors":       "seen 10 2000000 50000 0 3 1 1\n",
		"timeouts":     "seen 10 2000000 50000 1 0 1 1\n",
		"nothing":      "seen 0 2000000 0 0 0 0 0\n",
		"short bodies": "seen 1000 2000000 400000 0 0 300 4000\n",
	} {
		if r, err := readWrk([]byte(out), whole, 4096); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := readWrk([]byte("seen 1000 1000000 5000000 0 0 300 4000\n"), again, 4096); err == nil {
		t.Error("bodies instead of 304 were accepted")
	}
}

func TestRatioIsOfRoundsSideBySide(t *testing.T) {
	at := func(values ...float64) (rounds []round) {
		for _, v := range values {
			rounds = append(rounds, round{perSecond: v})
		}
		return rounds
	}
	speed := func(r round) float64 { return r.perSecond }
	// The machine was slow in the second round, for both.
	r := result{at(100, 10, 120), at(90, 9, 60)}
	if x, ok := r.ratio(1, 0, speed); !ok || x != 0.9 {
		t.Errorf("ratio %v, %v", x, ok)
	}
	if _, ok := r.ratio(1, 2, speed); ok {
		t.Error("there is a ratio to a server that was not measured")
	}
	if row := r.row(benchCase{name: "x"}); !strings.Contains(row, "| x | 100 | 60 | **0.90** | - | - |") {
		t.Error(row)
	}
}
