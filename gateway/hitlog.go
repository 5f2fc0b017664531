package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// Everything that accounting for a hit can prepare is prepared: metrics with their
// labels, the part of the log line that is the same each time, and the texts of
// Server-Timing.

// statusHit is the Cache-Status of what needed no block from the disk or farther.
var (
	statusHit  = []string{"shoal; hit"}
	statusDisk = []string{"shoal; fwd=uri-miss; detail=disk"}
)

// hitMetrics are the metrics of a site's hits.
type hitMetrics struct {
	m     *metrics
	label string
	cache string
	// By method and status; made when first needed, so that no series exists
	// without a request.
	requests           [2][3]atomic.Pointer[prometheus.Counter]
	sent               prometheus.Counter
	seconds, firstByte prometheus.Observer
}

// hits returns the metrics of a site's hits.
func (m *metrics) hits(label, cache string) *hitMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{label, cache}
	if h := m.perSite[key]; h != nil {
		return h
	}
	h := &hitMetrics{
		m: m, label: label, cache: cache, sent: m.sentBytes.WithLabelValues(label),
		seconds: m.seconds.WithLabelValues(cache), firstByte: m.firstByte.WithLabelValues(cache),
	}
	if m.perSite == nil {
		m.perSite = map[[2]string]*hitMetrics{}
	}
	m.perSite[key] = h
	return h
}

// requestKind numbers the methods and the status codes that hits have.
func requestKind(method string, status int) (row, column int) {
	if method == http.MethodHead {
		row = 1
	}
	switch status {
	case http.StatusPartialContent:
		column = 1
	case http.StatusNotModified:
		column = 2
	}
	return row, column
}

func (h *hitMetrics) request(method string, status int) prometheus.Counter {
	row, column := requestKind(method, status)
	slot := &h.requests[row][column]
	if c := slot.Load(); c != nil {
		return *c
	}
	c := h.m.requests.WithLabelValues(h.label, method, strconv.Itoa(status), h.cache)
	slot.Store(&c)
	return c
}

// hitLog has handlers for the access log's lines of one route, each with what is the
// same in many of them formatted already: what is left fits into a slog.Record
// without memory of its own.
type hitLog struct {
	base  slog.Handler // nil when nothing is logged
	ready [24]atomic.Pointer[slog.Handler]
}

// slot is where the handler for a kind of line is kept; nil for a rare kind.
func (l *hitLog) slot(method, proto string, status int, source block.Source) *atomic.Pointer[slog.Handler] {
	row, column := requestKind(method, status)
	n := 2 * (3*row + column)
	if source != block.Memory {
		n++
	}
	switch proto {
	case "HTTP/1.1":
		return &l.ready[n]
	case "HTTP/2.0":
		return &l.ready[12+n]
	}
	return nil
}

// handler returns the handler for the line of an answer.
func (h *hit) handler(status int, cache string) slog.Handler {
	r := h.route
	slot := r.log.slot(h.r.Method, h.r.Proto, status, h.source)
	if slot != nil {
		if ready := slot.Load(); ready != nil {
			return *ready
		}
	}
	handler := r.log.base.WithAttrs([]slog.Attr{
		slog.String("site", r.label), slog.String("method", h.r.Method), slog.String("host", abbreviate(r.host)),
		slog.String("uri", truncate(r.uri, 2048)), slog.String("proto", h.r.Proto), slog.Int("status", status), slog.String("cache", cache),
	})
	if slot != nil {
		slot.Store(&handler)
	}
	return handler
}

// account counts the request and writes its line into the access log.
func (h *hit) account(status int, firstByte time.Duration, sent int64, err error) {
	end := time.Now()
	took := end.Sub(h.begin)
	m := h.route.metrics
	if h.source != block.Memory {
		m = h.g.metrics.hits(h.route.label, h.source.String())
	}
	m.request(h.r.Method, status).Inc()
	m.seconds.Observe(took.Seconds())
	m.firstByte.Observe(firstByte.Seconds())
	m.sent.Add(float64(sent))
	if h.route.log.base == nil {
		return
	}
	line := slog.NewRecord(end, slog.LevelInfo, "request", 0)
	line.AddAttrs(slog.String("client", h.client), slog.Int64("bytes", sent), slog.Duration("took", took),
		slog.Duration("first_byte", firstByte), slog.String("agent", truncate(h.r.UserAgent(), 256)))
	if err != nil {
		line.AddAttrs(slog.String("err", "write to the client: "+err.Error()))
	}
	_ = h.handler(status, m.cache).Handle(context.Background(), line)
}

// timingTable holds the texts of Server-Timing for answers from memory.
type timingTable struct {
	once  sync.Once
	texts [][]string // by microseconds
}

// of returns the text for a time until the first byte.
func (t *timingTable) of(d time.Duration) []string {
	t.once.Do(func() {
		t.texts = make([][]string, 1000)
		for us := range t.texts {
			t.texts[us] = []string{timingText(time.Duration(us) * time.Microsecond)}
		}
	})
	if us := int(d / time.Microsecond); us < len(t.texts) {
		return t.texts[us]
	}
	return []string{timingText(d)}
}

func timingText(d time.Duration) string {
	return "total;dur=" + strconv.FormatFloat(milliseconds(d), 'f', 3, 64)
}
