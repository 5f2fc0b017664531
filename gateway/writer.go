package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/block"
)

// responseWriter stands between every handler and the connection. It adds the
// headers that tell where content came from, replaces what boxo says about a
// failed fetch, bounds how long a client may stall, and counts.
type responseWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	rec     *requestRecord
	stall   time.Duration
	http2   bool
	wire    bool // the connection itself bounds how long a client may stall

	status    int
	bytes     int64
	firstByte time.Duration
	capture   *capture
	held      *held        // nil when nothing is ever encoded
	draining  *atomic.Bool // see Gateway; nil for never
	discard   bool         // the handler's body is replaced
	abort     bool         // the connection must be cut: the answer is not whole
	err       error        // of the connection
}

var errBrokenOff = errors.New("the answer broke off")

// writeStep is the most that is handed to the connection under one deadline. With
// the default of 30 s, a client that reads slower than 2 kB/s counts as stalled.
const writeStep = 64 << 10

func newResponseWriter(w http.ResponseWriter, r *http.Request, rec *requestRecord, stall time.Duration) *responseWriter {
	return &responseWriter{
		ResponseWriter: w, control: http.NewResponseController(w),
		rec: rec, stall: stall, http2: r.ProtoMajor >= 2, wire: wireOf(r) != nil,
	}
}

// Unwrap serves http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *responseWriter) WriteHeader(code int) {
	if w.status != 0 {
		return
	}
	if code >= 100 && code < 200 {
		w.ResponseWriter.WriteHeader(code)
		return
	}
	code, f := w.decide(code)
	w.status = code
	h := w.Header()
	settleContentLocation(h)
	switch {
	case f != nil, code >= http.StatusInternalServerError, code == http.StatusTooManyRequests, code == http.StatusUnprocessableEntity:
		forgetContent(h)
	case code == http.StatusRequestedRangeNotSatisfiable:
		// Its Content-Range says how long the content is (RFC 9110, section 15.5.17).
		size := h["Content-Range"]
		forgetContent(h)
		h["Content-Range"] = size
	case code >= http.StatusBadRequest && h.Get("Cache-Control") == immutableCacheControl && h.Get("Content-Type") != "text/html":
		forgetContent(h) // a refusal, and not a site's own page for what it lacks
	}
	if f != nil {
		w.announce()
		w.replace(f)
		return
	}
	if h.Get("Location") != "" {
		w.redirect()
		return
	}
	// boxo dates an IPNS record without a TTL by its own clock; see undated.
	if _, ok := h["Last-Modified"]; ok && !w.rec.dated() {
		h.Del("Last-Modified")
	}
	if w.capture != nil {
		w.capture.ready = w.capture.begin(w.rec, code, h)
	}
	if w.held != nil && w.held.begin(w.rec, code, h) {
		return
	}
	w.commit()
}

// connectionClose says that the connection ends with the answer (RFC 9112, section 9.6).
var connectionClose = []string{"close"}

// decide returns the status to answer with, and the failure to answer with in place of
// what the handler is about to say, if there is one.
func (w *responseWriter) decide(code int) (int, *failure) {
	f := w.rec.firstFailure()
	switch {
	case f != nil && (code == f.status || code == http.StatusNotFound || code >= http.StatusInternalServerError ||
		w.rec.broken.Load() && code < http.StatusMultipleChoices):
		return f.status, f
	case code == http.StatusInternalServerError:
		// Our own failures are known. What else boxo has an internal error for, is
		// content that is not what it says it is.
		return http.StatusUnprocessableEntity, nil
	case w.Header().Get("Location") == "":
		return code, nil
	}
	to, f := w.rec.leads(w.Header().Get("Location"))
	if f != nil {
		w.rec.failed(f)
		return f.status, f
	}
	w.Header().Set("Location", to)
	return code, nil
}

