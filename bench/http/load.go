package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
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
	wall      time.Duration // how long it took
}

// cpuPerGB is the server's processor time for a GB of bodies.
func (r round) cpuPerGB() time.Duration {
	return time.Duration(float64(r.cpu) * r.perSecond / r.bytes * 1e9)
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
	status  int
	length  int64 // of the body; -1 when it is chunked
	etag    string
	chunked bool
}

// ask sends a request and reads the head of the answer, which must say how long its
// body is.
func (c *client) ask(request []byte) (answer, error) {
	a, err := c.askAny(request)
	if err == nil && a.chunked {
		return answer{}, errors.New("the body has no Content-Length")
	}
	return a, err
}

// askAny is ask for answers that may be chunked.
func (c *client) askAny(request []byte) (answer, error) {
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
			a.chunked = true
		}
	}
	if a.status == 304 {
		a.length = 0
	}
	if a.length < 0 && !a.chunked {
		return answer{}, errors.New("the answer has no Content-Length")
	}
	return a, nil
}

// body reads a body whole and puts it into the buffer, in place of what was there.
func (c *client) body(a answer, into *bytes.Buffer) error {
	into.Reset()
	if !a.chunked {
		_, err := io.CopyN(into, c.r, a.length)
		return err
	}
	if _, err := into.ReadFrom(httputil.NewChunkedReader(c.r)); err != nil {
		return err
	}
	for { // the trailer, which ends with an empty line
		line, err := c.r.ReadSlice('\n')
		if err != nil || len(bytes.TrimRight(line, "\r\n")) == 0 {
			return err
		}
	}
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
	want, err := c.content(filepath.Join(files, filepath.FromSlash(c.path)))
	if err != nil {
		return err
	}
	plain := c
	plain.revalidate = false
	conn, err := dial(s.addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	a, err := conn.ask(plain.request(s, ""))
	if err != nil {
		return err
	}
	got := make([]byte, a.length)
	if _, err := io.ReadFull(conn.r, got); err != nil {
		return err
	}
	if a.status != plain.status() || !bytes.Equal(got, want) {
		return fmt.Errorf("GET %s: status %d with %d bytes, which are not those of the file", c.path, a.status, len(got))
	}
	s.etag, s.length = a.etag, a.length
	return nil
}

// content is what the body of an answer must be.
func (c benchCase) content(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if c.to == 0 {
		return io.ReadAll(f)
	}
	want := make([]byte, c.to-c.from+1)
	_, err = f.ReadAt(want, c.from)
	return want, err
}

// asking is a load: each connection sends one of the requests at a time, and takes
// them in turn.
type asking struct {
	requests    [][]byte
	status      int // that every answer must have
	connections int
}

// tally is what one connection saw.
type tally struct {
	took []time.Duration
	sent int64
}

// load asks over and over, for about as long as it is told.
func load(ctx context.Context, s *server, a asking, lasting time.Duration) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, lasting+time.Minute)
	defer cancel()
	tallies := make([]tally, a.connections)
	group, ctx := errgroup.WithContext(ctx)
	cpu, begin := s.cpu(), time.Now()
	for i := range a.connections {
		group.Go(func() error {
			return tallies[i].ask(ctx, s.addr, a, i*len(a.requests)/a.connections, begin.Add(lasting))
		})
	}
	if err := group.Wait(); err != nil {
		return round{}, err
	}
	wall, used := time.Since(begin), s.cpu()-cpu
	var all []time.Duration
	total := int64(0)
	for _, t := range tallies {
		all = append(all, t.took...)
		total += t.sent
	}
	slices.Sort(all)
	return round{
		perSecond: float64(len(all)) / wall.Seconds(), bytes: float64(total) / wall.Seconds(),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu: used / time.Duration(len(all)), wall: wall,
	}, nil
}

// ask sends the requests on one connection until the end, beginning with the given
// one, and at least one of them.
func (t *tally) ask(ctx context.Context, addr string, a asking, next int, end time.Time) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.conn.Close() })
	defer stop()
	for now := time.Now(); t.took == nil || now.Before(end); next++ {
		got, err := conn.ask(a.requests[next%len(a.requests)])
		if err == nil {
			err = conn.drop(got.length)
		}
		if err != nil {
			return err
		}
		if got.status != a.status {
			return fmt.Errorf("status %d with %d bytes", got.status, got.length)
		}
		done := time.Now()
		t.took = append(t.took, done.Sub(now))
		t.sent += got.length
		now = done
	}
	return nil
}
