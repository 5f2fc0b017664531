package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

const (
	keepPages = 12
	keepTimes = 100 // how often each page is asked for
	keepFiles = 500
	keepLast  = 100 // of the files, which are asked for after the restart, too
	keepSize  = 200_000
)

// keep measures whether hits in memory keep what they are for on the disk.
func (b *bench) keep(ctx context.Context) error {
	site, err := lab.NewArchive(11, keepPages, keepFiles, keepSize)
	if err != nil {
		return err
	}
	f, o, err := b.fleet(ctx, 1, site, "cache.memory=32MiB", "cache.disk=64MiB", "gateway.serve=any")
	if err != nil {
		return err
	}
	defer end(f, o)
	hits, busy, err := visit(ctx, f.Edges[0], site)
	if err != nil {
		return err
	}
	o.Off()
	if code, err := f.Edges[0].Stop(ctx); err != nil || code != 0 {
		return fmt.Errorf("SIGTERM: exit code %d, %w", code, err)
	}
	e, err := f.Restart(ctx, 0)
	if err != nil {
		return err
	}
	pages, files := &lab.Tally{}, &lab.Tally{}
	for i := range keepPages {
		pages.Add(e.Fetch(ctx, site, pagePath(site, i)))
	}
	for i := keepFiles - keepLast; i < keepFiles; i++ {
		files.Add(e.Fetch(ctx, site, filePath(site, i)))
	}
	noPages, _ := pages.Failed()
	noFiles, _ := files.Failed()
	b.report(fmt.Sprintf("%d hot pages among %d files asked for once, 32+64 MiB, restarted without the origin: pages, and of the last %d files, answered",
		keepPages, keepFiles, keepLast), fmt.Sprintf("%d, >= %d", keepPages, keepLast*95/100),
		"**%d** of %d, **%d** of %d", keepPages-noPages, keepPages, keepLast-noFiles, keepLast)
	b.report("the same, before the restart: hits/s, one request at a time", "", "**%.0f** (median %s, p99 %s; %d of %d pages from memory)",
		float64(hits.Requests())/busy.Seconds(), round(hits.Quantile(0.5)), round(hits.Quantile(0.99)), hits.Requests(), keepPages*keepTimes)
	return nil
}

// visit asks for every file once, in order, and meanwhile for each page over and over.
// It returns what came of the requests for pages that memory answered, and how long they
// took together.
func visit(ctx context.Context, e *lab.Edge, site *lab.Site) (hits *lab.Tally, busy time.Duration, err error) {
	hits = &lab.Tally{}
	asked := 0
	for i := range keepFiles {
		if _, err := e.Fetch(ctx, site, filePath(site, i)); err != nil {
			return nil, 0, err
		}
		for ; asked*keepFiles < keepTimes*(i+1); asked++ {
			for page := range keepPages {
				a, err := e.Fetch(ctx, site, pagePath(site, page))
				if err != nil {
					return nil, 0, err
				}
				if strings.HasSuffix(a.Header.Get("Cache-Status"), "; hit") {
					hits.Add(a, nil)
					busy += a.Took
				}
			}
		}
	}
	return hits, busy, nil
}

func pagePath(s *lab.Site, i int) string { return fmt.Sprintf("%s/page-%d.html", s.Root, i) }

func filePath(s *lab.Site, i int) string { return fmt.Sprintf("%s/file-%d.bin", s.Root, i) }
