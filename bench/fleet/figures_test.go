package main

import (
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

func TestLRUOffload(t *testing.T) {
	// With room for two: a and b are kept, c pushes a out, then a pushes b out.
	sequence := []string{"a", "b", "a", "b", "b", "c", "b", "a", "c"}
	if got, want := lruOffload(sequence, 0, 2), 4.0/9; got != want {
		t.Errorf("offload %v, expected %v", got, want)
	}
	if got, want := lruOffload(sequence, 4, 2), 2.0/5; got != want {
		t.Errorf("offload after the warm-up %v, expected %v", got, want)
	}
}

func TestAppetite(t *testing.T) {
	paths := []string{"a", "b", "c", "d"}
	asked := map[string]int{}
	for _, p := range appetite(paths, 1, 12_000) {
		asked[p]++
	}
	most := 0
	for _, n := range asked {
		most = max(most, n)
	}
	// The most popular of four gets 1 / (1 + 1/2 + 1/3 + 1/4) of the requests: 48%.
	if most < 5400 || most > 6120 || len(asked) != 4 {
		t.Errorf("asked %v", asked)
	}
}

func TestQuantile(t *testing.T) {
	bucket := func(upper float64, count uint64) *dto.Bucket {
		return &dto.Bucket{UpperBound: &upper, CumulativeCount: &count}
	}
	count := uint64(10)
	h := &dto.Histogram{SampleCount: &count, Bucket: []*dto.Bucket{bucket(0.001, 0), bucket(0.002, 10), bucket(0.005, 10)}}
	if got := quantile(h, 0.5); got != 1500*time.Microsecond {
		t.Errorf("median %s, expected 1.5ms", got)
	}
}
