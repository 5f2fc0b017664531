package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Options says what to measure and how long.
type Options struct {
	Binary      string // of the edge; "" builds it from this repository
	Connections int
	Round       time.Duration // how long a side is measured at a time
	Rounds      int           // how often each side is
	Set         settings      // further settings of the edge
	Only        string        // the one case to measure; "" for all
}

// settings is a flag that may be repeated.
type settings []string

func (s *settings) String() string { return fmt.Sprint(*s) }

// Set implements [flag.Value].
func (s *settings) Set(value string) error {
	*s = append(*s, value)
	return nil
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "bare" {
		exit(serveBare(os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 4 && os.Args[1] == "files" {
		exit(serveFiles(os.Args[2], os.Args[3]))
	}
	var o Options
	flag.StringVar(&o.Binary, "binary", "", "the `PROGRAM` to measure (default: built from this repository)")
	flag.IntVar(&o.Connections, "connections", 32, "how `MANY` connections ask at once")
	flag.DurationVar(&o.Round, "round", 2*time.Second, "how `LONG` a side is measured at a time")
	flag.IntVar(&o.Rounds, "rounds", 3, "how `OFTEN` each side is measured; the median counts")
	flag.Var(&o.Set, "set", "a further setting of the edge, as `key=value`; may be repeated")
	flag.StringVar(&o.Only, "only", "", "measure this one `CASE`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/http: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o Options) (err error) {
	if o.Connections < 1 || o.Rounds < 1 || o.Round <= 0 {
		return fmt.Errorf("connections %d, rounds %d, round %s: must be positive", o.Connections, o.Rounds, o.Round)
	}
	if o.Only != "" && !slices.ContainsFunc(parts, func(p part) bool { return len(p.only(o.Only).cases) > 0 }) {
		return fmt.Errorf("only: %q: no such case", o.Only)
	}
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files := filepath.Join(dir, "files")
	if err := writeFiles(files); err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs, %s/%s, %d connections (%d for the largest file), %d rounds of %s each; settings of the edge: default %v\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, o.Connections, fewConnections, o.Rounds, o.Round, []string(o.Set))
	for _, p := range parts {
		if p = p.only(o.Only); len(p.cases) == 0 {
			continue
		}
		if err := p.run(ctx, o, dir, files); err != nil {
			return fmt.Errorf("%s: %w", p.title, err)
		}
	}
	return nil
}

// only returns the part with just one of its cases; "" stands for all.
func (p part) only(name string) part {
	if name != "" {
		p.cases = slices.DeleteFunc(slices.Clone(p.cases), func(c benchCase) bool { return c.name != name })
	}
	return p
}

// run measures the part's cases and prints them.
func (p part) run(ctx context.Context, o Options, dir, files string) error {
	bare, err := startBare(ctx, files, p.fromDisk)
	if err != nil {
		return fmt.Errorf("start the bare server: %w", err)
	}
	defer bare.stop()
	o.Set = append(slices.Clone(o.Set), p.set...)
	edge, err := startEdge(ctx, o, dir, files)
	if err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	defer edge.stop()
	idle := edge.memory()
	fmt.Printf("\n## %s\n\n%s", p.title, heading)
	for _, c := range p.cases {
		pair, err := measure(ctx, o, c, files, bare, edge)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Print(pair.row(c))
		if c.few && pair.edge.cpu > 0 {
			perGB := func(r round) time.Duration { return time.Duration(float64(r.cpu) * r.perSecond / r.bytes * 1e9) }
			defer fmt.Printf("CPU per GB served, %s: %s by net/http, %s by the edge.\n", c.name, short(perGB(pair.bare)), short(perGB(pair.edge)))
		}
	}
	fmt.Printf("\nResident memory of the edge: %d MiB at the start, %d MiB after the load.\n", idle>>20, edge.memory()>>20)
	return nil
}

// measure takes turns between the two servers and returns each one's median round.
func measure(ctx context.Context, o Options, c benchCase, files string, bare, edge *server) (pair, error) {
	sides := [2]*server{bare, edge}
	var rounds [2][]round
	for i, s := range sides {
		if err := check(s, c, files); err != nil {
			return pair{}, fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := load(ctx, s, c, o.Connections, o.Round/4); err != nil {
			return pair{}, fmt.Errorf("%s: warm up: %w", sides[i].name, err)
		}
	}
	for range o.Rounds {
		for i, s := range sides {
			r, err := load(ctx, s, c, o.Connections, o.Round)
			if err != nil {
				return pair{}, fmt.Errorf("%s: %w", s.name, err)
			}
			rounds[i] = append(rounds[i], r)
		}
	}
	return pair{median(rounds[0]), median(rounds[1])}, nil
}
