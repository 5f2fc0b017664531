package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoal-cdn/shoal/gateway/sendqueue"
)

// wire is a connection of the public door, in the hot lane or at net/http. It bounds how long
// a client may stall, and how long it is read from.
type wire struct {
	net.Conn
	// stall is how long the client may take for the next writeStep bytes, or for
	// what is less than that.
	stall time.Duration
	// allowed is when the client was last given the stall time (Unix nanoseconds); 0
	// when somebody else set a deadline since.
	allowed atomic.Int64
	// taken is how many bytes were on their way to the client then, and were written since:
	// less those on their way now, that is what the client has taken. One writes at a time.
	taken int

	reads readDeadline
	rest  []byte      // was read in the hot lane, and is net/http's
	left  atomic.Bool // the hot lane

	from    *wires
	version atomic.Int32 // of HTTP, the major one; 0 before net/http's first write
	writing sync.Mutex   // in HTTP/2
	frames  frames       // that were written in HTTP/2, under writing
}

type wireKey struct{}

// wireOf returns the connection that r came in on at net/http; nil if it is none of ours or
// carries several requests at once.
func wireOf(r *http.Request) *wire {
	if r.ProtoMajor != 1 {
		return nil
	}
	w, _ := r.Context().Value(wireKey{}).(*wire)
	return w
}

// wires makes every connection of a listener a wire, and knows those that are open. It is the
// listener of net/http, which gets the connections that leave the hot lane.
type wires struct {
	net.Listener
	stall    time.Duration
	draining *atomic.Bool // see Gateway

	left    chan *wire    // the hot lane
	over    chan struct{} // closed when net/http gets no more
	running sync.WaitGroup

	mu   sync.Mutex
	open map[*wire]struct{}
	down bool
}

func newWires(ln net.Listener, stall time.Duration, draining *atomic.Bool) *wires {
	return &wires{
		Listener: ln, stall: stall, draining: draining, open: map[*wire]struct{}{},
		left: make(chan *wire), over: make(chan struct{}),
	}
}

// acceptWire accepts a connection.
func (l *wires) acceptWire() (*wire, error) {
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

// start runs f, which serves a connection in the hot lane. It reports false when none is
// served there any more.
func (l *wires) start(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return false
	}
	l.running.Go(f)
	return true
}

// Accept implements net.Listener, for net/http.
func (l *wires) Accept() (net.Conn, error) {
	select {
	case w := <-l.left:
		return w, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

// leave hands a connection to net/http, with the bytes that were read of the next request.
func (w *wire) leave(read []byte) {
	w.rest = bytes.Clone(read)
	w.left.Store(true)
	_ = w.reads.set(time.Time{})
	select {
	case w.from.left <- w:
	case <-w.from.over:
		_ = w.Close()
	}
}

// Close implements net.Listener: nobody gets any more connections.
func (l *wires) Close() error {
	l.mu.Lock()
	if !l.down {
		l.down = true
		close(l.over)
	}
	l.mu.Unlock()
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// stop closes the connections that are in the hot lane, and waits until they are. It returns
// how many there were.
func (l *wires) stop() (cut int) {
	_ = l.Close()
	for w := range l.all() {
		if !w.left.Load() {
			cut++
			_ = w.Close()
		}
	}
	l.running.Wait()
	return cut
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
		w.reads.idle()
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if w.isHTTP2(p) {
		return w.writeFrames(p)
	}
	return w.write(p)
}

func (w *wire) write(p []byte) (total int, err error) {
	slack := w.stall / 4
	if len(p) > writeStep {
		slack = 0
	}
	w.allow(slack)
	for {
		n, err := w.Conn.Write(p[total:])
		total += n
		w.taken += n
		if !w.renew(err) {
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
		w.taken = w.unacknowledged()
		_ = w.Conn.SetWriteDeadline(now.Add(w.stall))
	}
}

// renew gives a client that has taken writeStep bytes within the stall time that time anew,
// if err says that it is over.
func (w *wire) renew(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || w.taken-w.unacknowledged() < writeStep {
		return false
	}
	w.allow(0)
	return true
}

// unacknowledged returns how many bytes are on their way to the client.
func (w *wire) unacknowledged() int {
	if c, ok := w.Conn.(syscall.Conn); ok {
		return sendqueue.Unacknowledged(c)
	}
	return 0
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
func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) > 0 {
		n := copy(p, w.rest)
		w.rest = w.rest[n:]
		return n, nil
	}
	return w.reads.Read(p)
}

// readDirectly reads what has arrived into a buffer, which get makes if there is none.
func (w *wire) readDirectly(into **[]byte, get func() *[]byte) error {
	if *into == nil {
		*into = get()
	}
	b := *into
	n, err := w.reads.Read(room(b))
	*b = (*b)[:len(*b)+n]
	return err
}

// room returns the space behind what a buffer has.
func room(b *[]byte) []byte {
	if cap(*b)-len(*b) < 512 {
		*b = slices.Grow(*b, 4<<10)
	}
	return (*b)[len(*b):cap(*b)]
}

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error { return w.reads.set(t) }

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

// ReadFrom keeps the connection's own way of sending files.
func (w *wire) ReadFrom(src io.Reader) (int64, error) {
	to, ok := w.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	var total int64
	for {
		w.allow(w.stall / 4)
		n, err := to.ReadFrom(io.LimitReader(src, writeStep))
		total += n
		w.taken += int(n)
		if w.renew(err) {
			continue
		}
		if err != nil || n < writeStep {
			return total, err
		}
	}
}

// linger says goodbye, and takes what the client has sent until it noticed: a connection that
// is closed with bytes unread is reset, and the end of the last answer is lost (RFC 9112,
// section 9.6).
func (w *wire) linger() {
	if w.CloseWrite() != nil {
		return
	}
	var b [512]byte
	for end := time.Now().Add(w.stall); ; {
		due := time.Now().Add(lastCall)
		if due.After(end) || w.reads.set(due) != nil {
			return
		}
		if _, err := w.reads.Read(b[:]); err != nil {
			return
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
func (d *delivery) writeWire(body []byte) {
	w := d.x.wire
	d.x.leaves(d.Status)
	d.x.last = d.r.Close || d.g.draining.Load()
	pooled := d.g.buffer()
	b := d.appendHead(*pooled)
	head := len(b)
	b = append(b, body[:min(joined, len(body))]...)
	n, err := w.Write(b)
	// The buffer is not kept for as long as a slow client takes for the rest.
	*pooled = b
	d.g.giveBuffer(pooled)
	if err == nil && len(body) > joined {
		var m int
		m, err = w.Write(body[joined:])
		n += m
	}
	d.x.bytes = int64(max(0, n-head))
	d.x.err = err
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
	if d.x.last {
		b = append(b, "\r\nConnection: close"...)
	}
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
