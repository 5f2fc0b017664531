package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

const (
	seeds  = 3  // edges that every edge knows from the start
	atOnce = 8  // edges that are started at the same time
	killed = 10 // edges that are killed
	// idle is how long a fleet is measured.
	idle = 30 * time.Second
	// look is the pause between two looks at an edge that has not seen everybody.
	look = 100 * time.Millisecond
)

func main() {
	sizes := flag.String("edges", "30,60,100", "sizes of fleets")
	profile := flag.String("profile", "", "file for a profile of one idle edge")
	binary := flag.String("binary", "", "the program; empty: it is built")
	quiet := flag.Duration("quiet", 2*time.Minute, "how long a settled fleet is left alone before it is measured: connections that nobody needs are closed after a minute")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *sizes, *binary, *profile, *quiet); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, sizes, binary, profile string, quiet time.Duration) error {
	dir, err := os.MkdirTemp("", "shoal-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		if binary, err = lab.Build(ctx, dir); err != nil {
			return err
		}
	}
	fmt.Println("| edges | settled after | idle: % of a core, mean (largest) | RSS MiB, mean (largest) | 10 killed: all know after | 10 back: all see after |")
	fmt.Println("|---|---|---|---|---|---|")
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= seeds+killed {
			return fmt.Errorf("-edges: %q: expected numbers above %d", text, seeds+killed)
		}
		if err := measure(ctx, binary, filepath.Join(dir, text), n, profile, quiet); err != nil {
			return fmt.Errorf("%d edges: %w", n, err)
		}
	}
	return nil
}

// measure reports on one fleet.
func measure(ctx context.Context, binary, dir string, n int, profile string, quiet time.Duration) error {
	f, err := lab.NewFleet(ctx, binary, dir, "", "cache.disk=64MiB")
	if err != nil {
		return err
	}
	defer f.Close()
	began := time.Now()
	if err := start(ctx, f, n); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d edges started in %.1f s\n", n, time.Since(began).Seconds())
	settled, err := until(ctx, f.Edges, n)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "settled after %.1f s\n", settled.Seconds())
	time.Sleep(quiet)
	before, err := cpu(f.Edges)
	if err != nil {
		return err
	}
	time.Sleep(idle)
	after, err := cpu(f.Edges)
	if err != nil {
		return err
	}
	for i := range after {
		after[i] = 100 * (after[i] - before[i]) / idle.Seconds()
	}
	memory, err := resident(f.Edges)
	if err != nil {
		return err
	}
	if err := writeProfile(ctx, f.Edges[n/2], profile); err != nil {
		return err
	}
	gone, err := kill(ctx, f)
	if err != nil {
		return err
	}
	if err := again(ctx, f); err != nil {
		return err
	}
	back, err := until(ctx, f.Edges, n)
	if err != nil {
		return err
	}
	fmt.Printf("| %d | %.1f s | %.2f (%.2f) | %.0f (%.0f) | %.1f s | %.1f s |\n", n, settled.Seconds(),
		mean(after), slices.Max(after), mean(memory), slices.Max(memory), gone.Seconds(), back.Seconds())
	return nil
}

// start starts the edges: first those that all others know.
func start(ctx context.Context, f *lab.Fleet, n int) error {
	for range seeds {
		if _, err := f.Add(ctx, fmt.Sprintf("edge-%d", len(f.Edges))); err != nil {
			return err
		}
	}
	var plans []lab.Plan
	for i := seeds; i < n; i++ {
		plans = append(plans, f.Plan(fmt.Sprintf("edge-%d", i)))
	}
	edges, err := launch(ctx, plans)
	f.Edges = append(f.Edges, edges...)
	return err
}

// launch starts edges, some at a time.
func launch(ctx context.Context, plans []lab.Plan) ([]*lab.Edge, error) {
	edges := make([]*lab.Edge, len(plans))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, p := range plans {
		group.Go(func() (err error) {
			if err = os.MkdirAll(p.Dir, 0o755); err == nil {
				edges[i], err = lab.Start(ctx, p)
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(edges, func(e *lab.Edge) bool { return e == nil }), err
}

// kill ends the last edges and returns how long it takes until the others know.
func kill(ctx context.Context, f *lab.Fleet) (time.Duration, error) {
	left := len(f.Edges) - killed
	var group errgroup.Group
	for _, e := range f.Edges[left:] {
		group.Go(func() error { e.Kill(); return nil })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return until(ctx, f.Edges[:left], left)
}

// again starts the edges that were killed.
func again(ctx context.Context, f *lab.Fleet) error {
	left := len(f.Edges) - killed
	var plans []lab.Plan
	seen := &lab.Fleet{Binary: f.Binary, Dir: f.Dir, Secret: f.Secret, Set: f.Set, Edges: f.Edges[:seeds]}
	for _, e := range f.Edges[left:] {
		plans = append(plans, seen.Plan(e.Name))
	}
	edges, err := launch(ctx, plans)
	copy(f.Edges[left:], edges)
	return err
}

// until returns how long it takes until each of the edges sees n alive.
func until(ctx context.Context, edges []*lab.Edge, n int) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, e := range edges {
		group.Go(func() error { return sees(ctx, e, n) })
	}
	err := group.Wait()
	return time.Since(began), err
}

// sees returns when an edge sees n alive.
func sees(ctx context.Context, e *lab.Edge, n int) error {
	for {
		list, err := e.Members(ctx)
		if err != nil {
			return err
		}
		alive := 0
		for _, m := range list {
			if m.State == "alive" || m.State == "suspect" {
				alive++
			}
		}
		if alive == n {
			return nil
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return fmt.Errorf("edge %s sees %d of %d: %w", e.Name, alive, n, ctx.Err())
		}
	}
}

func writeProfile(ctx context.Context, e *lab.Edge, file string) error {
	if file == "" {
		return nil
	}
	w, err := os.Create(file)
	if err != nil {
		return err
	}
	defer w.Close()
	return e.Profile(ctx, int(idle.Seconds()), w)
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}
