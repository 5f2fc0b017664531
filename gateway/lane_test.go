package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

// laned is an edge with a kept page, and what asks for it.
type laned struct {
	*edge
	addr string
	stop context.CancelFunc
	done chan error
	root cid.Cid
}

func newLaned(t *testing.T, change func(*Options)) *laned {
	t.Helper()
	l := &laned{}
	l.edge = newEdge(t, func(o *Options, e *edge) {
		e.log.discard = true
		if change != nil {
			change(o)
		}
	})
	l.root = l.shelf.tree(t, map[string]string{"s.txt": "small", "big.bin": string(randomBytes(1 << 20)), "m.txt": noise(30_000)})
	l.addr, l.stop, l.done = l.serve()
	return l
}

// ask is a request for a file; more are field lines.
func (l *laned) ask(name, more string) string {
	return "GET /ipfs/" + l.root.String() + "/" + name + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + more + "\r\n"
}

// warm has a page kept.
func (l *laned) warm(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		l.get("http://127.0.0.1/ipfs/"+l.root.String()+"/"+name).want(t, 200, "")
	}
}

// body reads one answer of 200 and returns its content.
func (c *kept) body() string {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s, %d bytes, %v", res.Status, len(b), err)
	}
	return string(b)
}

// until waits for what has to come.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// What was read together with a request that is net/http's comes back from it, all of it:
// net/http reads 4 KiB, and the lane may have read more.
func TestPipelinesWithMissesInTheirMiddle(t *testing.T) {
	l := newLaned(t, nil)
	l.warm(t, "s.txt", "m.txt")
	// Buffers of any size that the edge has may be used.
	for range 4 {
		c := dial(t, l.addr)
		c.send(l.ask("m.txt", ""))
		c.body()
	}
	for _, others := range []int{3, 37, 50} {
		c := dial(t, l.addr)
		const n = 2000
		var all strings.Builder
		for i := range n {
			more := ""
			if i%7 == 0 {
				more = "X: " + strings.Repeat("x", 3*i) + "\r\n"
			}
			if i%others == 0 {
				more += "Content-Length: 0\r\n" // net/http's
			}
			fmt.Fprintf(&all, "%s", l.ask("s.txt", fmt.Sprintf("%sRange: bytes=%d-%d\r\n", more, i%5, i%5)))
		}
		go func() { _, _ = io.WriteString(c, all.String()) }()
		for i := range n {
			res, err := http.ReadResponse(c.in, nil)
			if err != nil {
				t.Fatalf("answer %d: %v", i, err)
			}
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusPartialContent || string(b) != "small"[i%5:i%5+1] {
				t.Fatalf("answer %d: %s %q %v", i, res.Status, b, err)
			}
		}
		c.Close()
	}
}

// A connection that has had answers in HTTP/1 does not turn to HTTP/2.
func TestNoHTTP2AfterHTTP1(t *testing.T) {
	l := newLaned(t, nil)
	l.warm(t, "s.txt")
	c := dial(t, l.addr).send(l.ask("s.txt", ""))
	c.body()
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").ends()
	// The answers before it arrive, whatever follows.
	l.warm(t, "big.bin")
	for range 5 {
		c = dial(t, l.addr).send(strings.Repeat(l.ask("big.bin", ""), 3) + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("x", 6000))
		for range 3 {
			if b := c.body(); len(b) != 1<<20 {
				t.Errorf("%d bytes", len(b))
			}
		}
		c.ends()
	}
	// What begins like it is something else, wherever it is cut.
	for _, request := range []string{"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", "PRI / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"} {
		for n := range 11 {
			c := dial(t, l.addr).send(l.ask("s.txt", ""))
			c.body()
			c.send(request[:n])
			until(t, "the first bytes to be read", func() bool { return n == 0 || l.listening() == 0 })
			if status := c.send(request[n:]).receive("POST", false); status != 405 {
				t.Errorf("%q, %q: %d", request[:n], request[n:], status)
			}
			c.Close()
			until(t, "the connection's end", func() bool { return l.listening() == 0 })
		}
	}
}

// listening counts the connections on which nothing has come since the last answer.
func (e *edge) listening() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, conns := range e.servers {
		for w := range conns.all() {
			w.reads.mu.Lock()
			if w.reads.silent {
				n++
			}
			w.reads.mu.Unlock()
		}
	}
	return n
}

// dialPlain opens a connection that has nothing but itself.
func dialPlain(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// raw reads one answer of 200, 206 or 304 to GET, and tells whether the lane gave it: net/http
// sorts the fields.
func (c *kept) raw() (head, body string, lane bool) {
	c.t.Helper()
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%v after %q", err, head+line)
		}
		head += line
	}
	_, length, _ := strings.Cut(head, "\r\nContent-Length: ")
	var n int
	_, _ = fmt.Sscan(length, &n)
	b := make([]byte, n)
	if _, err := io.ReadFull(c.in, b); err != nil {
		c.t.Fatal(err)
	}
	return head, string(b), strings.Index(head, "\r\nServer-Timing:") > strings.Index(head, "\r\nX-Ipfs-Path:")
}
