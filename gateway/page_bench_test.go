package gateway

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// replayed is a connection on which a client sends the same request n times and
// never looks at the answers. There is no kernel in it.
type replayed struct {
	request []byte
	n       int
	rest    []byte
	done    chan struct{}
}

func (c *replayed) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.n == 0 {
			return 0, io.EOF
		}
		c.n--
		c.rest = c.request
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *replayed) Write(p []byte) (int, error) { return len(p), nil }

func (c *replayed) Close() error {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
	return nil
}

func (*replayed) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*replayed) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4000} }
func (*replayed) SetDeadline(time.Time) error      { return nil }
func (*replayed) SetReadDeadline(time.Time) error  { return nil }
func (*replayed) SetWriteDeadline(time.Time) error { return nil }

// one is a listener that accepts one connection.
type one struct {
	conn chan net.Conn
	done chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, io.EOF
	}
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

// BenchmarkHit compares what a hit costs with what a handler costs that writes the
// same bytes from memory, net/http's part included and the kernel's not.
func BenchmarkHit(b *testing.B) {
	e := newEdge(b, nil)
	e.log.discard = true
	page := prose(4096)[:4096]
	root := e.shelf.tree(b, map[string]string{"page.html": page})
	file := e.shelf.raw(b, 0x55, []byte(page))
	if err := e.SetSites([]Site{{"www.example.org", "/ipfs/" + root.String()}}); err != nil {
		b.Fatal(err)
	}
	etag := `"` + e.shelf.child(b, root, "page.html").String() + `"`
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html")
		h.Set("Etag", etag)
		h.Set("Cache-Control", "public, max-age=29030400, immutable")
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Length", strconv.Itoa(len(page)))
		_, _ = io.WriteString(w, page)
	})}
	srv, err := e.newServer(nil)
	if err != nil {
		b.Fatal(err)
	}
	srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	const get = "GET /page.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: bench\r\nAccept: */*\r\n"
	byPath := "GET /ipfs/" + file.String() + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\r\n"
	for _, c := range []struct {
		name, request string
		srv           *http.Server
		lane          *edge
	}{
		{"page/bare", get + "\r\n", bare, nil},
		{"page/edge", get + "\r\n", srv, e},
		{"not modified/bare", get + "If-None-Match: " + etag + "\r\n\r\n", bare, nil},
		{"not modified/edge", get + "If-None-Match: " + etag + "\r\n\r\n", srv, e},
		{"in brotli/edge", get + "Accept-Encoding: gzip, deflate, br, zstd\r\n\r\n", srv, e},
		{"in gzip/edge", get + "Accept-Encoding: gzip\r\n\r\n", srv, e},
		{"by path/edge", byPath, srv, e},
	} {
		b.Run(c.name, func(b *testing.B) {
			for _, warm := range []string{get + "\r\n", byPath} {
				serveReplayed(c.lane, c.srv, warm, 1) // a 304 is never the first answer of a route
			}
			for _, coding := range []string{"gzip", "br"} {
				e.get("http://www.example.org/page.html", "Accept-Encoding: "+coding)
			}
			b.ReportAllocs()
			b.ResetTimer()
			serveReplayed(c.lane, c.srv, c.request, b.N)
		})
	}
}

// serveReplayed has the server answer the request n times on one connection.
func serveReplayed(e *edge, srv *http.Server, request string, n int) {
	conn := &replayed{request: []byte(request), n: n, done: make(chan struct{})}
	l := &one{conn: make(chan net.Conn, 1), done: conn.done}
	l.conn <- conn
	conns := newWires(l, time.Minute, new(atomic.Bool))
	if e == nil {
		go func() { _ = srv.Serve(conns) }()
		w, _ := conns.acceptWire()
		w.leave(nil)
	} else {
		go func() { _ = srv.Serve(conns) }()
		w, _ := conns.acceptWire()
		conns.start(func() { e.drive(w, nil) })
	}
	<-conn.done
	conns.stop()
}
