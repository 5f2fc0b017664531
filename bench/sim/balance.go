package main

import (
	"math/rand/v2"

	"github.com/shoal-cdn/shoal/swarm/placement"
)

// balanceResult says how evenly blocks lie on their homes.
type balanceResult struct {
	Blocks int
	// MaxMean is the fullest home's number of blocks over the mean, each home's
	// number divided by its share of the weights.
	MaxMean float64
	MinMean float64
	// Chance is MaxMean when every block draws a home at random, with the same
	// weights: no way to place blocks without knowing the others does better.
	Chance float64
}

// balance counts the blocks that are at home on each edge.
func balance(edges int, weights []int64, k *content, seed uint64) balanceResult {
	members, shares, total := make([]placement.Member, edges), make([]float64, edges), 0.0
	setup := Setup{Weights: weights}
	byName := map[string]int32{}
	for i := range members {
		members[i] = placement.Member{Name: edgeName(i), Weight: uint64(setup.weight(i)) << 30}
		byName[members[i].Name] = int32(i)
		total += float64(setup.weight(i))
	}
	sums := make([]float64, edges)
	for i := range shares {
		shares[i] = float64(setup.weight(i)) / total
		sums[i] = shares[i]
		if i > 0 {
			sums[i] += sums[i-1]
		}
	}
	ring := placement.NewRing(members)
	counted, drawn := make([]int, edges), make([]int, edges)
	all := k.place(ring)
	rng := rand.New(rand.NewPCG(seed, 3))
	for b := range k.len() {
		counted[byName[ring.Member(int(all[homes*b])).Name]]++
		drawn[search(sums, rng.Float64())]++
	}
	r := balanceResult{Blocks: k.len()}
	r.MinMean, r.MaxMean = extremes(counted, shares)
	_, r.Chance = extremes(drawn, shares)
	return r
}

// extremes returns the least and the greatest of counts, each divided by what its
// share lets expect; zeros if there are none.
func extremes(counts []int, shares []float64) (least, most float64) {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum == 0 {
		return 0, 0
	}
	for i, n := range counts {
		x := float64(n) / (shares[i] * float64(sum))
		if i == 0 || x < least {
			least = x
		}
		most = max(most, x)
	}
	return least, most
}
