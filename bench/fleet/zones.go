package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// What visitors of the zones ask for fits on the disks of each zone, and not in the memory
// of any edge.
const (
	zoneCount    = 3
	edgesPerZone = 3
	zoneFiles    = 500
	zoneSize     = 64 << 10
	zoneMemory   = 2 << 20
	zoneDisk     = 64 << 20
	cutFor       = 10 * time.Second
)

func (b *bench) zones(ctx context.Context) error {
	if err := b.smallZones(ctx); err != nil {
		return err
	}
	for _, delay := range []time.Duration{time.Millisecond, 40 * time.Millisecond} {
		for _, named := range []bool{false, true} {
			err := b.zonesApart(ctx, delay, named)
			if errors.Is(err, lab.ErrNoNamespaces) {
				fmt.Fprintf(os.Stderr, "  left out: %v\n", err)
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// zonesApart measures one fleet, with or without knowing its zones.
func (b *bench) zonesApart(ctx context.Context, delay time.Duration, named bool) error {
	z, err := lab.NewZones(zoneCount, delay)
	if err != nil {
		return err
	}
	defer z.Close()
	site := lab.NewShelf(1, zoneFiles, zoneSize)
	o, err := lab.NewOrigin("0.0.0.0:0", site)
	if err != nil {
		return err
	}
	defer o.Close()
	o.Delay(slowly)
	b.fleets++
	f, err := lab.NewFleet(ctx, b.binary, filepath.Join(b.dir, fmt.Sprintf("fleet-%d", b.fleets)), "", append([]string{
		fmt.Sprintf("cache.memory=%dMiB", zoneMemory>>20), fmt.Sprintf("cache.disk=%dMiB", zoneDisk>>20)}, b.set...)...)
	if err != nil {
		return err
	}
	defer end(f, o)
	for i := range zoneCount * edgesPerZone {
		if _, err := f.AddIn(ctx, z, i%zoneCount, o.Port(), named); err != nil {
			return err
		}
	}
	if err := f.Settled(ctx, f.Edges...); err != nil {
		return err
	}
	return b.visitZones(ctx, z, f, o, site, fmt.Sprintf("3 zones of 3 edges, %s apart, swarm.zone %s", delay, said(named)))
}

func (b *bench) visitZones(ctx context.Context, z *lab.Zones, f *lab.Fleet, o *lab.Origin, site *lab.Site, what string) error {
	sequence := appetite(site.Paths(), 1, b.requests)
	cold := &lab.Tally{}
	warmUp := len(sequence) * 2 / 3
	visitAll(ctx, f.Edges, site, sequence[:warmUp], cold)
	total, unique := o.Fetches()
	before, warm := z.Crossed(), &lab.Tally{}
	visitAll(ctx, f.Edges, site, sequence[warmUp:], warm)
	visited := int64(warm.Requests()) * zoneSize
	b.report(what+": bytes between zones / bytes to visitors, warm", "<= 0.05", "**%.3f**", float64(z.Crossed()-before)/float64(visited))
	b.report("the same: origin fetches / unique blocks, cold", "<= 1.02", "**%.3f** (%d / %d)", float64(total)/float64(unique), total, unique)
	b.report("the same: p50 and p99, warm; cold", "", "%s, %s; %s, %s", ms(warm.Quantile(.5)), ms(warm.Quantile(.99)), ms(cold.Quantile(.5)), ms(cold.Quantile(.99)))
	cut, err := b.cutOff(ctx, z, f, site, sequence)
	if err != nil {
		return err
	}
	failed, why := cut.Failed()
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "  failed: %v\n", why)
	}
	b.report("the same: one zone cut off for 10 s and back, failed requests", "0", "**%d** of %d, p99 %s", failed, cut.Requests(), ms(cut.Quantile(.99)))
	return none(cold, warm)
}

// smallZones measures what the copies in zones cost at the origin when no zone can hold
// what its visitors ask for.
func (b *bench) smallZones(ctx context.Context) error {
	site := lab.NewShelf(1, zipfFiles, zipfSize)
	sequence := appetite(site.Paths(), 0.9, b.requests)
	warm := len(sequence) / 3
	ideal := lruOffload(sequence, warm, 2*zoneCount*(zipfMemory+zipfDisk)/zipfSize)
	for _, named := range []bool{false, true} {
		f, o, err := b.fleet(ctx, 0, site, fmt.Sprintf("cache.memory=%dMiB", zipfMemory>>20), fmt.Sprintf("cache.disk=%dMiB", zipfDisk>>20))
		if err != nil {
			return err
		}
		offload, crossed, err := b.smallZone(ctx, f, o, site, sequence, warm, named)
		end(f, o)
		if err != nil {
			return err
		}
		b.report(fmt.Sprintf("Zipf 0.9, 3 zones of 2 edges of 2+32 MiB for 500 MiB, swarm.zone %s: offload / offload of one LRU of the sum", said(named)), "",
			"**%.3f** (%.3f / %.3f); bytes from other zones / bytes to visitors %.3f", offload/ideal, offload, ideal, crossed)
	}
	return nil
}

func (b *bench) smallZone(ctx context.Context, f *lab.Fleet, o *lab.Origin, site *lab.Site, sequence []string, warm int, named bool) (offload, crossed float64, err error) {
	for i := range 2 * zoneCount {
		var set []string
		if named {
			set = append(set, fmt.Sprintf("swarm.zone=zone-%d", i%zoneCount))
		}
		if _, err := f.Add(ctx, fmt.Sprintf("edge-%d", i), set...); err != nil {
			return 0, 0, err
		}
	}
	if err := f.Settled(ctx, f.Edges...); err != nil {
		return 0, 0, err
	}
	t := &lab.Tally{}
	visitAll(ctx, f.Edges, site, sequence[:warm], t)
	o.Reset()
	before, err := remote(ctx, f)
	if err != nil {
		return 0, 0, err
	}
	visitAll(ctx, f.Edges, site, sequence[warm:], t)
	after, err := remote(ctx, f)
	if err != nil {
		return 0, 0, err
	}
	rest := float64(len(sequence) - warm)
	total, _ := o.Fetches()
	return 1 - float64(total)/rest, (after - before) / (rest * zipfSize), none(t)
}

// remote is how many bytes of blocks the edges got from other zones.
func remote(ctx context.Context, f *lab.Fleet) (sum float64, err error) {
	for _, e := range f.Edges {
		n, err := e.Metric(ctx, "shoal_swarm_zone_bytes_total", "scope", "remote")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func said(named bool) string { return map[bool]string{true: "set", false: "not set"}[named] }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

// visitAll sends requests to the edges, each to one at random.
func visitAll(ctx context.Context, edges []*lab.Edge, site *lab.Site, paths []string, t *lab.Tally) {
	next := make(chan string)
	var wg sync.WaitGroup
	for range 4 * atOnce {
		wg.Go(func() {
			for p := range next {
				t.Add(edges[rand.IntN(len(edges))].Fetch(ctx, site, p))
			}
		})
	}
	for _, p := range paths {
		next <- p
	}
	close(next)
	wg.Wait()
}

// cutOff cuts off the last zone under load and back, and returns when the fleet is one again.
func (b *bench) cutOff(ctx context.Context, z *lab.Zones, f *lab.Fleet, site *lab.Site, sequence []string) (*lab.Tally, error) {
	t, over, ended := &lab.Tally{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i += 100 {
			select {
			case <-over:
				return
			default:
				at := i % (len(sequence) - 100)
				visitAll(ctx, f.Edges, site, sequence[at:at+100], t)
			}
		}
	}()
	z.Cut(zoneCount-1, true)
	select {
	case <-time.After(cutFor):
	case <-ctx.Done():
	}
	z.Cut(zoneCount-1, false)
	err := f.Settled(ctx, f.Edges...)
	close(over)
	<-ended
	return t, err
}
