package main

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// atOnce is how many requests of a crowd one edge has at once.
const atOnce = 8

// website is the site of the cases that count fetches: 300 pages and a file of 8 MiB.
func website() (*lab.Site, error) { return lab.NewSite(1, 300, 8<<20) }

func (b *bench) cold(ctx context.Context) error {
	site, err := website()
	if err != nil {
		return err
	}
	for _, n := range []int{2, 4, 8} {
		f, o, err := b.fleet(ctx, n, site)
		if err != nil {
			return err
		}
		tallies := lab.CrowdAll(ctx, f.Edges, site, atOnce)
		total, unique := o.Fetches()
		end(f, o)
		if err := none(tallies...); err != nil {
			return err
		}
		b.report(fmt.Sprintf("cold crowd at %d edges at once: origin fetches / unique blocks", n), "<= 1.02",
			"**%.3f** (%d / %d)", float64(total)/float64(len(site.Blocks)), total, unique)
	}
	return nil
}

func (b *bench) order(ctx context.Context) error {
	site, err := website()
	if err != nil {
		return err
	}
	f, o, err := b.fleet(ctx, 4, site)
	if err != nil {
		return err
	}
	defer end(f, o)
	for i, e := range f.Edges {
		t := &lab.Tally{}
		e.Crowd(ctx, site, atOnce, uint64(i), t)
		if err := none(t); err != nil {
			return err
		}
	}
	total, unique := o.Fetches()
	b.report("4 edges asked one after the other", "1.00", "**%.3f** (%d / %d)", float64(total)/float64(len(site.Blocks)), total, unique)
	return nil
}

const (
	zipfFiles  = 8000
	zipfSize   = 64 << 10
	zipfEdges  = 4
	zipfMemory = 2 << 20
	zipfDisk   = 32 << 20
)

func (b *bench) zipf(ctx context.Context) error {
	site := lab.NewShelf(1, zipfFiles, zipfSize)
	for _, exponent := range []float64{0.8, 0.9, 1.0} {
		sequence := appetite(site.Paths(), exponent, b.requests)
		warm := len(sequence) / 3
		real, err := b.offload(ctx, site, sequence, warm)
		if err != nil {
			return err
		}
		ideal := lruOffload(sequence, warm, zipfEdges*(zipfMemory+zipfDisk)/zipfSize)
		b.report(fmt.Sprintf("Zipf %.1f, %d edges of %d+%d MiB for %d MiB: offload / offload of one LRU of the sum", exponent,
			zipfEdges, zipfMemory>>20, zipfDisk>>20, zipfFiles*zipfSize>>20), ">= 0.97", "**%.3f** (%.3f / %.3f)", real/ideal, real, ideal)
	}
	return nil
}

// appetite returns what visitors ask for, one after the other.
func appetite(paths []string, exponent float64, requests int) []string {
	random := rand.New(rand.NewPCG(5, uint64(exponent*100)))
	paths = slices.Clone(paths)
	random.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	upTo := make([]float64, len(paths))
	sum := 0.0
	for i := range upTo {
		sum += 1 / math.Pow(float64(i+1), exponent)
		upTo[i] = sum
	}
	sequence := make([]string, requests)
	for i := range sequence {
		at, _ := slices.BinarySearch(upTo, random.Float64()*sum)
		sequence[i] = paths[min(at, len(paths)-1)]
	}
	return sequence
}

// offload sends the sequence to a fleet, each request to an edge at random, and
// returns which share of those after the warm-up needed no fetch from the origin.
func (b *bench) offload(ctx context.Context, site *lab.Site, sequence []string, warm int) (float64, error) {
	f, o, err := b.fleet(ctx, zipfEdges, site, fmt.Sprintf("cache.memory=%dMiB", zipfMemory>>20), fmt.Sprintf("cache.disk=%dMiB", zipfDisk>>20))
	if err != nil {
		return 0, err
	}
	defer end(f, o)
	t := &lab.Tally{}
	ask := func(paths []string) {
		next := make(chan string)
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for p := range next {
					t.Add(f.Edges[rand.IntN(len(f.Edges))].Fetch(ctx, site, p))
				}
			})
		}
		for _, p := range paths {
			next <- p
		}
		close(next)
		wg.Wait()
	}
	ask(sequence[:warm])
	o.Reset()
	ask(sequence[warm:])
	total, _ := o.Fetches()
	return 1 - float64(total)/float64(len(sequence)-warm), none(t)
}

// lruOffload returns the same share for one LRU cache of so many files.
func lruOffload(sequence []string, warm, capacity int) float64 {
	order, at := list.New(), map[string]*list.Element{}
	hits := 0
	for i, p := range sequence {
		if e := at[p]; e != nil {
			order.MoveToFront(e)
			if i >= warm {
				hits++
			}
			continue
		}
		at[p] = order.PushFront(p)
		if order.Len() > capacity {
			delete(at, order.Remove(order.Back()).(string))
		}
	}
	return float64(hits) / float64(len(sequence)-warm)
}
