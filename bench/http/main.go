package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// Options says what to measure and how long.
type Options struct {
	Binary      string // of the edge; "" builds it from this repository
	Connections int
	Round       time.Duration // how long a side is measured at a time
	Rounds      int           // how often each side is
	Set         settings      // further settings of the edge
	Parts       string        // the parts to measure, separated by commas; "" for all
	Only        string        // the one case to measure; "" for all
	Load        string        // wrk or builtin; "" is wrk where it is installed
	Large       int64         // bytes of the file of the part "large"
	Blocks      int           // in the store of the part "start"
	Files       int           // that each case of the part "first" asks for; of pages a quarter
	Profile     string        // a folder for a profile of the edge in each case; "" for none
}

// settings is a flag that may be repeated.
type settings []string

func (s *settings) String() string { return strings.Join(*s, " ") }

// Set implements [flag.Value].
func (s *settings) Set(value string) error {
	*s = append(*s, value)
	return nil
}

func main() {
	if len(os.Args) > 2 {
		switch mode, args := os.Args[1], os.Args[2:]; {
		case mode == "bare" && len(args) == 2:
			exit(serveBare(args[0], args[1]))
		case mode == "files" && len(args) == 2:
			exit(serveFiles(args[0], args[1]))
		case mode == "plain" && len(args) == 2:
			exit(servePlain(args[0], args[1]))
		case mode == "crowd" && len(args) == 1:
			exit(serveCrowd(args[0]))
		}
	}
	var o Options
	flag.StringVar(&o.Binary, "binary", "", "the `PROGRAM` to measure (default: built from this repository)")
	flag.IntVar(&o.Connections, "connections", 32, "how `MANY` connections ask at once")
	flag.DurationVar(&o.Round, "round", 2*time.Second, "how `LONG` a side is measured at a time; wrk takes whole seconds")
	flag.IntVar(&o.Rounds, "rounds", 5, "how `OFTEN` each side is measured; the medians count")
	flag.Var(&o.Set, "set", "a further setting of the edge, as `key=value`; may be repeated")
	flag.StringVar(&o.Parts, "parts", "", "measure these `PARTS`, separated by commas (default: all of "+partNames()+")")
	flag.StringVar(&o.Only, "only", "", "measure this one `CASE`")
	flag.StringVar(&o.Load, "load", "", "`wrk` or builtin: where the load comes from (default: wrk where it is installed)")
	flag.Int64Var(&o.Large, "large", 5<<30, "the `BYTES` of the file of the part large")
	flag.IntVar(&o.Blocks, "blocks", 1_000_000, "how `MANY` blocks the store of the part start holds")
	flag.IntVar(&o.Files, "files", 2000, "how `MANY` files each case of the part first asks for; of pages a quarter")
	flag.StringVar(&o.Profile, "profile", "", "a `FOLDER` for a processor profile of the edge in each case; slows it down a little")
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

func (o Options) validate() error {
	if o.Connections < 1 || o.Rounds < 1 || o.Round <= 0 || o.Large < 1<<20 || o.Blocks < 1 || o.Files < minFiles || o.Files > maxFiles {
		return fmt.Errorf("connections %d, rounds %d, round %s, large %d, blocks %d, files %d: expected positive numbers, a large file of at least 1 MiB, and %d to %d files",
			o.Connections, o.Rounds, o.Round, o.Large, o.Blocks, o.Files, minFiles, maxFiles)
	}
	if o.Load != "" && o.Load != "wrk" && o.Load != "builtin" {
		return fmt.Errorf("load: %q: expected wrk or builtin", o.Load)
	}
	for _, name := range o.partList() {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("parts: %q: expected some of %s", name, partNames())
		}
	}
	if o.Only != "" && !slices.ContainsFunc(parts, func(p part) bool { return len(p.only(o.Only).cases) > 0 }) {
		return fmt.Errorf("only: %q: no such case", o.Only)
	}
	return nil
}

func (o Options) partList() []string {
	if o.Parts == "" {
		return nil
	}
	return strings.Split(o.Parts, ",")
}

// A bench is what every part works with.
type bench struct {
	Options
	dir        string // for everything
	wrk, nginx string // where the programs are; "" when they are not used
	wrkScript  string
	out        io.Writer
}

func run(ctx context.Context, o Options) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	b := &bench{Options: o, out: os.Stdout}
	if b.dir, err = os.MkdirTemp("", "shoal-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s, %s, %d CPUs, %s/%s; %d connections (%d for the largest file), %d rounds of %s each; settings of the edge: default %v\n",
		time.Now().Format(time.DateOnly), runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		o.Connections, fewConnections, o.Rounds, o.Round, []string(o.Set))
	for _, p := range parts {
		if names := o.partList(); names != nil && !slices.Contains(names, p.name) {
			continue
		}
		if p = p.only(o.Only); o.Only != "" && len(p.cases) == 0 {
			continue
		}
		if err := b.runPart(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// prepare builds the edge and finds the programs that are not ours.
func (b *bench) prepare(ctx context.Context) error {
	if b.Binary == "" {
		var err error
		if b.Binary, err = lab.Build(ctx, b.dir); err != nil {
			return err
		}
	}
	binary, err := filepath.Abs(b.Binary)
	if err != nil {
		return err
	}
	b.Binary = binary
	if b.Load != "builtin" {
		if b.wrk, err = exec.LookPath("wrk"); err != nil {
			if b.Load == "wrk" {
				return fmt.Errorf("load: wrk: %w: install it, or say -load builtin", err)
			}
			fmt.Fprintln(b.out, "wrk is not installed: the load comes from the built-in generator.")
		} else if err := b.writeWrkScript(); err != nil {
			return err
		}
	}
	if b.nginx, err = exec.LookPath("nginx"); err != nil {
		b.nginx = ""
		fmt.Fprintln(b.out, "nginx is not installed: its columns stay empty.")
	}
	return nil
}

// runPart has a folder for the part, which goes when the part is over.
func (b *bench) runPart(ctx context.Context, p part) (err error) {
	whole := b.dir
	defer func() { b.dir = whole }()
	if b.dir, err = os.MkdirTemp(whole, p.name+"-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	fmt.Fprintf(b.out, "\n## %s\n\n", p.title)
	return p.run(b, ctx, p)
}

// only returns the part with just one of its cases; "" stands for all.
func (p part) only(name string) part {
	if name != "" {
		p.cases = slices.DeleteFunc(slices.Clone(p.cases), func(c benchCase) bool { return c.name != name })
	}
	return p
}
