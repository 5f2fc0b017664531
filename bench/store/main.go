// Command store compares Shoal's block store with the two datastores that IPFS
// nodes keep their blocks in, pebble and flatfs, and its eviction with LRU:
//
//	go -C bench run ./store [-dir FOLDER-ON-THE-DISK-TO-MEASURE] [-traces FOLDER]
//
// All
// sides run in one process on the same blocks; what counts is the ratios.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", os.TempDir(), "folder for the stores, on the disk to measure")
	flag.StringVar(&o.traces, "traces", "", "folder of cloudphysics.bin and oltp.gz, to replay them as well")
	flag.StringVar(&o.parts, "parts", "speed,open,replay", "what to run")
	flag.Int64Var(&o.bytes, "bytes", 512<<20, "bytes of blocks to put and get, of each size")
	flag.IntVar(&o.many, "many", 1_000_000, "small blocks to open a store of")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	dir, traces, parts string
	bytes              int64
	many               int
}

func run(o options) error {
	for _, part := range []struct {
		name string
		run  func(options) error
	}{{"speed", reportSpeed}, {"open", reportOpening}, {"replay", reportReplay}} {
		if strings.Contains(o.parts, part.name) {
			if err := part.run(o); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

func table() *tabwriter.Writer { return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0) }

// memoryCache is what an edge holds in memory by default. It makes the garbage
// collector run as often, for all contenders, as it would there: without it, get
// measures little else, because a bench that keeps nothing collects all the time.
const memoryCache = 256 << 20

func reportSpeed(o options) error {
	ballast := make([]byte, memoryCache)
	defer runtime.KeepAlive(ballast)
	for _, size := range []int64{4 << 10, 32 << 10, 256 << 10} {
		blocks := int(min(o.bytes/size, 20_000))
		all, err := measureSpeed(o.dir, blocks, uint32(size))
		if err != nil {
			return err
		}
		fmt.Printf("\n## %d blocks of %d KiB\n\n", blocks, size>>10)
		if err := printSpeed(all); err != nil {
			return err
		}
	}
	return nil
}

func printSpeed(all []speed) error {
	t := table()
	fmt.Fprint(t, "|\t")
	for _, c := range contenders {
		fmt.Fprintf(t, "| %s\t", c.name)
	}
	fmt.Fprintln(t, "| flatfs / shoal\t| pebble / shoal\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|")
	row := func(name, format string, value func(speed) float64) {
		fmt.Fprintf(t, "| %s\t", name)
		for _, s := range all {
			fmt.Fprintf(t, "| "+format+"\t", value(s))
		}
		fmt.Fprintf(t, "| %.2f\t| %.2f\t|\n", value(all[1])/value(all[0]), value(all[2])/value(all[0]))
	}
	duration := func(name string, value func(speed) time.Duration) {
		row(name+", µs", "%.2f", func(s speed) float64 { return float64(value(s).Nanoseconds()) / 1000 })
	}
	duration("put", func(s speed) time.Duration { return s.put })
	duration("get", func(s speed) time.Duration { return s.get })
	duration("view (the others: get)", func(s speed) time.Duration { return s.view })
	duration("has", func(s speed) time.Duration { return s.has })
	duration("size", func(s speed) time.Duration { return s.size })
	duration("put into a full store", func(s speed) time.Duration { return s.evict })
	row("bytes written per byte stored", "%.3f", speed.amplification)
	row("bytes in the folder when full, per byte allowed", "%.3f", func(s speed) float64 { return float64(s.afterEviction) / float64(s.limit) })
	return t.Flush()
}

func reportOpening(o options) error {
	fmt.Printf("\n## Opening a store of %d blocks of 100 bytes\n\n", o.many)
	t := table()
	fmt.Fprintln(t, "|\t| blocks\t| to store them, s\t| to open, s\t| heap per block, bytes\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|")
	for _, c := range contenders {
		blocks := o.many
		if c.name == "flatfs" {
			// A file for each: a million would measure the file system's patience.
			blocks /= 20
		}
		n, err := measureOpening(c, o.dir, blocks)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprintf(t, "| %s\t| %d\t| %.2f\t| %.3f\t| %.1f\t|\n", c.name, n.blocks, n.fill.Seconds(), n.reopen.Seconds(), float64(n.heap)/float64(n.blocks))
	}
	return t.Flush()
}

func reportReplay(o options) error {
	workloads := []workload{}
	for _, s := range []float64{0.8, 0.9, 1.0} {
		workloads = append(workloads, zipf(s, 100_000, 600_000, 8<<10))
	}
	workloads = append(workloads, scanned(zipf(0.9, 100_000, 400_000, 8<<10)))
	if o.traces != "" {
		for _, read := range []func(string) (workload, error){cloudphysics, oltp} {
			w, err := read(o.traces)
			if err != nil {
				return err
			}
			workloads = append(workloads, w)
		}
	}
	fmt.Printf("\n## Hit ratio against LRU of as many bytes\n\n")
	t := table()
	fmt.Fprintln(t, "| workload\t| capacity, MiB\t| share of all\t| hits\t| LRU\t| ratio\t| hit bytes\t| LRU\t| written per byte stored\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, w := range workloads {
		all := w.unique()
		for _, share := range []float64{0.03, 0.1, 0.3} {
			capacity := max(16<<20, int64(share*float64(all)))
			got, err := replayStore(w, o.dir, capacity)
			if err != nil {
				return err
			}
			lru := replayLRU(w, capacity)
			fmt.Fprintf(t, "| %s\t| %d\t| %.0f%%\t| %.4f\t| %.4f\t| %.3f\t| %.4f\t| %.4f\t| %.3f\t|\n",
				w.name, capacity>>20, 100*float64(capacity)/float64(all), got.ratio(), lru.ratio(), got.ratio()/lru.ratio(),
				got.byteRatio(), lru.byteRatio(), got.amplification())
		}
	}
	return t.Flush()
}
