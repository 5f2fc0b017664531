package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A neighbour is what the edge does beside the hits that are measured.
type neighbour struct {
	name     string
	visitors func(b *bench, most int) int // most is gateway.max_requests
	hold     bool
	hits     bool // the visitors ask for what is hot
}

func asMany(b *bench, _ int) int { return b.Connections }

var neighbours = []neighbour{
	{name: "nothing", visitors: func(*bench, int) int { return 0 }},
	// More than the edge lets wait: the others get 503 and come again.
	{name: "misses that wait for the origin, as many as may", visitors: func(_ *bench, most int) int { return most + 8 }, hold: true},
	{name: "misses that the origin answers at once", visitors: asMany},
	{name: "the same number of further hits", visitors: asMany, hits: true},
}

// besideCase is the hit that is measured.
var besideCase = benchCase{name: "4 KiB", path: "/4k.bin"}

// beside measures how long hits take beside misses. The second neighbour shows
// whether hits wait for misses; the third also takes processor time away, and the
// last one tells how much of that any load does.
func (b *bench) beside(ctx context.Context, p part) error {
	files := filepath.Join(b.dir, "files")
	if err := writeFiles(files, p.files); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	cmd, err := self(ctx, "crowd", addr)
	if err != nil {
		return err
	}
	origin, err := begin(ctx, "crowd", addr, filepath.Join(b.dir, "crowd.log"), cmd)
	if err != nil {
		return err
	}
	defer origin.stop()
	most, err := b.mostWaiting()
	if err != nil {
		return err
	}
	edge, err := b.startEdge(ctx, files, append(slices.Clone(p.set), "gateway.serve=any",
		"gateway.max_requests="+strconv.Itoa(most), "origins=[{type: gateway, url: \"http://"+addr+"\"}]"))
	if err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	defer edge.stop()
	if err := check(edge, besideCase, files); err != nil {
		return err
	}
	rounds := make(result, len(neighbours))
	tallies := make([]crowdTally, len(neighbours))
	for range b.Rounds {
		for i, n := range neighbours {
			one, t, err := b.beneath(ctx, n, edge, crowdClient{origin}, most)
			if err != nil {
				return fmt.Errorf("beside %s: %w", n.name, err)
			}
			rounds[i], tallies[i] = append(rounds[i], one), t
		}
	}
	b.printBeside(rounds, tallies, most)
	fmt.Fprintf(b.out, "\nResident memory of the edge: %s after the load, %s at most.\n", mib(edge.memory("VmRSS")), mib(edge.memory("VmHWM")))
	return nil
}

// mostWaiting is gateway.max_requests: what -set says, or else the default.
func (b *bench) mostWaiting() (int, error) {
	most := maxRequests()
	for _, s := range b.Set {
		if value, ok := strings.CutPrefix(s, "gateway.max_requests="); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				return 0, fmt.Errorf("set: %q: expected a number: %w", s, err)
			}
			most = n
		}
	}
	return most, nil
}

// beneath measures one round of hits beside a neighbour, and returns what that one
// saw, too.
func (b *bench) beneath(ctx context.Context, n neighbour, edge *server, c crowdClient, most int) (r round, t crowdTally, err error) {
	path := ""
	if n.hits {
		path = besideCase.path
	}
	if err := c.come(ctx, edge, n.visitors(b, most), n.hold, path); err != nil {
		return r, t, err
	}
	defer func() { err = errors.Join(err, c.leave(ctx)) }()
	for deadline := time.Now().Add(10 * time.Second); n.hold && t.Refused == 0; time.Sleep(10 * time.Millisecond) {
		if t, err = c.tally(ctx); err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%d visitors wait, and none was refused: the edge is not full", t.Waiting)
		}
		if err != nil {
			return r, t, err
		}
	}
	wait := b.profile(ctx, benchCase{name: "beside " + n.name}, edge)
	r, err = load(ctx, edge, b.requests(edge, besideCase), b.Round)
	wait()
	if err != nil {
		return r, t, err
	}
	t, err = c.tally(ctx)
	return r, t, err
}

func (b *bench) printBeside(rounds result, tallies []crowdTally, most int) {
	fmt.Fprintf(b.out, "Hits of 4 KiB on %d connections; gateway.max_requests is %d. The visitors and the origin are a process of their own, which shares the machine.\n\n", b.Connections, most)
	fmt.Fprint(b.out, "| beside | hits/s | p50 | p99 | **p99, ratio to nothing** | the others, in the last round |\n|---|---|---|---|---|---|\n")
	for i, n := range neighbours {
		all := slices.Clone(rounds[i])
		slices.SortFunc(all, func(a, b round) int { return cmp.Compare(a.p99, b.p99) })
		m := all[len(all)/2]
		ratio, _ := rounds.ratio(i, 0, func(r round) float64 { return float64(r.p99) })
		t := tallies[i]
		fmt.Fprintf(b.out, "| %s | %.0f | %s | %s | **%.2f** | %d answered, %d waiting, %d refused, %d fetched from the origin |\n",
			n.name, m.perSecond, short(m.p50), short(m.p99), ratio, t.Answered, t.Waiting, t.Refused, t.Fetched)
	}
}
