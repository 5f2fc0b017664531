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
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// A bench is what every case works with.
type bench struct {
	binary   string
	dir      string // each fleet gets a folder in it
	fleets   int
	requests int // of a zipf run
	rounds   int // of large and freeze
	profiles string
	set      settings
	lines    []line
}

// line is one row of the table.
type line struct{ figure, result, target string }

// settings is a flag that may be repeated.
type settings []string

func (s *settings) String() string { return strings.Join(*s, " ") }

// Set implements [flag.Value].
func (s *settings) Set(value string) error {
	*s = append(*s, value)
	return nil
}

type benchCase struct {
	name string
	run  func(*bench, context.Context) error
}

var cases = []benchCase{
	{"cold", (*bench).cold}, {"order", (*bench).order}, {"zipf", (*bench).zipf}, {"keep", (*bench).keep}, {"block", (*bench).block},
	{"large", (*bench).large}, {"kill", (*bench).kill}, {"freeze", (*bench).freeze}, {"roll", (*bench).roll},
	{"zones", (*bench).zones}, {"flash", (*bench).flash},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "bare" {
		exit(serveBare(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "relay" {
		exit(serveRelay(os.Args[2]))
	}
	b := &bench{}
	only := ""
	flag.StringVar(&b.binary, "binary", "", "the `PROGRAM` to measure (default: built from this repository)")
	flag.StringVar(&only, "only", "", "measure these `CASES`, separated by commas (default: all)")
	flag.IntVar(&b.requests, "requests", 24_000, "how `MANY` requests a zipf run has, a third of them to warm up")
	flag.IntVar(&b.rounds, "rounds", 3, "how `OFTEN` large and freeze are measured; the median counts")
	flag.StringVar(&b.profiles, "profile", "", "a `FOLDER` for profiles of the edges in large: the one that asks, and a sibling")
	flag.Var(&b.set, "set", "a further setting of every edge, as `key=value`; may be repeated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(b.run(ctx, only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/fleet: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (b *bench) run(ctx context.Context, only string) (err error) {
	var names []string
	if only != "" {
		names = strings.Split(only, ",")
	}
	for _, name := range names {
		if !slices.ContainsFunc(cases, func(c benchCase) bool { return c.name == name }) {
			return fmt.Errorf("only: %q: no such case", name)
		}
	}
	if b.dir, err = os.MkdirTemp("", "shoal-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.binary == "" {
		if b.binary, err = lab.Build(ctx, b.dir); err != nil {
			return err
		}
	}
	start := time.Now()
	for _, c := range cases {
		if len(names) > 0 && !slices.Contains(names, c.name) {
			continue
		}
		began := time.Now()
		if err := c.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, time.Since(began).Round(time.Second))
	}
	b.print(time.Since(start))
	return nil
}

// report adds a row to the table.
func (b *bench) report(figure, target, result string, args ...any) {
	b.lines = append(b.lines, line{figure, fmt.Sprintf(result, args...), target})
	fmt.Fprintf(os.Stderr, "  %s: %s (%s)\n", figure, b.lines[len(b.lines)-1].result, target)
}

func (b *bench) print(took time.Duration) {
	fmt.Printf("%s, %s, %d CPUs shared by all processes, %s/%s; took %s\n\n",
		time.Now().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, took.Round(time.Second))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.Debug|tabwriter.DiscardEmptyColumns)
	fmt.Fprintln(w, "| figure\t promise\t here\t")
	fmt.Fprintln(w, "|---\t---\t---\t")
	for _, l := range b.lines {
		fmt.Fprintf(w, "| %s\t %s\t %s\t\n", l.figure, l.target, l.result)
	}
	w.Flush()
}

// fleet starts n edges in front of an origin that has the site.
func (b *bench) fleet(ctx context.Context, n int, site *lab.Site, set ...string) (*lab.Fleet, *lab.Origin, error) {
	origin, err := lab.NewOrigin("", site)
	if err != nil {
		return nil, nil, err
	}
	b.fleets++
	dir := filepath.Join(b.dir, fmt.Sprintf("fleet-%d", b.fleets))
	f, err := lab.NewFleet(ctx, b.binary, dir, origin.URL(), append(set, b.set...)...)
	if err == nil {
		err = f.Start(ctx, n)
	}
	if err != nil {
		origin.Close()
		if f != nil {
			f.Close()
		}
		return nil, nil, err
	}
	return f, origin, nil
}

// end kills the edges and throws away what they kept.
func end(f *lab.Fleet, o *lab.Origin) {
	f.Close()
	o.Close()
	_ = os.RemoveAll(f.Dir)
}

// none returns an error if requests failed.
func none(tallies ...*lab.Tally) error {
	for _, t := range tallies {
		if n, err := t.Failed(); n > 0 {
			return fmt.Errorf("%d of %d requests failed: %w", n, t.Requests(), err)
		}
	}
	return nil
}
