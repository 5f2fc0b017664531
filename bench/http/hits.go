package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// hits measures the part's cases on every server and prints them.
func (b *bench) hits(ctx context.Context, p part) error {
	files := filepath.Join(b.dir, "files")
	if err := writeFiles(files, p.files); err != nil {
		return err
	}
	sides, err := b.startSides(ctx, p, files)
	defer stopAll(sides)
	if err != nil {
		return err
	}
	edge := sides[1]
	idle := edge.memory("VmRSS")
	// Every file is asked for before anything is measured: the garbage collectors
	// of both sides have the same content to look after then, throughout.
	for _, s := range sides {
		for _, c := range p.cases {
			if err := check(s, c, files); err != nil {
				return fmt.Errorf("%s: %s: %w", c.name, s.name, err)
			}
		}
	}
	fmt.Fprint(b.out, heading)
	var perGB []string
	for _, c := range p.cases {
		r, err := b.measure(ctx, c, files, sides)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprint(b.out, r.row(c))
		if bare, edge := r.median(0), r.median(1); bare.bytes > 0 && edge.cpu > 0 && !c.revalidate {
			perGB = append(perGB, fmt.Sprintf("%s %s / %s", c.name, short(bare.cpuPerGB()), short(edge.cpuPerGB())))
		}
	}
	fmt.Fprintf(b.out, "\nProcessor time per GB served, net/http / edge: %s.\n", strings.Join(perGB, "; "))
	fmt.Fprintf(b.out, "Resident memory of the edge: %d MiB at the start, %d MiB after the load, %d MiB at most.\n",
		idle>>20, edge.memory("VmRSS")>>20, edge.memory("VmHWM")>>20)
	return nil
}

// large measures a range of a file that is larger than most memories.
func (b *bench) large(ctx context.Context, p part) error {
	p.files = map[string]int64{"large.bin": b.Large}
	p.cases = slices.Clone(p.cases)
	for i := range p.cases {
		p.cases[i].from = b.Large / 2
		p.cases[i].to = b.Large/2 + 64<<10 - 1
	}
	p.set = settings{fmt.Sprintf("cache.disk=%dMiB", b.Large>>20*5/4+1024)}
	fmt.Fprintf(b.out, "The file has %.1f GiB; both sides' pages are in the kernel's cache.\n\n", float64(b.Large)/(1<<30))
	return b.hits(ctx, p)
}

// startSides starts the bare server, the edge, and nginx where it is installed. It
// returns what it started also with an error.
func (b *bench) startSides(ctx context.Context, p part, files string) ([]*server, error) {
	mode := "bare"
	if p.fromDisk {
		mode = "files"
	}
	bare, err := b.startBare(ctx, files, mode)
	if err != nil {
		return nil, fmt.Errorf("start the bare server: %w", err)
	}
	sides := []*server{bare}
	edge, err := b.startEdge(ctx, files, p.set)
	if err != nil {
		return sides, fmt.Errorf("start the edge: %w", err)
	}
	if sides = append(sides, edge); b.nginx == "" {
		return sides, nil
	}
	nginx, err := b.startNginx(ctx, files)
	if err != nil {
		return sides, fmt.Errorf("start nginx: %w", err)
	}
	return append(sides, nginx), nil
}

func stopAll(servers []*server) {
	for _, s := range servers {
		s.stop()
	}
}

// measure takes turns between the servers.
func (b *bench) measure(ctx context.Context, c benchCase, files string, sides []*server) (result, error) {
	r := make(result, len(sides))
	for _, s := range sides {
		if err := check(s, c, files); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := load(ctx, s, b.requests(s, c), min(b.Round/4, time.Second)); err != nil {
			return nil, fmt.Errorf("%s: warm up: %w", s.name, err)
		}
	}
	stopProfile := b.profile(ctx, c, sides[1])
	defer stopProfile()
	for turn := range b.Rounds {
		for i := range sides {
			i = (i + turn) % len(sides) // each is first now and then
			one, err := b.load(ctx, sides[i], c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			r[i] = append(r[i], one)
		}
	}
	return r, nil
}

// requests is the load of a case.
func (b *bench) requests(s *server, c benchCase) asking {
	n := b.Connections
	if c.few {
		n = min(n, fewConnections)
	}
	return asking{requests: [][]byte{c.request(s, s.etag)}, status: c.status(), connections: n}
}

// load measures one server for one round.
func (b *bench) load(ctx context.Context, s *server, c benchCase) (round, error) {
	if b.wrk != "" {
		return b.runWrk(ctx, s, c)
	}
	return load(ctx, s, b.requests(s, c), b.Round)
}

// A result is the rounds of one case on each server: net/http, the edge, nginx.
type result [][]round

// median is the round in the middle by requests per second.
func (r result) median(side int) round {
	if side >= len(r) {
		return round{}
	}
	rounds := slices.Clone(r[side])
	slices.SortFunc(rounds, func(a, b round) int { return cmp.Compare(a.perSecond, b.perSecond) })
	return rounds[len(rounds)/2]
}

// ratio is how fast one side is, measured by another: the median over the rounds,
// of which each compares what was measured at about the same time.
func (r result) ratio(side, by int, figure func(round) float64) (float64, bool) {
	if side >= len(r) || by >= len(r) {
		return 0, false
	}
	var all []float64
	for i := range r[side] {
		if other := figure(r[by][i]); other > 0 {
			all = append(all, figure(r[side][i])/other)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}

const heading = `| case | net/http, requests/s | edge, requests/s | **ratio** | nginx | ratio to nginx | p50 | p99 | CPU per request | CPU ratio |
|---|---|---|---|---|---|---|---|---|---|
`

func (r result) row(c benchCase) string {
	rate := func(side int) string {
		m := r.median(side)
		switch {
		case side >= len(r):
			return "-"
		case c.few:
			return fmt.Sprintf("%.0f MB/s", m.bytes/1e6)
		}
		return fmt.Sprintf("%.0f", m.perSecond)
	}
	each := func(figure func(round) time.Duration) string {
		var list []string
		for side := range r {
			list = append(list, short(figure(r.median(side))))
		}
		return strings.Join(list, " / ")
	}
	ratio := func(side, by int, figure func(round) float64) string {
		if x, ok := r.ratio(side, by, figure); ok {
			return fmt.Sprintf("%.2f", x)
		}
		return "-"
	}
	speed := func(m round) float64 { return m.perSecond }
	return fmt.Sprintf("| %s | %s | %s | **%s** | %s | %s | %s | %s | %s | %s |\n", c.name, rate(0), rate(1), ratio(1, 0, speed),
		rate(2), ratio(1, 2, speed), each(func(m round) time.Duration { return m.p50 }), each(func(m round) time.Duration { return m.p99 }),
		each(func(m round) time.Duration { return m.cpu }), ratio(0, 1, func(m round) float64 { return float64(m.cpu) }))
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
