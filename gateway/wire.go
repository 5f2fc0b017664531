package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// wire is a connection whose handlers may write a whole response themselves.
//
// A handler of net/http hands over its header as a map, which is then copied,
// sorted and written field by field: for the fifteen fields of ours, that costs
// more than everything else about a hit. There is no way to hand over a header that
// is ready. So a hit writes its response to the connection, and what net/http says
// then in the name of a handler that wrote nothing is swallowed. Reading and
// checking requests, keeping connections alive and draining stay with net/http.
//
// For HTTP/1.1, it is used by the connection's own goroutine only.
type wire struct {
	net.Conn
	answered bool      // the response is out: what is written until the next request is not for the client
	allowed  time.Time // when the client was last given time to read; zero: not by allow
	overdue  bool      // net/http took that deadline off, and it is still on
}

type wireKey struct{}

// wireOf returns the connection if the response to r may be written to it.
func wireOf(r *http.Request) *wire {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Close {
		return nil
	}
	w, _ := r.Context().Value(wireKey{}).(*wire)
	return w
}

// wires makes every connection of a listener a wire.
type wires struct{ net.Listener }

func (l wires) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c}, nil
}

// remember is http.Server.ConnContext.
func remember(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}

// nextRequest is http.Server.ConnState: a connection that turns idle has had
// everything that net/http wrote for the last request.
func nextRequest(c net.Conn, state http.ConnState) {
	if w, ok := c.(*wire); ok && state == http.StateIdle {
		w.answered = false
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if w.answered {
		return len(p), nil
	}
	w.takeOff()
	return w.Conn.Write(p)
}

// ReadFrom keeps the connection's own way of sending files.
func (w *wire) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := w.Conn.(io.ReaderFrom); ok && !w.answered {
		w.takeOff()
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{w}, src)
}

// CloseWrite lets net/http say goodbye before it closes.
func (w *wire) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// allow gives the client at least three quarters of the stall time from now on. To
// set the deadline for each small answer would cost as much as to find the answer.
func (w *wire) allow(stall time.Duration) {
	if now := time.Now(); now.Sub(w.allowed) > stall/4 {
		w.allowed = now
		_ = w.Conn.SetWriteDeadline(now.Add(stall))
	}
	w.overdue = false
}

// SetWriteDeadline implements net.Conn. net/http takes the deadline off after each
// request; that waits until somebody else than allow is about to write.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.allowed.IsZero() {
		return w.Conn.SetWriteDeadline(t)
	}
	if t.IsZero() {
		w.overdue = true
		return nil
	}
	w.allowed, w.overdue = time.Time{}, false
	return w.Conn.SetWriteDeadline(t)
}

func (w *wire) takeOff() {
	if w.overdue {
		w.allowed, w.overdue = time.Time{}, false
		_ = w.Conn.SetWriteDeadline(time.Time{})
	}
}

// statusLines are the beginnings of responses.
var statusLines = map[int]string{
	http.StatusOK:             "HTTP/1.1 200 OK\r\n",
	http.StatusPartialContent: "HTTP/1.1 206 Partial Content\r\n",
	http.StatusNotModified:    "HTTP/1.1 304 Not Modified\r\n",
}

// appendHead appends a status line and header fields, without the empty line.
func appendHead(b []byte, status int, fields []headerField) []byte {
	b = append(b, statusLines[status]...)
	for _, f := range fields {
		b = appendField(b, f.name, f.value[0])
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// joined is the largest body, in bytes, that is copied behind its head: up to here
// that is cheaper than handing two pieces to the kernel.
const joined = 16 << 10

// writeWire writes the response to the connection.
func (h *hit) writeWire(w *wire, status int, timing string, body []byte) (int64, error) {
	w.allow(h.g.opts.WriteTimeout)
	pooled, _ := h.g.buffers.Get().(*[]byte)
	if pooled == nil {
		pooled = new([]byte)
	}
	defer h.g.buffers.Put(pooled)
	b := h.appendResponseHead((*pooled)[:0], status, timing)
	head := len(b)
	var err error
	var n int64
	if len(body) <= joined {
		b = append(b, body...)
		var m int
		m, err = w.Conn.Write(b)
		n = int64(m)
	} else {
		n, err = h.writePieces(w, b, body)
	}
	*pooled = b
	w.answered = true
	if err != nil {
		_ = w.Conn.Close() // half an answer is out: nothing can follow it
	}
	return max(0, n-int64(head)), err
}

// writePieces writes a head and a large body, each step within the stall time.
func (h *hit) writePieces(w *wire, head, body []byte) (sent int64, err error) {
	const step = 2 * writeStep
	pieces := net.Buffers{head, body[:min(len(body), step)]}
	sent, err = pieces.WriteTo(w.Conn)
	for body = body[min(len(body), step):]; len(body) > 0 && err == nil; body = body[min(len(body), step):] {
		w.allow(h.g.opts.WriteTimeout)
		var n int
		n, err = w.Conn.Write(body[:min(len(body), step)])
		sent += int64(n)
	}
	return sent, err
}

// appendResponseHead appends the whole head, with the empty line.
func (h *hit) appendResponseHead(b []byte, status int, timing string) []byte {
	switch r := h.route; status {
	case http.StatusNotModified:
		b = append(b, r.headNotAgain...)
	case http.StatusPartialContent:
		b = appendHead(b, status, r.part)
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, h.span.to-h.span.from, 10)
		b = append(b, "\r\nContent-Range: bytes "...)
		b = strconv.AppendInt(b, h.span.from, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, h.span.to-1, 10)
		b = append(b, '/')
		b = strconv.AppendInt(b, r.size, 10)
		b = append(b, "\r\n"...)
	default:
		b = append(b, r.headWhole...)
	}
	control, modified := h.named(status)
	if control != "" {
		b = appendField(b, "Cache-Control", control)
	}
	if modified != "" {
		b = appendField(b, "Last-Modified", modified)
	}
	b = appendField(b, "Server-Timing", timing)
	b = append(b, "Date: "...)
	b = h.begin.UTC().AppendFormat(b, http.TimeFormat)
	return append(b, "\r\n\r\n"...)
}
