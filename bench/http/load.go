package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// fewConnections is how many ask for large bodies.
const fewConnections = 4

// A round is what one server did for a while.
type round struct {
	perSecond float64 // requests
	bytes     float64 // per second
	p50, p99  time.Duration
	cpu       time.Duration // the server's, for each request; 0 when unknown
}

// client is an HTTP/1.1 connection that knows just enough: a client of net/http
// would take more time than the servers that are measured.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReaderSize(conn, 64<<10)}, nil
}

// answer is the head of a response.
type answer struct {
	status int
	length int64
	etag   string
}

// ask sends a request and reads the head of the answer.
func (c *client) ask(request []byte) (answer, error) {
	if _, err := c.conn.Write(request); err != nil {
		return answer{}, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return answer{}, fmt.Errorf("status line %.40q", line)
	}
	a := answer{length: -1}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return answer{}, fmt.Errorf("status line %.40q", line)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return answer{}, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(bytes.ToLower(name)) {
		case "content-length":
			if a.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return answer{}, fmt.Errorf("%.60q", line)
			}
		case "etag":
			a.etag = string(value)
		case "transfer-encoding":
			return answer{}, errors.New("the body has no Content-Length")
		}
	}
	if a.status == 304 {
		a.length = 0
	}
	if a.length < 0 {
		return answer{}, errors.New("the answer has no Content-Length")
	}
	return a, nil
}

// drop reads a body without looking at it.
func (c *client) drop(length int64) error {
	for length > 0 {
		n, err := c.r.Discard(int(min(length, 1<<20)))
		length -= int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// check makes the case's request once and compares the body with the file. It
// sets the server's ETag for requests that need one.
func check(s *server, c benchCase, files string) error {
	want, err := os.ReadFile(filepath.Join(files, filepath.FromSlash(c.path)))
	if err != nil {
		return err
	}
	status := 200
	if c.to > 0 {
		want, status = want[c.from:c.to+1], 206
	}
	conn, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	plain := c
	plain.revalidate = false
	a, err := conn.ask(plain.request(s, ""))
	if err != nil {
		return err
	}
	got := make([]byte, a.length)
	if _, err := io.ReadFull(conn.r, got); err != nil {
		return err
	}
	if a.status != status || !bytes.Equal(got, want) {
		return fmt.Errorf("GET %s: status %d with %d bytes, which are not those of the file", c.path, a.status, len(got))
	}
	s.etag = a.etag
	return nil
}

// load asks over and over, for about as long as it is told.
func load(ctx context.Context, s *server, c benchCase, connections int, lasting time.Duration) (round, error) {
	if c.few {
		connections = min(connections, fewConnections)
	}
	ctx, cancel := context.WithTimeout(ctx, lasting+time.Minute)
	defer cancel()
	request := c.request(s, s.etag)
	took := make([][]time.Duration, connections)
	sent := make([]int64, connections)
	group, ctx := errgroup.WithContext(ctx)
	cpu, begin := s.cpu(), time.Now()
	end := begin.Add(lasting)
	for i := range connections {
		group.Go(func() error {
			conn, err := dial(s.addr)
			if err != nil {
				return err
			}
			defer conn.conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.conn.Close() })
			defer stop()
			expected := answer{}
			for now := time.Now(); expected.status == 0 || now.Before(end); { // at least once
				a, err := conn.ask(request)
				if err == nil {
					err = conn.drop(a.length)
				}
				if err != nil {
					return err
				}
				if expected.status == 0 {
					expected = a
				}
				if a.status >= 400 || a.status != expected.status || a.length != expected.length || c.revalidate && a.status != 304 {
					return fmt.Errorf("status %d with %d bytes", a.status, a.length)
				}
				done := time.Now()
				took[i] = append(took[i], done.Sub(now))
				sent[i] += a.length
				now = done
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return round{}, err
	}
	wall, used := time.Since(begin), s.cpu()-cpu
	all := slices.Concat(took...)
	slices.Sort(all)
	total := int64(0)
	for _, n := range sent {
		total += n
	}
	return round{
		perSecond: float64(len(all)) / wall.Seconds(), bytes: float64(total) / wall.Seconds(),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu: used / time.Duration(len(all)),
	}, nil
}

// median returns the round in the middle by requests per second.
func median(rounds []round) round {
	slices.SortFunc(rounds, func(a, b round) int {
		if a.perSecond < b.perSecond {
			return -1
		}
		return 1
	})
	return rounds[len(rounds)/2]
}

// A pair is the same case on both servers.
type pair struct{ bare, edge round }

const heading = `| case | net/http, requests/s | edge, requests/s | **ratio** | p50 | p99 | CPU per request | CPU ratio |
|---|---|---|---|---|---|---|---|
`

func (p pair) row(c benchCase) string {
	rate := func(r round) string {
		if c.few {
			return fmt.Sprintf("%.0f MB/s", r.bytes/1e6)
		}
		return fmt.Sprintf("%.0f", r.perSecond)
	}
	cpu, ratio := "unknown", ""
	if p.bare.cpu > 0 && p.edge.cpu > 0 {
		cpu = fmt.Sprintf("%s / %s", short(p.bare.cpu), short(p.edge.cpu))
		ratio = fmt.Sprintf("%.2f", float64(p.bare.cpu)/float64(p.edge.cpu))
	}
	return fmt.Sprintf("| %s | %s | %s | **%.2f** | %s / %s | %s / %s | %s | %s |\n", c.name, rate(p.bare), rate(p.edge),
		p.edge.perSecond/p.bare.perSecond, short(p.bare.p50), short(p.edge.p50), short(p.bare.p99), short(p.edge.p99), cpu, ratio)
}

// short rounds a duration to three digits.
func short(d time.Duration) string {
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
