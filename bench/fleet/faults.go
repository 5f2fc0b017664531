package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// slowly is how long the origin takes in the cases with faults, so that a crowd has
// much on its way whenever something happens.
const slowly = 10 * time.Millisecond

// disturbed is what came of a crowd while something happened to an edge.
type disturbed struct {
	*lab.Tally
	total, unique int
}

func (d disturbed) ratio() float64 { return float64(d.total) / float64(d.unique) }

// disturb sends a crowd to three of four edges and does something to the fourth half
// way.
func (b *bench) disturb(ctx context.Context, harm func(*lab.Edge) error) (disturbed, error) {
	site, err := website()
	if err != nil {
		return disturbed{}, err
	}
	f, o, err := b.fleet(ctx, 4, site)
	if err != nil {
		return disturbed{}, err
	}
	defer end(f, o)
	o.Delay(slowly)
	done := make(chan error, 1)
	go func() {
		err := o.Wait(ctx, len(site.Blocks)/2)
		if err == nil {
			err = harm(f.Edges[3])
		}
		done <- err
	}()
	all := &lab.Tally{}
	all.Join(lab.CrowdAll(ctx, f.Edges[:3], site, atOnce)...)
	if err := <-done; err != nil {
		return disturbed{}, err
	}
	total, _ := o.Fetches()
	return disturbed{all, total, len(site.Blocks)}, nil
}

func (b *bench) kill(ctx context.Context) error {
	d, err := b.disturb(ctx, func(e *lab.Edge) error { e.Kill(); return nil })
	if err != nil {
		return err
	}
	failed, _ := d.Failed()
	b.report("one of 4 edges killed half way: failed requests at the others, ratio", "0, <= 1.10", "**%d** of %d, **%.3f**", failed, d.Requests(), d.ratio())
	return nil
}

func (b *bench) freeze(ctx context.Context) error {
	var with, without, ratios []float64
	failed, requests := 0, 0
	for range b.rounds {
		calm, err := b.disturb(ctx, func(*lab.Edge) error { return nil })
		if err != nil {
			return err
		}
		frozen, err := b.disturb(ctx, (*lab.Edge).Freeze)
		if err != nil {
			return err
		}
		n, _ := frozen.Failed()
		failed, requests = failed+n, requests+frozen.Requests()
		ratios = append(ratios, frozen.ratio())
		with = append(with, milliseconds(frozen.Quantile(0.99)))
		without = append(without, milliseconds(calm.Quantile(0.99)))
	}
	b.report("one of 4 edges frozen half way: failed requests at the others, ratio", "0", "**%d** of %d, **%.3f**", failed, requests, median(ratios))
	b.report("the same: p99 with and without, ms; worse by", "<= 100 ms", "%.0f, %.0f; **%.0f**", with, without, median(with)-median(without))
	return nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func (b *bench) roll(ctx context.Context) error {
	site, err := website()
	if err != nil {
		return err
	}
	f, o, err := b.fleet(ctx, 4, site, "gateway.shutdown_delay=1s")
	if err != nil {
		return err
	}
	defer end(f, o)
	o.Delay(slowly)
	balancer := lab.NewBalancer(f.Edges...)
	defer balancer.Close()
	t, stop, loaded := &lab.Tally{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(loaded)
		balancer.Load(site, 2*atOnce, t, stop)
	}()
	if err := o.Wait(ctx, len(site.Blocks)/2); err != nil {
		return err
	}
	for i, e := range slices.Clone(f.Edges) {
		if code, err := e.Stop(ctx); err != nil || code != 0 {
			return fmt.Errorf("SIGTERM: exit code %d, %w", code, err)
		}
		back, err := f.Restart(ctx, i)
		if err != nil {
			return err
		}
		balancer.Replace(e, back)
		if err := f.Settled(ctx, f.Edges...); err != nil {
			return err
		}
	}
	close(stop)
	<-loaded
	failed, _ := t.Failed()
	total, _ := o.Fetches()
	b.report("all of 4 edges restarted one by one under load: failed requests, ratio", "0, <= 1.05", "**%d** of %d, **%.3f**",
		failed, t.Requests(), float64(total)/float64(len(site.Blocks)))
	return nil
}
