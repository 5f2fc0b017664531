package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/swarm/placement"
)

// Options says what to simulate.
type Options struct {
	Only   string // the one scenario to run; "" for all but the sweep
	Edges  list[int]
	Seed   uint64
	JSON   bool
	Traces list[string]

	Blocks    int // of the made-up content; 0: by the number of edges
	BlockSize int
	Index     float64       // share of them that are index blocks
	Zipf      list[float64] // exponents
	Requests  int           // for each block
	Interval  time.Duration // between requests at the whole fleet
	Share     list[float64] // the fleet's capacity as a share of the content, in per cent

	Memory     float64 // share of an edge's capacity that is memory
	HotShare   float64
	Remembered float64 // fetches remembered for each block that the disk has space for
	LRUDisk    bool
	Spread     bool
	Weights    list[int64]

	Latency   time.Duration
	Origin    time.Duration
	Bandwidth float64 // MB/s
	Visitors  int     // at each edge, of a crowd
}

// What the settings of an edge come to by default: 256 MiB of memory beside 10 GiB
// of disk, and 65536 remembered fetches for blocks of 256 KiB.
const (
	defaultMemory     = 256.0 / (256 + 10<<10)
	defaultRemembered = 65536.0 / (10 << 30 / (256 << 10))
)

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err == nil {
		err = run(o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench/sim: %v\n", err)
		os.Exit(1)
	}
}

func defaults() Options {
	return Options{
		Edges: list[int]{10}, Seed: 1, BlockSize: 64 << 10, Zipf: list[float64]{0.8, 0.9, 1}, Requests: 20,
		Interval: time.Millisecond, Share: list[float64]{5, 20, 50}, Memory: defaultMemory,
		HotShare: placement.DefaultAdmissionOptions().HotShare, Remembered: defaultRemembered, Spread: true,
		Latency: time.Millisecond, Origin: 80 * time.Millisecond, Bandwidth: 125, Visitors: 16,
	}
}

