package demo

import (
	"math"
	"math/rand/v2"
	"sort"
)

// chunk is the size of the blocks that files are cut into, in bytes. The replay
// counts in blocks, and so do caches.
const chunk = 1 << 20

// A popularity draws what the visitors of a fleet ask for: of the files in a fixed,
// shuffled order the first ones most often, as Zipf's law has it.
type popularity struct {
	rng    *rand.Rand
	files  []file
	weight []float64 // cumulative
}

// newPopularity depends on its arguments alone.
func newPopularity(c *content, seed uint64) *popularity {
	a := &popularity{rng: rand.New(rand.NewPCG(seed, 0xf1ee7))}
	for _, f := range c.files {
		if f.size > 0 && f.name != "_redirects" {
			a.files = append(a.files, f)
		}
	}
	a.rng.Shuffle(len(a.files), func(i, j int) { a.files[i], a.files[j] = a.files[j], a.files[i] })
	total := 0.0
	for i := range a.files {
		total += math.Pow(float64(i+1), -zipf)
		a.weight = append(a.weight, total)
	}
	return a
}

// next returns the next n requests.
func (a *popularity) next(n int) []request {
	list := make([]request, n)
	for i := range list {
		x := a.rng.Float64() * a.weight[len(a.weight)-1]
		f := a.files[min(sort.SearchFloat64s(a.weight, x), len(a.files)-1)]
		list[i] = request{file: f.name, length: f.size}
		if f.size > wholeUpTo {
			// One block of it, chosen with the same law: people who seek in films
			// mostly look at the same scenes.
			first := int64(float64(f.size/chunk) * math.Pow(a.rng.Float64(), 3))
			list[i] = request{file: f.name, offset: first * chunk, length: min(chunk, f.size-first*chunk), part: true}
		}
	}
	return list
}
