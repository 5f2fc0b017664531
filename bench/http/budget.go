package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"
)

// What is asked for in the part "budget": more than twice the default memory cache.
const (
	budgetFiles = 600
	budgetSize  = 1 << 20
)

// budget measures what an edge costs that has more content than memory: the
// processor for a GB served, and the memory.
func (b *bench) budget(ctx context.Context, p part) error {
	files := filepath.Join(b.dir, "files")
	sizes := map[string]int64{}
	for i := range budgetFiles {
		sizes[fmt.Sprintf("%03d.bin", i)] = budgetSize
	}
	if err := writeFiles(files, sizes); err != nil {
		return err
	}
	edge, err := b.startEdge(ctx, files, p.set)
	if err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	defer edge.stop()
	idle := edge.memory("VmRSS")
	a := asking{status: 200, connections: b.Connections}
	// Nearly all requests are for a tenth of the files, as on the web.
	order := rand.New(rand.NewPCG(1, 2))
	for range 20 * budgetFiles {
		i := order.IntN(budgetFiles / 10)
		if order.IntN(10) == 0 {
			i = order.IntN(budgetFiles)
		}
		a.requests = append(a.requests, benchCase{path: fmt.Sprintf("/%03d.bin", i)}.request(edge, ""))
	}
	r, err := load(ctx, edge, a, time.Duration(b.Rounds)*b.Round)
	if err != nil {
		return err
	}
	const cache = 256 << 20 // cache.memory, unless -set says otherwise
	fmt.Fprintf(b.out, "%d files of 1 MiB, nine of ten requests for a tenth of them, for %s: %.0f MB/s, p50 %s, p99 %s.\n",
		budgetFiles, r.wall.Round(time.Second), r.bytes/1e6, short(r.p50), short(r.p99))
	fmt.Fprintf(b.out, "Processor time per GB served: %s.\n", short(r.cpuPerGB()))
	fmt.Fprintf(b.out, "Resident memory of the edge: %s at the start, %s after the load, %s at most. The budget: cache.memory (%s by default), an eighth of it, and 64 MiB: %s.\n",
		mib(idle), mib(edge.memory("VmRSS")), mib(edge.memory("VmHWM")), mib(cache), mib(cache+cache/8+64<<20))
	return nil
}
