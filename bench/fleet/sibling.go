package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

func (b *bench) block(ctx context.Context) error {
	site := lab.NewShelf(2, 800, 64<<10)
	f, o, err := b.fleet(ctx, 2, site)
	if err != nil {
		return err
	}
	defer end(f, o)
	warm, cold := f.Edges[0], f.Edges[1]
	t := &lab.Tally{}
	warm.Crowd(ctx, site, atOnce, 1, t)
	if err := none(t); err != nil {
		return err
	}
	// The first requests open connections.
	fromSibling, fromMemory := &lab.Tally{}, &lab.Tally{}
	for i, p := range site.Paths() {
		a, err := cold.Fetch(ctx, site, p)
		if err != nil {
			return err
		}
		if i > 20 && strings.Contains(a.Header.Get("Cache-Status"), "sibling") {
			fromSibling.Add(a, nil)
			a, err = cold.Fetch(ctx, site, p)
			fromMemory.Add(a, err)
		}
	}
	b.report("one cold block of 64 KiB from a sibling, through HTTP: median", "<= 2 ms", "**%s** (p90 %s, %d blocks; the same from memory %s)",
		round(fromSibling.Quantile(0.5)), round(fromSibling.Quantile(0.9)), fromSibling.Requests(), round(fromMemory.Quantile(0.5)))
	families, err := cold.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, m := range families["shoal_swarm_sibling_seconds"].GetMetric() {
		b.report("the same, as the edge measures it itself", "", "**%s**", round(quantile(m.GetHistogram(), 0.5)))
	}
	return nil
}

// quantile interpolates in a histogram of seconds.
func quantile(h *dto.Histogram, q float64) time.Duration {
	rank := q * float64(h.GetSampleCount())
	below, lower := 0.0, 0.0
	for _, bucket := range h.GetBucket() {
		count, upper := float64(bucket.GetCumulativeCount()), bucket.GetUpperBound()
		if count >= rank && count > below {
			return time.Duration((lower + (upper-lower)*(rank-below)/(count-below)) * float64(time.Second))
		}
		below, lower = count, upper
	}
	return 0
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

const largeFile = 100_000_000

func (b *bench) large(ctx context.Context) error {
	site, err := lab.NewSite(3, 0, largeFile)
	if err != nil {
		return err
	}
	var path string
	for _, p := range site.Paths() {
		if strings.HasSuffix(p, "large.bin") {
			path = p
		}
	}
	f, o, err := b.fleet(ctx, 3, site)
	if err != nil {
		return err
	}
	defer end(f, o)
	if _, err := f.Edges[0].Fetch(ctx, site, path); err != nil {
		return err
	}
	var fleet, bare, relayed []float64
	for i := range b.rounds {
		speed, err := b.joinAndFetch(ctx, f, o, site, path, fmt.Sprintf("fresh-%d", i))
		if err != nil {
			return err
		}
		fleet = append(fleet, speed)
		alone, passedOn, err := bareStream(ctx, largeFile)
		if err != nil {
			return fmt.Errorf("bare libp2p: %w", err)
		}
		bare, relayed = append(bare, alone), append(relayed, passedOn)
	}
	b.report("a cold file of 100 MB from 3 siblings, MB/s", ">= 200", "**%.0f** (of %.0f)", median(fleet), fleet)
	b.report("the same / one bare libp2p stream", ">= 0.5", "**%.2f** (%.0f MB/s)", median(fleet)/median(bare), median(bare))
	b.report("the same / one bare libp2p stream that is hashed and passed on over HTTP", "", "**%.2f** (%.0f MB/s)", median(fleet)/median(relayed), median(relayed))
	return nil
}

// joinAndFetch starts one more edge, fetches the file through it and stops it. It
// returns MB/s.
func (b *bench) joinAndFetch(ctx context.Context, f *lab.Fleet, o *lab.Origin, site *lab.Site, path, name string) (float64, error) {
	e, err := f.Add(ctx, name)
	if err != nil {
		return 0, err
	}
	running := append(slices.Clone(f.Edges[:3]), e)
	if err := f.Settled(ctx, running...); err != nil {
		return 0, err
	}
	o.Reset()
	profiled := b.profile(ctx, e, f.Edges[0])
	a, err := e.Fetch(ctx, site, path)
	if err := errors.Join(err, profiled()); err != nil {
		return 0, err
	}
	if total, _ := o.Fetches(); total > 0 {
		return 0, fmt.Errorf("%d blocks came from the origin", total)
	}
	if n, err := e.Metric(ctx, "shoal_block_bytes_total", "source", "sibling"); err != nil || n < largeFile {
		return 0, errors.Join(err, fmt.Errorf("only %.0f bytes came from siblings", n))
	}
	if _, err := e.Stop(ctx); err != nil {
		return 0, err
	}
	return largeFile / a.Took.Seconds() / 1e6, f.Settled(ctx, f.Edges[:3]...)
}

// profile measures where the processor time of edges goes, if that is wanted, and
// returns what waits for the end of it.
func (b *bench) profile(ctx context.Context, edges ...*lab.Edge) (wait func() error) {
	if b.profiles == "" {
		return func() error { return nil }
	}
	var group errgroup.Group
	for _, e := range edges {
		group.Go(func() error {
			file, err := os.Create(filepath.Join(b.profiles, e.Name+".pprof"))
			if err != nil {
				return err
			}
			return errors.Join(e.Profile(ctx, 1, file), file.Close())
		})
	}
	return group.Wait
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
