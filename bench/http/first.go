package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	pageEntries = 100 // of each folder whose page is asked for
	entrySize   = 64  // the bytes of each of them
	// At least one page is asked for, and the numbers in paths have two digits.
	minFiles, maxFiles = 4, 10_000
)

// first measures the first answer to each of many files and pages since the server
// started: nothing of them is in memory but the kernel's pages, and all of them are on
// the disk.
func (b *bench) first(ctx context.Context, p part) error {
	files := filepath.Join(b.dir, "files")
	for _, c := range p.cases {
		if err := b.writeFirst(files, c); err != nil {
			return err
		}
	}
	if err := writeFiles(files, map[string]int64{strings.TrimPrefix(warmCase.path, "/"): entrySize}); err != nil {
		return err
	}
	root, err := b.addFiles(ctx, files, p.set)
	if err != nil {
		return err
	}
	n := min(b.Connections, fewConnections)
	fmt.Fprintf(b.out, "Each of %d files, or pages of %d folders, is asked for once, on %d connections; both servers, of which the bare one serves plain files with http.ServeFile, are started anew for each round. Ratios are of the bare server's time to the edge's.\n\n",
		b.Files, b.Files/4, n)
	fmt.Fprint(b.out, firstHeading)
	var memory []string
	for _, c := range p.cases {
		r, rss, err := b.firstCase(ctx, p, c, files, root)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Fprint(b.out, r.firstRow(c))
		memory = append(memory, fmt.Sprintf("%s %s", c.name, mib(rss)))
	}
	fmt.Fprintf(b.out, "\nResident memory of the edge after a round: %s.\n", strings.Join(memory, "; "))
	return nil
}

// folder says that the case asks for pages of folders.
func (c benchCase) folder() bool { return strings.HasSuffix(c.path, "/") }

// at is the request of the case for its i-th file or page.
func (c benchCase) at(i int) benchCase {
	c.path = fmt.Sprintf(c.path, i/100, i%100)
	return c
}

// count is how many files or pages the case asks for.
func (b *bench) count(c benchCase) int {
	if c.folder() {
		return b.Files / 4
	}
	return b.Files
}

// writeFirst makes the files of a case. A folder whose page is asked for has one file,
// under many names: to make so many files would take minutes on some file systems.
func (b *bench) writeFirst(files string, c benchCase) error {
	sizes := map[string]int64{}
	for i := range b.count(c) {
		path := strings.TrimPrefix(c.at(i).path, "/")
		if c.folder() {
			sizes[path+entryName(i, 0)] = entrySize
		} else {
			sizes[path] = c.size
		}
	}
	if err := writeFiles(files, sizes); err != nil || !c.folder() {
		return err
	}
	for i := range b.count(c) {
		folder := filepath.Join(files, filepath.FromSlash(c.at(i).path))
		for e := 1; e < pageEntries; e++ {
			if err := os.Link(filepath.Join(folder, entryName(i, 0)), filepath.Join(folder, entryName(i, e))); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryName is the name of an entry of the i-th folder. No two folders are the same.
func entryName(i, entry int) string { return fmt.Sprintf("entry-%04d-%02d.bin", i, entry) }

// firstCase measures one case on both servers in turn. It returns the edge's resident
// memory after the last round, too.
func (b *bench) firstCase(ctx context.Context, p part, c benchCase, files, root string) (r result, rss int64, err error) {
	q, err := b.questions(files, c)
	if err != nil {
		return nil, 0, err
	}
	r = make(result, 2)
	for turn := range b.Rounds {
		for i := range r {
			i = (i + turn) % len(r) // each is first now and then
			var s *server
			if i == 0 {
				s, err = b.startBare(ctx, files, "plain")
			} else if s, err = b.serveEdge(ctx, p.set, root); err == nil {
				err = s.listens(ctx)
			}
			if err != nil {
				return nil, 0, err
			}
			one, err := b.askOnce(ctx, s, q)
			if i == 1 {
				rss = s.memory("VmRSS")
			}
			s.stop()
			if err != nil {
				return nil, 0, fmt.Errorf("%s: %w", s.name, err)
			}
			r[i] = append(r[i], one)
		}
	}
	return r, rss, nil
}

const firstHeading = `| case | p50 | **p50 ratio** | p99 | p99 ratio | CPU per request | **CPU ratio** |
|---|---|---|---|---|---|---|
`

// firstRow has the medians of the rounds, each figure's by itself. Processor time is
// counted in hundredths of a second, which a short round has few of, so that of all
// rounds is put together.
func (r result) firstRow(c benchCase) string {
	p50 := func(m round) float64 { return float64(m.p50) }
	p99 := func(m round) float64 { return float64(m.p99) }
	mean := func(rounds []round) (d time.Duration) {
		for _, m := range rounds {
			d += m.cpu
		}
		return d / time.Duration(len(rounds))
	}
	both := func(figure func(round) float64) string {
		return short(middle(r[0], figure)) + " / " + short(middle(r[1], figure))
	}
	ratio := func(figure func(round) float64) string {
		x, _ := r.ratio(0, 1, figure)
		return fmt.Sprintf("%.2f", x)
	}
	cpu := "-"
	if edge := mean(r[1]); edge > 0 {
		cpu = fmt.Sprintf("%.2f", float64(mean(r[0]))/float64(edge))
	}
	return fmt.Sprintf("| %s | %s | **%s** | %s | %s | %s / %s | **%s** |\n",
		c.name, both(p50), ratio(p50), both(p99), ratio(p99), short(mean(r[0])), short(mean(r[1])), cpu)
}

// middle is the median of a figure over the rounds.
func middle(rounds []round, figure func(round) float64) time.Duration {
	rounds = slices.Clone(rounds)
	slices.SortFunc(rounds, func(a, b round) int { return cmp.Compare(figure(a), figure(b)) })
	return time.Duration(figure(rounds[len(rounds)/2]))
}
