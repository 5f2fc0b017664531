package gateway

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
	"github.com/shoal-cdn/shoal/gateway/coding"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

const (
	// maxInOne is the largest file of several blocks, in bytes, that is read into memory in
	// one piece, to be encoded before it is sent.
	maxInOne = 1 << 20
	// writeStep is the most that is handed to the connection under one deadline. With
	// the default of 30 s, a client that reads slower than 2 kB/s counts as stalled.
	writeStep = 64 << 10
)

// connectionClose says that the connection ends with the answer (RFC 9112, section 9.6).
var connectionClose = []string{"close"}

// delivery is an answer on its way to one client.
type delivery struct {
	answer.Reply
	g       *Gateway
	w       http.ResponseWriter
	r       *http.Request
	x       *exchange
	control string // Cache-Control, if the answer has none of its own
	broken  error  // why the content could not be read in one piece
}

// deliver begins to answer a request with a.
func (g *Gateway) deliver(w http.ResponseWriter, r *http.Request, x *exchange, a *answer.Answer) *delivery {
	d := &delivery{Reply: a.Reply(r.Method, r.Header), g: g, w: w, r: r, x: x}
	if n := x.named; n != nil && a.Control == "" && n.ttl > 0 {
		d.control = answer.MaxAge(n.ttl) + a.Stale
	}
	return d
}

// inLane reports whether the hot lane can give the answer: what it has at hand, or can read
// from blocks.
func (d *delivery) inLane() bool { return statusLines[d.Status] != "" && d.Stream == nil }

// give answers: hot or cold, this is the one way.
func (d *delivery) give() {
	switch {
	case d.Location != "":
		d.redirect()
	case d.Status == http.StatusPreconditionFailed:
		d.g.fail(d.w, d.x, answer.Refuse(d.Status, "the content is not what If-Match or If-Unmodified-Since says"))
	case d.Status == http.StatusRequestedRangeNotSatisfiable:
		// RFC 9110, section 15.5.17.
		d.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(d.Size, 10))
		d.g.fail(d.w, d.x, answer.Refuse(d.Status, "the content has %d bytes, and none of those that were asked for", d.Size))
	case d.Status == http.StatusNotModified:
		d.send(nil)
	default:
		d.content()
	}
}

// content sends the content, or its header, as it is or in a form.
func (d *delivery) content() {
	body, inOne := d.Body, d.Body != nil
	if d.Content != "" && d.Status != http.StatusPartialContent {
		if d.Form, body = d.form(); d.Form != nil {
			body = d.Form.Body()
		}
		if inOne = body != nil; d.broken != nil {
			d.g.fail(d.w, d.x, answer.ContentFailure(d.broken))
			return
		}
	} else if inOne {
		body = body[d.Span.From:d.Span.To]
	}
	switch {
	case inOne, d.r.Method == http.MethodHead:
		d.send(body)
	case d.Stream != nil:
		d.stream(func(ctx context.Context, to *writer) error { return d.Stream(ctx, to) })
	case !d.sendLeaf():
		d.stream(d.file)
	}
}

// form returns the content in a form that the request takes; otherwise its bytes, if they
// are in memory in one piece.
func (d *delivery) form() (*coding.Form, []byte) {
	accept := coding.ReadAccepted(d.r.Header)
	if !accept.Any() || d.g.coder == nil {
		return nil, d.Body
	}
	file, body, size := d.File, d.Body, d.Size
	content := coding.Content{Name: d.Content, Size: size, Later: func(ctx context.Context) ([]byte, error) {
		if body != nil {
			return body, nil
		}
		return file.ReadAll(ctx, d.g.source.Local(), size, d.g.opts.FetchParallel)
	}}
	if body != nil || size <= maxInOne && d.r.Method == http.MethodGet {
		content.Now = d.inOnePiece
	}
	f, read := d.g.coder.Choose(d.r.Context(), &accept, content)
	if read == nil {
		read = body
	}
	return f, read
}

// errNotHeld says that no more may be held in memory.
var errNotHeld = errors.New("the content is too large to be held in one piece now")

// inOnePiece returns the content's bytes.
func (d *delivery) inOnePiece(ctx context.Context) (body []byte, err error) {
	if d.Body != nil {
		return d.Body, nil
	}
	if !d.reads().Hold(d.Size) {
		return nil, errNotHeld
	}
	body, d.broken = d.File.ReadAll(ctx, d.reads(), d.Size, d.g.opts.FetchParallel)
	return body, d.broken
}