func parse(args []string) (Options, error) {
	o := defaults()
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.StringVar(&o.Only, "only", "", "run this one `SCENARIO`: "+strings.Join(names(), ", "))
	f.Var(&o.Edges, "edges", "numbers of `EDGES`, with commas between them")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "where randomness starts")
	f.BoolVar(&o.JSON, "json", false, "print a line of JSON for each row instead of tables")
	f.Var(&o.Traces, "trace", "`FILE`s of real requests to replay instead of Zipf: *.bin (libCacheSim's oracleGeneral) or text of `first count` lines, either of them maybe .gz")
	f.IntVar(&o.Blocks, "blocks", 0, "how many `BLOCKS` there are (default: by the number of edges)")
	f.IntVar(&o.BlockSize, "block", o.BlockSize, "their size in `BYTES`")
	f.Float64Var(&o.Index, "index", 0, "`SHARE` of them that are index blocks")
	f.Var(&o.Zipf, "zipf", "`EXPONENTS` of popularity")
	f.IntVar(&o.Requests, "requests", o.Requests, "how many `REQUESTS` for each block, on average")
	f.DurationVar(&o.Interval, "interval", o.Interval, "`TIME` between two requests at the fleet")
	f.Var(&o.Share, "share", "how much the fleet can hold, in `PER CENT` of all blocks")
	f.Float64Var(&o.Memory, "memory", o.Memory, "`SHARE` of an edge's capacity that is memory")
	f.Float64Var(&o.HotShare, "hot", o.HotShare, "HotShare of the admission")
	f.Float64Var(&o.Remembered, "remembered", o.Remembered, "`FETCHES` that the admission remembers, for each block that the disk has space for")
	f.BoolVar(&o.LRUDisk, "lru", false, "evict from disks like an LRU list")
	f.BoolVar(&o.Spread, "spread", o.Spread, "ask the next in rank for hot blocks whose home has too much to do")
	f.Var(&o.Weights, "weights", "disks of the edges, in turn, as `MULTIPLES`")
	f.DurationVar(&o.Latency, "latency", o.Latency, "one way between two edges")
	f.DurationVar(&o.Origin, "origin", o.Origin, "how long the origin takes")
	f.Float64Var(&o.Bandwidth, "bandwidth", o.Bandwidth, "`MB/s` between two edges")
	f.IntVar(&o.Visitors, "visitors", o.Visitors, "`VISITORS` at each edge in a crowd")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q: expected flags only", f.Arg(0))
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if o.Only != "" && !slices.Contains(names(), o.Only) {
		return fmt.Errorf("only: %q: expected one of %s", o.Only, strings.Join(names(), ", "))
	}
	positive := func(name string, ok bool, value any, want string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%s: %v: expected %s", name, value, want)
	}
	none := func(bad bool) bool { return !bad }
	return errors.Join(
		positive("edges", len(o.Edges) > 0 && none(slices.ContainsFunc(o.Edges, func(n int) bool { return n < 1 || n > 20000 })), o.Edges, "numbers from 1 to 20000"),
		positive("blocks", o.Blocks >= 0 && o.Blocks <= 1<<24, o.Blocks, "a number up to 16777216"),
		positive("block", o.BlockSize >= 1 && o.BlockSize <= 2<<20, o.BlockSize, "1 to 2097152 bytes"),
		positive("index", o.Index >= 0 && o.Index <= 1, o.Index, "a share from 0 to 1"),
		positive("zipf", none(slices.ContainsFunc(o.Zipf, func(s float64) bool { return !(s >= 0 && s <= 10) })), o.Zipf, "exponents from 0 to 10"),
		positive("requests", o.Requests >= 1, o.Requests, "at least 1"),
		positive("share", none(slices.ContainsFunc(o.Share, func(s float64) bool { return !(s > 0 && s <= 1000) })), o.Share, "per cent, more than 0"),
		positive("memory", o.Memory >= 0 && o.Memory < 1, o.Memory, "a share from 0 to less than 1"),
		positive("hot", o.HotShare >= 0 && o.HotShare < 1, o.HotShare, "a share from 0 to less than 1"),
		positive("remembered", o.Remembered >= 0 && o.Remembered <= 1000, o.Remembered, "0 to 1000"),
		positive("weights", none(slices.ContainsFunc(o.Weights, func(w int64) bool { return w < 1 || w > 1<<20 })), o.Weights, "multiples from 1 to 1048576"),
		positive("interval", o.Interval >= 0, o.Interval, "a time"),
		positive("latency", o.Latency >= 0 && o.Latency <= time.Second, o.Latency, "at most a second"),
		// A home that takes longer than PendingMax is not waited for, which is not
		// simulated; origins vary by half.
		positive("origin", o.Origin >= 0 && o.Origin <= 3*time.Second, o.Origin, "at most 3s"),
		positive("bandwidth", o.Bandwidth > 0, o.Bandwidth, "MB/s, more than 0"),
		positive("visitors", o.Visitors >= 1, o.Visitors, "at least 1"),
	)
}

// setup is a fleet of n edges that together hold capacity bytes.
func (o Options) setup(n int, capacity, blockSize float64) Setup {
	s := Setup{
		Edges: n, Weights: o.Weights, HotShare: o.HotShare, LRUDisk: o.LRUDisk, Spread: o.Spread, Latency: o.Latency,
		Origin: o.Origin, Bandwidth: int64(o.Bandwidth * 1e6), Seed: o.Seed,
	}
	weights := int64(0)
	for i := range n {
		weights += s.weight(i)
	}
	s.Memory = int64(capacity * o.Memory / float64(n))
	s.Disk = int64(capacity * (1 - o.Memory) / float64(weights))
	s.Remembered = max(1, int(o.Remembered*float64(s.Disk)/blockSize))
	return s
}

func run(o Options, out io.Writer) error {
	r := &report{out: out, json: o.JSON}
	for _, s := range scenarios {
		if o.Only == s.name || o.Only == "" && !s.onRequest {
			if err := s.run(o, r); err != nil {
				return err
			}
		}
	}
	return r.err
}

// list is a flag with several values.
type list[T int | int64 | float64 | string] []T

func (l *list[T]) String() string {
	var parts []string
	for _, v := range *l {
		parts = append(parts, fmt.Sprint(v))
	}
	return strings.Join(parts, ",")
}

// Set implements [flag.Value].
func (l *list[T]) Set(value string) error {
	*l = nil
	for part := range strings.SplitSeq(value, ",") {
		var v T
		var err error
		switch p := any(&v).(type) {
		case *int:
			*p, err = strconv.Atoi(part)
		case *int64:
			*p, err = strconv.ParseInt(part, 10, 64)
		case *float64:
			*p, err = strconv.ParseFloat(part, 64)
		case *string:
			*p = part
		}
		if err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}
