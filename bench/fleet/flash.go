package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

const (
	flashEdges = 20
	flashSize  = 100 << 20
)

func (b *bench) flash(ctx context.Context) error {
	site, err := lab.NewSite(3, 0, flashSize)
	if err != nil {
		return err
	}
	alone, err := b.rush(ctx, 1, site)
	if err != nil {
		return err
	}
	fleet, err := b.rush(ctx, flashEdges, site)
	if err != nil {
		return err
	}
	b.report(fmt.Sprintf("a new file of 100 MB, %d visitors at %d edges at once: origin fetches / unique blocks", flashEdges, flashEdges), "<= 1.02", "**%.3f** (%d / %d)",
		float64(fleet.fetches)/float64(fleet.unique), fleet.fetches, fleet.unique)
	b.report("the same: sent to siblings, the most over the mean", "<= 2", "**%.2f** (%.0f MB, %.0f MB)", fleet.most/fleet.mean, fleet.most/1e6, fleet.mean/1e6)
	b.report("the same: time until the last visitor had it, and with all of them at one edge alone", "", "**%.1f s**, %.1f s", fleet.took.Seconds(), alone.took.Seconds())
	return nil
}

// rushed is what came of a crowd for one file.
type rushed struct {
	fetches, unique int
	most, mean      float64 // bytes that an edge sent to siblings
	took            time.Duration
}

// rush has visitors ask n edges, in turn, for the large file of a site.
func (b *bench) rush(ctx context.Context, n int, site *lab.Site) (r rushed, err error) {
	f, o, err := b.fleet(ctx, n, site, "cache.memory=32MiB", "cache.disk=128MiB")
	if err != nil {
		return r, err
	}
	defer end(f, o)
	t, begun := &lab.Tally{}, time.Now()
	var visitors sync.WaitGroup
	for i := range flashEdges {
		visitors.Go(func() { t.Add(f.Edges[i%n].Fetch(ctx, site, site.Root.String()+"/media/large.bin")) })
	}
	visitors.Wait()
	r.took = time.Since(begun)
	r.fetches, r.unique = o.Fetches()
	for _, e := range f.Edges {
		sent, err := e.Metric(ctx, "shoal_swarm_served_bytes_total")
		if err != nil {
			return r, err
		}
		r.most, r.mean = max(r.most, sent), r.mean+sent/float64(n)
	}
	return r, none(t)
}