// header sets the fields of the answer.
func (d *delivery) header() {
	h := d.w.Header()
	if d.Status == http.StatusNotModified {
		answer.Set(h, d.Again)
	} else {
		answer.Set(h, d.Fields)
	}
	switch n := d.Span.To - d.Span.From; {
	case d.Status == http.StatusNotModified || d.Size < 0:
	case d.Form != nil:
		h["Content-Encoding"] = []string{d.Form.Name()}
		h["Content-Length"] = []string{strconv.Itoa(len(d.Form.Body()))}
	default:
		h["Content-Length"] = []string{strconv.FormatInt(n, 10)}
	}
	if d.Status == http.StatusPartialContent {
		h["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", d.Span.From, d.Span.To-1, d.Size)}
	}
	h["Etag"] = []string{d.tag()}
	if control := d.cacheControl(); control != "" {
		h["Cache-Control"] = []string{control}
	}
}

// tag is the entity tag of what is sent.
func (d *delivery) tag() string {
	if d.Form != nil {
		return d.FormTag(d.Form.Name())
	}
	return d.Tag
}

func (d *delivery) cacheControl() string {
	if d.Control != "" {
		return d.Control
	}
	return d.control
}

// send answers with bytes that are at hand.
func (d *delivery) send(body []byte) {
	if d.r.Method == http.MethodHead || d.Status == http.StatusNotModified {
		body = nil
	}
	if d.x.wire != nil {
		d.writeWire(body)
		return
	}
	to := d.writer()
	to.begin()
	if len(body) > 0 {
		_, _ = to.Write(body)
	}
}

// sendLeaf answers from a leaf of a large file that is in memory, or on the disk when
// nothing is to be kept in memory, if the span lies in one. It reports whether it did.
func (d *delivery) sendLeaf() bool {
	if d.File == nil || d.File.Map == nil {
		return false
	}
	leaf, in, ok := d.File.Map.Only(d.Span)
	if !ok {
		return false
	}
	if size := in.To - in.From; size > answer.LargePart && !d.reads().Hold(size) {
		return false // it goes step by step
	}
	from, to := d.Span.From-in.From, d.Span.To-in.From
	if b := d.g.source.InMemory(leaf); b != nil {
		n, err := unixfs.ReadNode(leaf.Prefix().Codec, b.RawData())
		if err != nil || !n.IsLeaf() || n.Size() != in.To-in.From {
			return false
		}
		d.x.note(block.Memory, len(b.RawData()))
		d.send(n.Content()[from:to])
		return true
	}
	return d.g.source.View(d.r.Context(), leaf, int(in.To-in.From), int(from), int(to), func(data []byte) {
		d.x.note(block.Disk, len(data))
		d.send(data)
	})
}

// file sends a part of a file, block by block.
func (d *delivery) file(ctx context.Context, to *writer) error {
	r, err := d.File.Reader(ctx, d.reads(), d.Span, d.g.opts.FetchParallel)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(to)
	return err
}

// stream answers with what write writes. When that fails before the first byte, the answer
// is the failure; afterwards the message is cut, so that nobody takes it for complete.
func (d *delivery) stream(write func(ctx context.Context, to *writer) error) {
	if d.r.Method == http.MethodHead {
		d.send(nil)
		return
	}
	ctx, cancel := context.WithTimeout(d.r.Context(), d.g.opts.RequestTimeout)
	defer cancel()
	to := d.writer()
	err := write(ctx, to)
	if err == nil {
		to.begin() // of nothing
	}
	if err == nil || d.x.err != nil {
		return
	}
	f := answer.ContentFailure(err)
	if d.x.status == 0 {
		d.g.fail(d.w, d.x, f)
		return
	}
	d.x.failure, d.x.cut = f, true
}

// reads returns what the request reads blocks with. A hit needs it for large files only.
func (d *delivery) reads() *answer.Reads {
	if d.x.reads == nil {
		d.x.reads = d.g.source.Begin(d.x.start)
	}
	return d.x.reads
}

// redirect answers with where the content is.
func (d *delivery) redirect() {
	h := d.w.Header()
	answer.Set(h, answer.CORS)
	answer.Set(h, d.Fields)
	h.Set("Location", d.Location)
	h.Set("Content-Type", "text/html; charset=utf-8")
	if d.control != "" {
		h.Set("Cache-Control", d.control)
	}
	to := d.writer()
	to.announce()
	if d.r.Method != http.MethodHead {
		_, _ = to.Write([]byte("<a href=\"" + html.EscapeString(d.Location) + "\">" + http.StatusText(d.Status) + "</a>.\n"))
	}
}

