package main

import "sort"

// ratio is a/b, and 0 where there is nothing to compare.
func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// search returns where x falls among ascending sums.
func search(sums []float64, x float64) int {
	return min(sort.SearchFloat64s(sums, x), len(sums)-1)
}
