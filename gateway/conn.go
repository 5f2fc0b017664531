package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/gateway/lane"
)

// A connection begins in the hot lane: what it brings is read here, requests that are
// recognised (package lane) are answered if their page is kept, and with the first other
// bytes it goes to net/http, untouched. When net/http has answered a request with nothing
// unusual in it, takeBack brings the connection back.

// laneConn is a connection in the hot lane.
type laneConn struct {
	g       *Gateway
	wire    *wire
	req     lane.Request
	r       *http.Request // of req; the same for all
	read    *[]byte       // what was read; nil while the connection is idle
	done    int           // bytes of it that were answered
	whole   time.Time     // by when the request that has begun must be whole; zero: none has
	failing wireWriter    // for failures
	closing bool          // the answer was the last
	linger  bool          // and the client could not know
}

// drive serves a connection in the hot lane, from bytes on that were read already. It returns
// when the connection is closed, or is net/http's.
func (g *Gateway) drive(w *wire, begun []byte) {
	defer func() {
		if p := recover(); p != nil {
			// As in net/http, it ends the connection and not the edge.
			g.log.Error("panic in the hot lane", "panic", p, "stack", string(debug.Stack()))
			_ = w.Close()
		}
	}()
	l := &laneConn{g: g, wire: w, failing: wireWriter{wire: w}}
	if len(begun) > 0 || w.version.Load() == 0 {
		l.whole = time.Now().Add(g.opts.ReadHeaderTimeout)
	}
	if len(begun) > 0 {
		l.read = g.readBuffer()
		*l.read = append(*l.read, begun...)
	}
	if l.serve() {
		l.wire.leave((*l.read)[l.done:])
	} else {
		if l.linger {
			w.linger()
		}
		_ = w.Close()
	}
	l.release()
}

// serve answers requests. It reports whether the connection is for net/http from here on.
func (l *laneConn) serve() (leave bool) {
	for {
		n, verdict := l.next()
		switch {
		case verdict == lane.Leave:
			return !l.closing
		case verdict == lane.More:
			if err := l.fill(); err != nil {
				// What to say to half a request, net/http knows.
				return errors.Is(err, io.EOF) && l.read != nil
			}
			continue
		case !l.answer():
			return true
		case l.closing:
			return false
		}
		l.consume(n)
	}
}

// prefaceLine begins the preface of HTTP/2 (RFC 9113, section 3.4).
const prefaceLine = "PRI * HTTP/2.0\r\n"

// next looks at what was read and not answered.
func (l *laneConn) next() (n int, verdict lane.Verdict) {
	if l.read == nil {
		return 0, lane.More
	}
	rest := (*l.read)[l.done:]
	if n, verdict = l.req.Read(rest); n > l.g.opts.MaxHeaderBytes {
		verdict = lane.Leave
	}
	if m := min(len(rest), len(prefaceLine)); verdict == lane.Leave && l.wire.version.Load() != 0 && string(rest[:m]) == prefaceLine[:m] {
		// To net/http the connection is a new one, and HTTP/2 would be spoken on it after
		// answers in HTTP/1. No client does that, but it may have a proxy do it.
		if m < len(prefaceLine) {
			return 0, lane.More
		}
		l.closing, l.linger = true, true
	}
	return n, verdict
}

// fill reads more; an error is the connection's end. A request that has begun, and a
// connection's first, have less time than an idle connection.
func (l *laneConn) fill() error {
	due := l.whole
	if due.IsZero() {
		due = time.Now().Add(l.g.opts.IdleTimeout)
	}
	if err := l.wire.reads.set(due); err != nil {
		return err
	}
	before := 0
	if l.read != nil {
		*l.read = append((*l.read)[:0], (*l.read)[l.done:]...)
		l.done, before = 0, len(*l.read)
	}
	if err := l.wire.readMore(&l.read, l.g.readBuffer, l.g.giveReadBuffer); err != nil {
		return err
	}
	if l.read == nil || len(*l.read) == before {
		return io.ErrNoProgress
	}
	if l.whole.IsZero() {
		l.whole = time.Now().Add(l.g.opts.ReadHeaderTimeout)
	}
	return nil
}

// consume drops the bytes of a request that was answered. Those behind it stay where they
// are: to move them for each of many requests that came together would cost more than to
// answer it.
func (l *laneConn) consume(n int) {
	l.done += n
	l.wire.reads.idle()
	if l.done == len(*l.read) {
		l.whole = time.Time{}
		l.release()
		return
	}
	l.wire.reads.busy() // it was read together with the last one
	l.whole = time.Now().Add(l.g.opts.ReadHeaderTimeout)
}

