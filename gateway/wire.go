package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a connection whose handlers may write a whole response themselves.
//
// A handler of net/http hands over its header as a map, which is then copied,
// sorted and written field by field: for the fifteen fields of ours, that costs
// more than everything else about a hit. There is no way to hand over a header that
// is ready. So a hit writes its response to the connection, and what net/http says
// then in the name of a handler that wrote nothing is swallowed. Reading and
// checking requests and keeping connections alive stay with net/http.
//
// Handlers may write to it only in HTTP/1.1, where they run one at a time on the
// connection's own goroutine.
type wire struct {
	net.Conn
	// stall is how long the client may take for the next writeStep bytes, or for
	// what is less than that.
	stall time.Duration
	// answered: the response is out, and what is written until the next request is not
	// for the client.
	answered atomic.Bool
	// allowed is when the client was last given the stall time (Unix nanoseconds); 0
	// when somebody else set a deadline since.
	allowed atomic.Int64

	reads readDeadline

	from    *wires
	version atomic.Int32 // of HTTP, the major one; 0 before the first write
	writing sync.Mutex   // in HTTP/2
	frames  frames       // that were written in HTTP/2, under writing
}

type wireKey struct{}

// wireOf returns the connection that r came in on; nil if it is none of ours or
// carries several requests at once.
func wireOf(r *http.Request) *wire {
	if r.ProtoMajor != 1 {
		return nil
	}
	w, _ := r.Context().Value(wireKey{}).(*wire)
	return w
}

// wires makes every connection of a listener a wire, and knows those that are open.
type wires struct {
	net.Listener
	stall    time.Duration
	draining *atomic.Bool // see Gateway

	mu   sync.Mutex
	open map[*wire]struct{}
}

func newWires(ln net.Listener, stall time.Duration, draining *atomic.Bool) *wires {
	return &wires{Listener: ln, stall: stall, draining: draining, open: map[*wire]struct{}{}}
}

func (l *wires) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, stall: l.stall, from: l}
	w.reads.conn, w.reads.silent = c, true
	l.mu.Lock()
	l.open[w] = struct{}{}
	l.mu.Unlock()
	return w, nil
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.from.mu.Lock()
	delete(w.from.open, w)
	w.from.mu.Unlock()
	return w.Conn.Close()
}

// remember is http.Server.ConnContext.
func remember(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}

// nextRequest is http.Server.ConnState: a connection that turns idle has had
// everything that net/http wrote for the last request.
func nextRequest(c net.Conn, state http.ConnState) {
	if w, ok := c.(*wire); ok && state == http.StateIdle {
		w.answered.Store(false)
		w.reads.idle()
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if w.answered.Load() {
		return len(p), nil
	}
	if w.isHTTP2(p) {
		return w.writeFrames(p)
	}
	return w.write(p)
}

func (w *wire) write(p []byte) (int, error) {
	if len(p) <= writeStep {
		w.allow(w.stall / 4)
		return w.Conn.Write(p)
	}
	// A client that takes writeStep bytes within the stall time gets it anew.
	for total := 0; ; {
		w.allow(0)
		n, err := w.Conn.Write(p[total:])
		total += n
		if n < writeStep || !errors.Is(err, os.ErrDeadlineExceeded) {
			return total, err
		}
	}
}

// allow gives the client the stall time from now on, unless it was given it within
// the last slack: to set the deadline for each small answer would cost as much as to
// find the answer.
func (w *wire) allow(slack time.Duration) {
	now := time.Now()
	if since := now.UnixNano() - w.allowed.Load(); since >= int64(slack) || since < 0 {
		w.allowed.Store(now.UnixNano())
		_ = w.Conn.SetWriteDeadline(now.Add(w.stall))
	}
}

// SetWriteDeadline implements net.Conn. net/http takes the deadline off after each
// request, which is not needed: there is a new one before each write.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	w.allowed.Store(0)
	return w.Conn.SetWriteDeadline(t)
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) { return w.reads.Read(p) }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error { return w.reads.set(t) }

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

// ReadFrom keeps the connection's own way of sending files.
func (w *wire) ReadFrom(src io.Reader) (int64, error) {
	to, ok := w.Conn.(io.ReaderFrom)
	if !ok || w.answered.Load() {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	var total int64
	for {
		w.allow(w.stall / 4)
		n, err := to.ReadFrom(io.LimitReader(src, writeStep))
		total += n
		if err != nil || n < writeStep {
			return total, err
		}
	}
}

// CloseWrite lets net/http say goodbye before it closes.
func (w *wire) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// statusLines are the beginnings of responses.
var statusLines = map[int]string{
	http.StatusOK:             "HTTP/1.1 200 OK\r\n",
	http.StatusPartialContent: "HTTP/1.1 206 Partial Content\r\n",
	http.StatusNotModified:    "HTTP/1.1 304 Not Modified\r\n",
}

// joined is how much of a body, in bytes, is copied behind its head: as much as fits
// into one segment on its way through the kernel. That is cheaper than to hand over
// two pieces, and than a first write that wakes the reader for little.
const joined = 64 << 10

// writeWire writes the answer to the connection.
func (d *delivery) writeWire(w *wire, body []byte) {
	d.x.leaves(d.Status)
	pooled, _ := d.g.buffers.Get().(*[]byte)
	if pooled == nil {
		pooled = new([]byte)
	}
	b := d.appendHead((*pooled)[:0])
	head := len(b)
	b = append(b, body[:min(joined, len(body))]...)
	n, err := w.Write(b)
	// The buffer is not kept for as long as a slow client takes for the rest.
	*pooled = b
	d.g.buffers.Put(pooled)
	if err == nil && len(body) > joined {
		var m int
		m, err = w.Write(body[joined:])
		n += m
	}
	w.answered.Store(true)
	d.x.bytes = int64(max(0, n-head))
	if d.x.err = err; err != nil {
		_ = w.Conn.Close() // half an answer is out: nothing can follow it
	}
}

// appendHead appends the whole head, with the empty line.
func (d *delivery) appendHead(b []byte) []byte {
	b = append(b, statusLines[d.Status]...)
	switch {
	case d.Status == http.StatusNotModified:
		b = append(b, d.HeadAgain...)
	case d.Form != nil:
		b = append(b, d.Head...)
		b = append(b, d.Form.Head()...)
	default:
		b = append(b, d.Head...)
		if d.Size >= 0 {
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, d.Span.To-d.Span.From, 10)
			b = append(b, "\r\n"...)
		}
	}
	b = appendField(b, "Etag", d.tag())
	if d.Status == http.StatusPartialContent {
		b = append(b, "Content-Range: bytes "...)
		b = strconv.AppendInt(b, d.Span.From, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, d.Span.To-1, 10)
		b = append(b, '/')
		b = strconv.AppendInt(b, d.Size, 10)
		b = append(b, "\r\n"...)
	}
	if control := d.cacheControl(); control != "" {
		b = appendField(b, "Cache-Control", control)
	}
	b = appendField(b, "Cache-Status", d.x.cacheStatus()[0])
	b = append(b, "Server-Timing: "...)
	b = d.x.appendTiming(b)
	b = append(b, "\r\nDate: "...)
	b = d.x.start.UTC().AppendFormat(b, http.TimeFormat)
	return append(b, "\r\n\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// abort has the connection of a message that was cut say so where its end is all that a
// client can see of it: in HTTP/1.0, which has no chunks, an orderly close would make it
// complete.
func abort(r *http.Request) {
	w := wireOf(r)
	if w == nil || r.ProtoMinor > 0 {
		return
	}
	if c, ok := w.Conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
}
