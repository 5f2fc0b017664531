package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	boxo "github.com/ipfs/boxo/blockstore"
)

// speed is what one store did with the blocks: times per operation, the rest in
// bytes.
type speed struct {
	put, get, view, has, size time.Duration
	evict                     time.Duration // per block put into a full store, making room included
	written, stored           int64         // for the puts, until the store was closed
	afterEviction             int64         // in the folder, right after the last put
	limit                     int64         // what the folder was to hold
}

func (s speed) amplification() float64 { return float64(s.written) / float64(s.stored) }

// syscallBytes is what this process has passed to write(2) and its kin so far.
func syscallBytes() (n int64, err error) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("no wchar in /proc/self/io")
}

// rounds is how often everything is read. The contenders take turns, and the best
// round of each counts: whatever else the machine does can only make one slower.
const rounds = 9

// arena is one contender's store, open.
type arena struct {
	contender
	dir    string
	store  boxo.Blockstore
	closer io.Closer
	speed
}

// measureSpeed puts, reads and evicts blocks of one size.
func measureSpeed(parent string, blocks int, size uint32) ([]speed, error) {
	var all []*arena
	defer func() {
		for _, a := range all {
			a.closer.Close()
			os.RemoveAll(a.dir)
		}
	}()
	limit := int64(blocks)*int64(size+300)*11/10 + 64<<20
	for _, c := range contenders {
		a, err := fillArena(c, parent, limit, blocks, size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, a)
	}
	if err := readArenas(all, blocks, size); err != nil {
		return nil, err
	}
	var result []speed
	for _, a := range all {
		a.limit = max(16<<20, int64(blocks)*int64(size)/2)
		err := a.withStore(parent, a.limit, func(dir string, s boxo.Blockstore) error {
			return turnOver(a.contender, dir, s, blocks, size, &a.speed)
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		result = append(result, a.speed)
	}
	return result, nil
}

// fillArena puts the blocks, and counts what is written until the store is closed:
// some write long after the put. It returns the store opened again.
func fillArena(c contender, parent string, limit int64, blocks int, size uint32) (*arena, error) {
	dir, err := os.MkdirTemp(parent, c.name+"-")
	if err != nil {
		return nil, err
	}
	a := &arena{contender: c, dir: dir}
	before, err := syscallBytes()
	if err != nil {
		return nil, err
	}
	if a.store, a.closer, err = c.open(dir, limit); err != nil {
		return nil, err
	}
	start := time.Now()
	for i := range blocks {
		err = errors.Join(err, a.store.Put(background, madeUp(uint64(i), size)))
	}
	a.put = time.Since(start) / time.Duration(blocks)
	if err := errors.Join(err, a.closer.Close()); err != nil {
		return nil, err
	}
	after, err := syscallBytes()
	if err != nil {
		return nil, err
	}
	a.written, a.stored = after-before, int64(blocks)*int64(size)
	a.store, a.closer, err = c.open(dir, limit)
	return a, err
}

// readArenas measures what changes nothing, the contenders taking turns.
func readArenas(all []*arena, blocks int, size uint32) error {
	order := rand.New(rand.NewPCG(3, 3)).Perm(blocks)
	operations := []struct {
		result func(*arena) *time.Duration
		run    func(*arena, uint64) error
	}{
		{func(a *arena) *time.Duration { return &a.get }, func(a *arena, o uint64) error {
			b, err := a.store.Get(background, madeUpCID(o))
			if err == nil && len(b.RawData()) != int(size) {
				err = fmt.Errorf("object %d has %d bytes", o, len(b.RawData()))
			}
			return err
		}},
		{func(a *arena) *time.Duration { return &a.view }, func(a *arena, o uint64) error {
			if v, ok := a.store.(boxo.Viewer); ok {
				return v.View(background, madeUpCID(o), func([]byte) error { return nil })
			}
			_, err := a.store.Get(background, madeUpCID(o))
			return err
		}},
		{func(a *arena) *time.Duration { return &a.has }, func(a *arena, o uint64) error {
			_, err := a.store.Has(background, madeUpCID(o))
			return err
		}},
		{func(a *arena) *time.Duration { return &a.size }, func(a *arena, o uint64) error {
			_, err := a.store.GetSize(background, madeUpCID(o))
			return err
		}},
	}
	for _, op := range operations {
		times := make([][]time.Duration, len(all))
		for round := range rounds {
			for turn := range all {
				// Each goes first now and then: it finds the heap as the last one left it.
				i := (round + turn) % len(all)
				a := all[i]
				runtime.GC()
				start := time.Now()
				for _, o := range order {
					if err := op.run(a, uint64(o)); err != nil {
						return fmt.Errorf("%s: %w", a.name, err)
					}
				}
				times[i] = append(times[i], time.Since(start)/time.Duration(blocks))
			}
		}
		for i, a := range all {
			*op.result(a) = slices.Min(times[i])
		}
	}
	return nil
}

// turnOver puts into a store that is full. Shoal makes room by itself; for the
// others, the oldest block is deleted for each that is put.
func turnOver(c contender, dir string, s boxo.Blockstore, blocks int, size uint32, result *speed) error {
	full := int(result.limit / int64(size))
	for i := range full {
		if err := s.Put(background, madeUp(uint64(i), size)); err != nil {
			return err
		}
	}
	start := time.Now()
	for i := full; i < full+blocks/2; i++ {
		if c.name != "shoal" {
			if err := s.DeleteBlock(background, madeUpCID(uint64(i-full))); err != nil {
				return err
			}
		}
		if err := s.Put(background, madeUp(uint64(i), size)); err != nil {
			return err
		}
	}
	result.evict = time.Since(start) / time.Duration(blocks/2)
	result.afterEviction = folderBytes(dir)
	return nil
}

// opening is what a store with many small blocks costs.
type opening struct {
	blocks int
	fill   time.Duration // storing them all
	reopen time.Duration
	heap   int64 // of the open store, in bytes
}

func measureOpening(c contender, parent string, blocks int) (result opening, err error) {
	const size = 100
	result.blocks = blocks
	capacity := int64(blocks)*(size+200) + 64<<20
	dir, err := os.MkdirTemp(parent, c.name+"-")
	if err != nil {
		return result, err
	}
	defer os.RemoveAll(dir)
	s, closer, err := c.open(dir, capacity)
	if err != nil {
		return result, err
	}
	start := time.Now()
	for i := range blocks {
		err = errors.Join(err, s.Put(background, madeUp(uint64(i), size)))
	}
	result.fill = time.Since(start)
	if err = errors.Join(err, closer.Close()); err != nil {
		return result, err
	}
	s, closer = nil, io.Closer(nil)
	empty := heap()
	start = time.Now()
	if s, closer, err = c.open(dir, capacity); err != nil {
		return result, err
	}
	// Until the first block has been read, it is not open.
	_, err = s.Get(background, madeUpCID(uint64(blocks/2)))
	result.reopen = time.Since(start)
	result.heap = heap() - empty
	return result, errors.Join(err, closer.Close())
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