// fail answers with a failure.
func (g *Gateway) fail(w http.ResponseWriter, x *exchange, f *answer.Failure) {
	x.failure = f
	h := w.Header()
	answer.Set(h, answer.CORS)
	d := &delivery{Reply: answer.Reply{Answer: &answer.Answer{}, Status: f.Status}, g: g, w: w, x: x}
	to := d.writer()
	to.failing = true
	f.Write(to)
}

// writer is the way of content to the client, through net/http: it sends the header
// before the first byte, counts, and bounds how long the client may stall.
type writer struct {
	*delivery
	control *http.ResponseController
	http2   bool
	failing bool // the header is a failure's
}

func (d *delivery) writer() *writer {
	return &writer{delivery: d, control: http.NewResponseController(d.w), http2: d.r != nil && d.r.ProtoMajor >= 2}
}

// Header implements http.ResponseWriter, for failures.
func (o *writer) Header() http.Header { return o.w.Header() }

// WriteHeader implements http.ResponseWriter, for failures.
func (o *writer) WriteHeader(int) { o.announce() }

// begin sends the header, unless it is out.
func (o *writer) begin() {
	switch {
	case o.x.status != 0:
	case o.x.wire != nil:
		o.writeWire(nil)
	default:
		o.header()
		o.announce()
	}
}

// announce sends the header, with what is known only when it leaves.
func (o *writer) announce() {
	if o.x.status != 0 {
		return
	}
	o.x.leaves(o.Status)
	o.x.last = o.x.wire != nil // see wireWriter
	h := o.w.Header()
	h["Cache-Status"] = o.x.cacheStatus()
	h["Server-Timing"] = []string{string(o.x.appendTiming(nil))}
	if o.g.draining.Load() && !o.http2 {
		h["Connection"] = connectionClose
	}
	o.extend()
	o.w.WriteHeader(o.Status)
	o.rest()
}

// Write implements io.Writer.
func (o *writer) Write(p []byte) (total int, err error) {
	if !o.failing {
		o.begin()
	}
	if o.x.wire != nil {
		if total, err = o.x.wire.Write(p); err != nil {
			o.x.err = errors.Join(o.x.err, err)
		}
		o.x.bytes += int64(total)
		return total, err
	}
	for len(p) > 0 {
		o.extend()
		n, err := o.w.Write(p[:min(len(p), writeStep)])
		o.rest()
		o.x.bytes += int64(n)
		total += n
		if err != nil {
			o.x.err = errors.Join(o.x.err, err)
			return total, err
		}
		p = p[n:]
	}
	return total, nil
}

// extend gives the client the stall time anew. A connection without deadlines does not
// stall, and those of our own know by themselves.
func (o *writer) extend() {
	if o.x.wire != nil || o.r != nil && wireOf(o.r) != nil {
		return
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(o.g.opts.WriteTimeout))
}

// rest takes the deadline off: on HTTP/2 it resets the stream even while nothing is being
// written.
func (o *writer) rest() {
	if o.http2 || o.r == nil && o.x.wire == nil {
		_ = o.control.SetWriteDeadline(time.Time{})
	}
}

// leaves notes that the first byte leaves.
func (x *exchange) leaves(status int) {
	x.status, x.firstByte = status, time.Since(x.start)
	if x.reads != nil {
		x.reads.Answering()
	}
}

// note counts a block that was read besides those of reads.
func (x *exchange) note(src block.Source, bytes int) {
	if x.source = src; x.reads != nil {
		x.reads.Note(src, bytes)
	}
}

// appendTiming appends Server-Timing: what had passed when the first byte left, in
// milliseconds.
func (x *exchange) appendTiming(b []byte) []byte {
	b = append(b, "total;dur="...)
	b = strconv.AppendFloat(b, milliseconds(x.firstByte), 'f', 3, 64)
	if x.reads == nil {
		return b
	}
	if counts, origin := x.reads.Counts(); counts[block.Origin].Blocks > 0 {
		b = append(b, ", origin;dur="...)
		b = strconv.AppendFloat(b, milliseconds(origin), 'f', 3, 64)
	}
	return b
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
