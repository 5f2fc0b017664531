package demo

import (
	"math"
	"math/rand/v2"
	"sort"
	"time"
)

const (
	// zipf is how steeply interest falls from the most popular page to the rest.
	// Measured website traffic lies between 0.8 and 1.
	zipf = 0.9
	// curious is the share of visitors who press play or download on a page.
	curious = 0.15
	// maxPages is how many pages one visitor opens at most.
	maxPages = 6
	// A file over wholeUpTo bytes is asked for in part, rangeBytes at a random
	// place, as a player that seeks would; so a folder of films stays bounded.
	wholeUpTo  = 8 << 20
	rangeBytes = 1 << 20
	// maxMedia is the largest number of optional files that one page offers.
	maxMedia = 3
)

// A request is one GET: a whole file, or length bytes of it from offset.
type request struct {
	file           string
	offset, length int64
	part           bool
}

// A load is a page that a visitor opens and everything that comes with it.
type load struct {
	after  time.Duration // the pause before it
	page   request
	assets []request
}

// A visitor arrives at a moment of the phase and opens some pages.
type visitor struct {
	arrives time.Duration
	loads   []load
}

// A planner makes up the visitors of a crowd.
type planner struct {
	rng    *rand.Rand
	pages  []page
	sizes  map[string]int64
	weight []float64 // cumulative, by page
	think  time.Duration
}

// planCrowd returns n visitors of the content, who arrive within spread. It
// depends on its arguments alone.
func planCrowd(c *content, n int, spread time.Duration, seed uint64) []visitor {
	p := &planner{
		rng:   rand.New(rand.NewPCG(seed, 0x5ea)),
		pages: c.pages(),
		sizes: map[string]int64{},
		think: spread / 8,
	}
	for _, f := range c.files {
		p.sizes[f.name] = f.size
	}
	total := 0.0
	for i := range p.pages {
		total += math.Pow(float64(i+1), -zipf)
		p.weight = append(p.weight, total)
	}
	crowd := make([]visitor, n)
	for i := range crowd {
		crowd[i] = p.visitor(time.Duration(p.rng.Float64() * float64(spread)))
	}
	sort.SliceStable(crowd, func(i, j int) bool { return crowd[i].arrives < crowd[j].arrives })
	return crowd
}

// visitor makes up one visitor. What the browser already has it does not ask for
// again: content under a site's name has validators, and the visit is short.
func (p *planner) visitor(arrives time.Duration) visitor {
	v := visitor{arrives: arrives}
	seen := map[string]bool{}
	for n := 1 + p.geometric(maxPages-1); n > 0; n-- {
		pg := p.pages[p.pick()]
		if seen[pg.file] {
			continue
		}
		l := load{page: p.request(pg.file)}
		if len(v.loads) > 0 {
			l.after = time.Duration((0.5 + p.rng.Float64()) * float64(p.think))
		}
		seen[pg.file] = true
		for _, a := range p.wanted(pg) {
			if !seen[a] {
				seen[a] = true
				l.assets = append(l.assets, p.request(a))
			}
		}
		v.loads = append(v.loads, l)
	}
	return v
}

// wanted returns what is loaded with a page, with the optional files that this
// visitor happens to want.
func (p *planner) wanted(pg page) []string {
	files := pg.assets
	for _, m := range pg.media[:min(len(pg.media), maxMedia)] {
		if p.rng.Float64() < curious {
			files = append(files[:len(files):len(files)], m)
		}
	}
	return files
}

func (p *planner) request(name string) request {
	size := p.sizes[name]
	if size <= wholeUpTo {
		return request{file: name, length: size}
	}
	return request{file: name, offset: p.rng.Int64N(size - rangeBytes + 1), length: rangeBytes, part: true}
}

// pick draws a page, the first ones most often.
func (p *planner) pick() int {
	x := p.rng.Float64() * p.weight[len(p.weight)-1]
	return min(sort.SearchFloat64s(p.weight, x), len(p.weight)-1)
}

// geometric draws how many more pages a visitor opens: after each one, half leave.
func (p *planner) geometric(most int) int {
	n := 0
	for n < most && p.rng.Float64() < 0.5 {
		n++
	}
	return n
}