// announce sets what is known only when the answer leaves.
func (w *responseWriter) announce() {
	w.rec.answering.Store(true)
	w.firstByte = time.Since(w.rec.start)
	h := w.Header()
	h.Set("Cache-Status", w.rec.cacheStatus())
	h.Set("Server-Timing", w.serverTiming())
	if w.draining != nil && w.draining.Load() && !w.http2 {
		h["Connection"] = connectionClose
	}
	w.extendDeadline()
}

// commit sends the header.
func (w *responseWriter) commit() {
	w.announce()
	w.ResponseWriter.WriteHeader(w.status)
	w.wrote(0, nil)
}

// replace answers with f in place of what the handler is about to say.
func (w *responseWriter) replace(f *failure) {
	w.discard = true
	n := &countingWriter{ResponseWriter: w.ResponseWriter}
	f.write(n)
	w.bytes += n.bytes
}

// forgetContent takes away what boxo says about content before it knows that it
// cannot be had. An error must not be cached as the immutable file.
func forgetContent(h http.Header) {
	for _, name := range []string{
		"Etag", "Last-Modified", "Content-Length", "Content-Disposition", "Content-Range",
		"Content-Encoding", "Accept-Ranges", "Expires", "Content-Location", "Location",
	} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
}

// serverTiming is what had passed when the first byte left, in milliseconds.
func (w *responseWriter) serverTiming() string {
	var b strings.Builder
	fmt.Fprintf(&b, "total;dur=%.3f", milliseconds(w.firstByte))
	counts, origin := w.rec.counts()
	if counts[block.Origin].blocks > 0 {
		fmt.Fprintf(&b, ", origin;dur=%.3f", milliseconds(origin))
	}
	return b.String()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (w *responseWriter) Write(p []byte) (int, error) {
	w.noteStreamError()
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.discard {
		return len(p), nil
	}
	if w.rec.broken.Load() {
		// boxo ends an export that broke off with words, after which it would be a
		// message like any other.
		return 0, errBrokenOff
	}
	if w.capturing() {
		w.capture.write(p)
	}
	if w.holds() {
		return w.held.take(p)
	}
	return w.send(p)
}

// noteStreamError finds out whether boxo gave an export up: it says so in a field that
// would be a trailer, and then in the body.
func (w *responseWriter) noteStreamError() {
	text := w.Header().Get("X-Stream-Error")
	if text == "" || w.err != nil {
		return
	}
	w.Header().Del("X-Stream-Error")
	if !w.rec.broken.Load() {
		_ = w.rec.brokeOff(lying(errors.New(text)))
	}
}

// send hands bytes to the connection.
func (w *responseWriter) send(p []byte) (int, error) {
	total := 0
	for {
		w.extendDeadline()
		step := len(p)
		if !w.wire {
			step = min(step, writeStep)
		}
		n, err := w.ResponseWriter.Write(p[:step])
		w.wrote(int64(n), err)
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// ReadFrom lets the connection read from the source itself, a step at a time.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || w.discard || w.capturing() || w.holds() {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	var total int64
	for {
		w.extendDeadline()
		n, err := rf.ReadFrom(io.LimitReader(src, writeStep))
		total += n
		w.wrote(n, err)
		if err != nil || n < writeStep {
			return total, err
		}
	}
}

func (w *responseWriter) capturing() bool {
	return w.capture != nil && w.capture.ready && w.capture.keep
}

func (w *responseWriter) wrote(n int64, err error) {
	w.bytes += n
	if err != nil && w.err == nil {
		w.err = err
	}
	if w.http2 {
		// A stream's deadline resets it even while nothing is being written.
		_ = w.control.SetWriteDeadline(time.Time{})
	}
}

// Flush sends what is buffered.
func (w *responseWriter) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.holds() {
		return
	}
	w.extendDeadline()
	err := w.control.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	w.wrote(0, err)
}

// extendDeadline gives the client the stall time anew. A connection without
// deadlines (in a test, say) does not stall.
func (w *responseWriter) extendDeadline() {
	if !w.wire {
		_ = w.control.SetWriteDeadline(time.Now().Add(w.stall))
	}
}

// countingWriter counts the bytes of an answer of our own.
type countingWriter struct {
	http.ResponseWriter
	bytes int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}