func (l *laneConn) release() {
	if l.read != nil {
		l.g.giveReadBuffer(l.read)
		l.read, l.done = nil, 0
	}
}

// answer answers the request that was recognised, if its page is kept. It reports false when
// nothing was written.
func (l *laneConn) answer() bool {
	if l.g.hot == nil {
		return false
	}
	if l.r == nil {
		l.r = (&http.Request{
			URL: &url.URL{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: l.wire.RemoteAddr().String(),
		}).WithContext(l.g.ctx)
	}
	r := l.r
	r.Method, r.Host, r.RequestURI, r.Header, r.Close = l.req.Method, l.req.Host, l.req.Target, l.req.Header, l.req.Close
	x, ok := l.g.serveHot(&l.failing, l.wire, r)
	if !ok {
		return false
	}
	l.closing = r.Close || x.last || x.cut || x.err != nil
	l.linger = x.last && !r.Close && !x.cut && x.err == nil
	return true
}

// takeBack brings a connection back into the hot lane once net/http has answered a request on
// it, if that was an ordinary one: then the end of the answer is known to both sides, and
// net/http has nothing more to say.
func (g *Gateway) takeBack(w http.ResponseWriter, r *http.Request, x *exchange) {
	wire := wireOf(r)
	switch {
	case wire == nil, g.hot == nil, r.ProtoMinor != 1, r.Close, r.ContentLength != 0, len(r.TransferEncoding) > 0,
		r.Method != http.MethodGet && r.Method != http.MethodHead,
		x.cut || x.err != nil || g.draining.Load(),
		x.status != http.StatusNotModified && w.Header().Get("Content-Length") == "",
		w.Header().Get("Connection") != "",
		// To net/http, "close" may stand anywhere in the field; then it has said that it closes.
		len(r.Header["Connection"]) > 0 && !strings.EqualFold(r.Header.Get("Connection"), "keep-alive"),
		r.Header.Get("Expect") != "" || r.Header.Get("Upgrade") != "":
		return
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	conn, read, err := control.Hijack()
	if err != nil {
		return // it stays
	}
	begun, _ := read.Reader.Peek(read.Reader.Buffered())
	begun = append(bytes.Clone(begun), wire.rest...) // what net/http has not asked for yet
	wire.rest = nil
	wire.left.Store(false)
	wire.reads.idle()
	if len(begun) > 0 {
		wire.reads.busy()
	}
	if conn != net.Conn(wire) || !wire.from.start(func() { g.drive(wire, begun) }) {
		_ = conn.Close()
	}
}

// readBuffer returns an empty buffer for requests. Those for answers are much larger, and a
// client may hold one of these for as long as half a request is waited for.
func (g *Gateway) readBuffer() *[]byte {
	if b, _ := g.readBuffers.Get().(*[]byte); b != nil {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

// giveReadBuffer takes a buffer for requests back.
func (g *Gateway) giveReadBuffer(b *[]byte) {
	if cap(*b) <= 2*lane.MaxHead {
		g.readBuffers.Put(b)
	}
}

// buffer returns an empty buffer for an answer.
func (g *Gateway) buffer() *[]byte {
	if b, _ := g.buffers.Get().(*[]byte); b != nil {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

// giveBuffer takes a buffer back.
func (g *Gateway) giveBuffer(b *[]byte) {
	if cap(*b) <= 2*joined {
		g.buffers.Put(b)
	}
}

// serveLanes accepts connections into the hot lane until the listener is closed.
func (g *Gateway) serveLanes(ctx context.Context, conns *wires) error {
	var pause time.Duration
	for {
		w, err := conns.acceptWire()
		if err == nil {
			pause = 0
			if !conns.start(func() { g.drive(w, nil) }) {
				_ = w.Close()
			}
			continue
		}
		var temporary interface{ Temporary() bool }
		if ctx.Err() != nil || !errors.As(err, &temporary) || !temporary.Temporary() {
			return err
		}
		// Too many open files, say: as net/http does.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		g.log.Warn("accept a connection; trying again", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// wireWriter is the http.ResponseWriter of the hot lane, for failures: the connection ends with
// them.
type wireWriter struct {
	wire   *wire
	header http.Header
}

// Header implements http.ResponseWriter.
func (w *wireWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *wireWriter) WriteHeader(status int) {
	w.Header()["Connection"] = connectionClose
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http.StatusText(status), time.Now().UTC().Format(http.TimeFormat))
	_ = w.header.Write(&b) // into memory
	b.WriteString("\r\n")
	_, _ = w.wire.Write(b.Bytes())
}

// Write implements http.ResponseWriter.
func (w *wireWriter) Write(p []byte) (int, error) { return w.wire.Write(p) }
