package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
)

// warmCase is what each connection asks for before the time runs: it opens the
// connection, and has the edge read the site's root folder.
var warmCase = benchCase{path: "/warm.bin"}

// questions are what a case asks for, and what the answers must be.
type questions struct {
	c    benchCase
	sums []uint64 // of the files, by XXH64; none for pages
	n    int
}

// questions reads the files: they are in the kernel's cache then, and stay there.
func (b *bench) questions(files string, c benchCase) (questions, error) {
	q := questions{c: c, n: b.count(c)}
	for i := 0; i < q.n && !c.folder(); i++ {
		data, err := os.ReadFile(filepath.Join(files, filepath.FromSlash(c.at(i).path)))
		if err != nil {
			return q, err
		}
		q.sums = append(q.sums, xxhash.Sum64(data))
	}
	return q, nil
}

// check compares the i-th answer with what it must be.
func (q questions) check(i int, body []byte) error {
	if !q.c.folder() {
		if xxhash.Sum64(body) != q.sums[i] {
			return fmt.Errorf("GET %s: %d bytes, which are not those of the file", q.c.at(i).path, len(body))
		}
		return nil
	}
	for e, rest := 0, body; e < pageEntries; e++ {
		at := bytes.Index(rest, []byte(entryName(i, e)))
		if at < 0 {
			return fmt.Errorf("GET %s: a page of %d bytes without %s in its place", q.c.at(i).path, len(body), entryName(i, e))
		}
		rest = rest[at:]
	}
	return nil
}

// askOnce asks a server for everything once. Files are compared between requests;
// pages take longer to compare, so that is done when the time is over.
func (b *bench) askOnce(ctx context.Context, s *server, q questions) (round, error) {
	conns, err := warm(s, min(b.Connections, fewConnections))
	defer func() {
		for _, c := range conns {
			c.conn.Close()
		}
	}()
	if err != nil {
		return round{}, err
	}
	s.settle(ctx)
	took, pages := make([]time.Duration, q.n), make([]bytes.Buffer, q.n)
	group, ctx := errgroup.WithContext(ctx)
	cpu, begin := s.cpu(), time.Now()
	for first, conn := range conns {
		group.Go(func() (err error) {
			stop := context.AfterFunc(ctx, func() { conn.conn.Close() })
			defer stop()
			body := &bytes.Buffer{}
			for i := first; i < q.n && err == nil; i += len(conns) {
				if q.c.folder() {
					body = &pages[i]
				}
				if took[i], err = q.ask(conn, s, i, body); err == nil && !q.c.folder() {
					err = q.check(i, body.Bytes())
				}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return round{}, err
	}
	wall, used := time.Since(begin), s.cpu()-cpu
	for i := 0; i < q.n && q.c.folder(); i++ {
		if err := q.check(i, pages[i].Bytes()); err != nil {
			return round{}, err
		}
	}
	slices.Sort(took)
	return round{
		perSecond: float64(q.n) / wall.Seconds(), p50: took[q.n/2], p99: took[q.n*99/100],
		cpu: used / time.Duration(q.n), wall: wall,
	}, nil
}

// settle waits until a server that has just started does next to nothing, for a few
// seconds at most.
func (s *server) settle(ctx context.Context) {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		before := s.cpu()
		time.Sleep(50 * time.Millisecond)
		if s.cpu() == before {
			return
		}
	}
}

// warm opens connections, and asks for something else on each.
func warm(s *server, n int) (conns []*client, err error) {
	request := warmCase.request(s, "")
	for range n {
		c, err := dial(s.addr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		a, err := c.ask(request)
		if err == nil {
			err = c.drop(a.length)
		}
		if err == nil && a.status != 200 {
			err = fmt.Errorf("GET %s: status %d", warmCase.path, a.status)
		}
		if err != nil {
			return conns, err
		}
	}
	return conns, nil
}

// ask asks for the i-th thing. It returns how long it took until the body was there
// whole.
func (q questions) ask(c *client, s *server, i int, body *bytes.Buffer) (time.Duration, error) {
	thing := q.c.at(i)
	request := thing.request(s, "")
	body.Reset()
	body.Grow(128 << 10) // more than any of them has
	begin := time.Now()
	a, err := c.askAny(request)
	if err == nil {
		err = c.body(a, body)
	}
	took := time.Since(begin)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("status %d", a.status)
	}
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", thing.path, err)
	}
	return took, nil
}
