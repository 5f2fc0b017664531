// Command pins measures the list of pins, go-ds-crdt in its place, and databases that
// could be below it.
//
//	go -C bench run ./pins [-n PINS] [-dir FOLDER] list|crdt|database|full ...
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	n := flag.Int("n", 100_000, "how many pins")
	dir := flag.String("dir", ".", "a folder on the disk to measure; for full, a small file system that may be filled up")
	flag.Parse()
	parts := map[string]func(dir string, n int) error{"list": measureList, "crdt": measureCRDT, "database": measureDatabases, "full": fillDisk}
	for _, part := range flag.Args() {
		if err := run(parts[part], *dir, *n); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", part, err)
			os.Exit(1)
		}
	}
}

func run(part func(string, int) error, parent string, n int) (err error) {
	if part == nil {
		return fmt.Errorf("no such part: list, crdt, database or full is expected")
	}
	dir, err := os.MkdirTemp(parent, "bench-pins-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return part(dir, n)
}

// identifier looks like a UUID, and comes in no order.
func identifier(i int) string {
	return fmt.Sprintf("%08x-1111-4222-8333-%012x", uint32(i*2654435761), i)
}

// show prints a figure.
func show(what string, value any) { fmt.Printf("%-48s %v\n", what, value) }

// each runs f n times and prints the median and the 99th percentile of its time.
func each(what string, n int, f func(i int) error) error {
	times := make([]time.Duration, n)
	for i := range times {
		start := time.Now()
		if err := f(i); err != nil {
			return err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	show(what, fmt.Sprintf("median %v, 99%% %v", times[n/2], times[n*99/100]))
	return nil
}

// timed runs f and prints how long it took.
func timed(what string, f func() error) error {
	start := time.Now()
	err := f()
	show(what, time.Since(start).Round(time.Millisecond/10))
	return err
}

func showDisk(what, dir string) error {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	})
	show(what, fmt.Sprintf("%.1f MB", float64(size)/1e6))
	return err
}

// heap returns what is in use in the Go heap, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident returns the lines of /proc about memory.
func resident() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	var found []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmHWM:") {
			found = append(found, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(found, ", ")
}
