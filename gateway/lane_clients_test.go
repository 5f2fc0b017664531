package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client that has said all that it will say still gets its answers.
func TestHalfClosedClients(t *testing.T) {
	l := newLaned(t, nil)
	l.warm(t, "s.txt", "big.bin")
	for name, tc := range map[string]struct {
		send    string
		answers []int // their lengths
		rest    string
	}{
		"nothing":            {"", nil, ""},
		"a hit":              {l.ask("s.txt", ""), []int{5}, ""},
		"a large hit":        {l.ask("big.bin", ""), []int{1 << 20}, ""},
		"several":            {l.ask("s.txt", "") + l.ask("big.bin", "") + l.ask("s.txt", ""), []int{5, 1 << 20, 5}, ""},
		"half a request":     {"GET / HTTP/1.1\r\nHo", nil, "HTTP/1.1 400 "},
		"a hit and a half":   {l.ask("s.txt", "") + "GET / HTTP/1.1\r\n", []int{5}, "HTTP/1.1 400 "},
		"what is no request": {"hello\r\n", nil, "HTTP/1.1 400 "},
	} {
		c := dial(t, l.addr).send(tc.send)
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for _, n := range tc.answers {
			if b := c.body(); len(b) != n {
				t.Errorf("%s: %d bytes, want %d", name, len(b), n)
			}
		}
		if rest, err := io.ReadAll(c.in); !strings.HasPrefix(string(rest), tc.rest) || tc.rest == "" && len(rest) > 0 || err != nil {
			t.Errorf("%s: at the end %q, %v", name, rest, err)
		}
	}
}

// Clients that go in the middle of an answer leave nothing behind.
func TestAbortsInTheLane(t *testing.T) {
	l := newLaned(t, nil)
	l.warm(t, "s.txt", "big.bin")
	large := l.shelf.repeated(t, make([]byte, 256<<10), 64)
	l.get("http://127.0.0.1/ipfs/"+large.String()).want(t, 200, "")
	requests := []string{
		l.ask("big.bin", ""), strings.Repeat(l.ask("big.bin", ""), 20), "GET /ipfs/" + large.String() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
	}
	for i := range 60 {
		c := dial(t, l.addr).send(requests[i%3])
		if _, err := io.ReadFull(c.in, make([]byte, 1+i*100)); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
	until(t, "the connections' end", func() bool { return l.open() == 0 })
	until(t, "no request in flight", func() bool { return l.series(t)["shoal_http_requests_in_flight{}"] == 0 })
	if b := dial(t, l.addr).send(l.ask("s.txt", "")).body(); b != "small" {
		t.Errorf("%q", b)
	}
}

// open counts the connections.
func (e *edge) open() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, conns := range e.servers {
		n += len(conns.all())
	}
	return n
}

// Clients that ask for much and read nothing are cut off, and cost no more until then than
// what one answer has on its way.
func TestStalledClientsInTheLane(t *testing.T) {
	l := newLaned(t, func(o *Options) { o.WriteTimeout = 500 * time.Millisecond })
	l.warm(t, "big.bin")
	large := l.shelf.repeated(t, make([]byte, 256<<10), 256)
	l.get("http://127.0.0.1/ipfs/"+large.String()).want(t, 200, "")
	pipeline := strings.Repeat(l.ask("big.bin", ""), 2000)
	requests := []string{pipeline, pipeline, pipeline, "GET /ipfs/" + large.String() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"}
	const crowd = 16
	before := inUse()
	var senders sync.WaitGroup
	conns := make([]*kept, crowd)
	for i := range conns {
		conns[i] = dial(t, l.addr)
		senders.Go(func() { _, _ = io.WriteString(conns[i], requests[i%4]) })
	}
	until(t, "the requests", func() bool { return l.series(t)["shoal_http_requests_in_flight{}"] >= crowd/2 })
	if each := (inUse() - before) / crowd; each > 256<<10 {
		t.Errorf("%d bytes for each client that reads nothing", each)
	}
	until(t, "the connections' end", func() bool { return l.open() == 0 })
	for _, c := range conns {
		c.Close()
	}
	senders.Wait()
}

// inUse is the memory that is in use, in bytes.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A client that reads slowly is served, for longer than it might stall.
func TestSlowReadersInTheLane(t *testing.T) {
	t.Parallel()
	l := newLaned(t, func(o *Options) { o.WriteTimeout = time.Second })
	want := string(randomBytes(1 << 20))
	l.warm(t, "big.bin")
	c := dial(t, l.addr)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(32 << 10)
	c.send(strings.Repeat(l.ask("big.bin", ""), 8)) // more than the kernel takes
	begin := time.Now()
	for range 8 {
		var b strings.Builder
		head, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := io.CopyN(&b, head.Body, 128<<10); err != nil {
				break
			}
			time.Sleep(40 * time.Millisecond)
		}
		if b.String() != want {
			t.Fatalf("%d bytes", b.Len())
		}
	}
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("that was no slow reader: %s", took)
	}
}

// A request has the time that a head may take, also in small steps; between requests a
// connection may be idle for longer, wherever the last one was answered.
func TestTimesInTheLane(t *testing.T) {
	t.Parallel()
	l := newLaned(t, func(o *Options) { o.ReadHeaderTimeout, o.IdleTimeout = 3*time.Second, time.Minute })
	l.warm(t, "s.txt")
	var work sync.WaitGroup
	drip := func(name string, begin time.Time, c *kept) {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				break
			}
			if _, err := c.in.ReadByte(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err == nil {
				t.Errorf("%s: an answer to half a request", name)
				break
			}
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		}
		if took := time.Since(begin); took < 2900*time.Millisecond || took > 30*time.Second {
			t.Errorf("%s: ended after %s", name, took)
		}
	}
	work.Go(func() { drip("a first request", time.Now(), dial(t, l.addr).send("GET /")) })
	work.Go(func() {
		begin := time.Now()
		c := dial(t, l.addr).send(l.ask("s.txt", ""))
		c.body()
		drip("a second request", begin, c.send("GET /"))
	})
	work.Go(func() {
		drip("behind another", time.Now(), dial(t, l.addr).send(l.ask("s.txt", "Connection: keep-alive\r\n")+"GET /").skip())
	})
	work.Go(func() {
		begin := time.Now()
		dial(t, l.addr).ends()
		if took := time.Since(begin); took < 2900*time.Millisecond {
			t.Errorf("nothing at all: ended after %s", took)
		}
	})
	for name, more := range map[string]string{"in the lane": "", "at net/http": "Content-Length: 0\r\n"} {
		work.Go(func() {
			c := dial(t, l.addr)
			for range 2 {
				c.send(l.ask("s.txt", more))
				if b := c.body(); b != "small" {
					t.Errorf("%s: %q", name, b)
				}
				time.Sleep(3500 * time.Millisecond) // longer than a head may take
			}
		})
	}
	work.Wait()
}

// skip reads an answer.
func (c *kept) skip() *kept { c.t.Helper(); c.body(); return c }

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	l := newLaned(t, func(o *Options) { o.IdleTimeout = 300 * time.Millisecond })
	l.warm(t, "s.txt")
	for _, more := range []string{"", "Content-Length: 0\r\n"} {
		c := dial(t, l.addr).send(l.ask("s.txt", more)).skip()
		begin := time.Now()
		c.ends()
		if took := time.Since(begin); took < 250*time.Millisecond || took > 20*time.Second {
			t.Errorf("%q: ended after %s", more, took)
		}
	}
}
