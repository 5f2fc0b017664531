package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// trace is what a crowd asks for, one block after the other.
type trace struct {
	name     string
	content  *content
	requests []int32
}

// zipf returns a trace in which the k-th most popular block is asked for with a
// probability proportional to 1/k^s.
func zipf(k *content, s float64, requests int, rng *rand.Rand) *trace {
	sums := make([]float64, k.len())
	total := 0.0
	for i := range sums {
		total += math.Pow(float64(i+1), -s)
		sums[i] = total
	}
	t := &trace{name: fmt.Sprintf("Zipf %.1f", s), content: k, requests: make([]int32, requests)}
	for i := range t.requests {
		t.requests[i] = int32(search(sums, rng.Float64()*total))
	}
	return t
}

// readTrace reads a trace of real requests: text lines of "first-block
// number-of-blocks ..." (the ARC traces), or records of 24 bytes, little-endian:
// time, object (8 bytes), size, next access (8 bytes) (libCacheSim's oracleGeneral).
// A file whose name ends in .gz is unpacked.
func readTrace(path string) (*trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	name := filepath.Base(path)
	in := io.Reader(bufio.NewReader(f))
	if strings.HasSuffix(name, ".gz") {
		name = strings.TrimSuffix(name, ".gz")
		if in, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("read trace %s: %w", path, err)
		}
	}
	r := &recorder{trace: &trace{name: strings.TrimSuffix(name, filepath.Ext(name)), content: &content{}}, seen: map[uint64]int32{}}
	if filepath.Ext(name) == ".bin" {
		err = r.readRecords(in)
	} else {
		err = r.readLines(in)
	}
	if err == nil && len(r.requests) == 0 {
		err = fmt.Errorf("no requests in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read trace %s: %w", path, err)
	}
	return r.trace, nil
}

// recorder numbers the objects of a trace.
type recorder struct {
	*trace
	seen map[uint64]int32
}

// maxRequests bounds what is read of a trace.
const maxRequests = 1 << 26

func (r *recorder) ask(object uint64, size int32) error {
	if len(r.requests) == maxRequests {
		return fmt.Errorf("more than %d requests", maxRequests)
	}
	n, ok := r.seen[object]
	if !ok {
		n = int32(r.content.len())
		r.seen[object] = n
		r.content.add(size, false)
	}
	r.requests = append(r.requests, n)
	return nil
}

func (r *recorder) readRecords(in io.Reader) error {
	var buf [24]byte
	for {
		if _, err := io.ReadFull(in, buf[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("record %d: %w", len(r.requests)+1, err)
		}
		size := binary.LittleEndian.Uint32(buf[12:])
		if size == 0 || size > 2<<20 {
			return fmt.Errorf("record %d: %d bytes: expected 1 to 2 MiB, as a block may have", len(r.requests)+1, size)
		}
		if err := r.ask(binary.LittleEndian.Uint64(buf[4:]), int32(size)); err != nil {
			return err
		}
	}
}

// pageSize is what a block of a trace in lines is taken to have: it does not say.
const pageSize = 4 << 10

func (r *recorder) readLines(in io.Reader) error {
	line := 0
	scan := bufio.NewScanner(in)
	for scan.Scan() {
		line++
		fields := strings.Fields(scan.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 {
			return fmt.Errorf("line %d: %q: expected the first block and the number of blocks", line, scan.Text())
		}
		first, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return fmt.Errorf("line %d: first block: %w", line, err)
		}
		count, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("line %d: number of blocks: %w", line, err)
		}
		if count > maxRequests {
			return fmt.Errorf("line %d: %d blocks: expected at most %d", line, count, maxRequests)
		}
		for i := range count {
			if err := r.ask(first+i, pageSize); err != nil {
				return fmt.Errorf("line %d: %w", line, err)
			}
		}
	}
	return scan.Err()
}
