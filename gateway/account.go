package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
)

// metrics are the gateway's Prometheus metrics. No label takes a value that a
// visitor chooses.
type metrics struct {
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	firstByte  *prometheus.HistogramVec
	inFlight   atomic.Int64
	sentBytes  *prometheus.CounterVec
	blocks     [len(block.Sources)]prometheus.Counter
	blockBytes [len(block.Sources)]prometheus.Counter
	encoded    *prometheus.CounterVec
	encoding   *prometheus.CounterVec

	mu    sync.Mutex // held while known is replaced
	known atomic.Pointer[map[seriesKey]*series]
}

// seriesKey has the labels of a request.
type seriesKey struct {
	site, method, cache string
	status              int
}

// series are the metrics that a request counts in: to look them up by their labels costs as
// much as to find a page.
type series struct {
	requests, sent     prometheus.Counter
	seconds, firstByte prometheus.Observer
}

// From a hit in memory to the retrieval timeout.
var secondsBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_http_requests_total",
			Help: "Requests answered, by site, method, status code and the farthest place their content came from.",
		}, []string{"site", "method", "code", "cache"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "shoal_http_request_seconds", Help: "Time until the last byte was written.", Buckets: secondsBuckets,
		}, []string{"cache"}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "shoal_http_first_byte_seconds", Help: "Time until the first byte was written.", Buckets: secondsBuckets,
		}, []string{"cache"}),
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shoal_http_requests_in_flight", Help: "Requests being answered now.",
	}, func() float64 { return float64(m.inFlight.Load()) })
	m.sentBytes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shoal_http_response_bytes_total", Help: "Bytes of response bodies sent, by site.",
	}, []string{"site"})
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shoal_blocks_total", Help: "Blocks read for HTTP requests, by where they were found.",
	}, []string{"source"})
	size := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shoal_block_bytes_total", Help: "Bytes of blocks read for HTTP requests, by where they were found.",
	}, []string{"source"})
	m.encoded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shoal_http_compressions_total", Help: "Times that content was compressed, by content coding and effort.",
	}, []string{"coding", "effort"})
	m.encoding = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shoal_http_compression_seconds_total", Help: "Time spent compressing content, by content coding and effort.",
	}, []string{"coding", "effort"})
	for i, s := range block.Sources {
		m.blocks[i], m.blockBytes[i] = count.WithLabelValues(s.String()), size.WithLabelValues(s.String())
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.firstByte, inFlight, m.sentBytes, count, size, m.encoded, m.encoding} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the gateway's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) block(src block.Source, size int) {
	if int(src) < len(m.blocks) {
		m.blocks[src].Inc()
		m.blockBytes[src].Add(float64(size))
	}
}

// compressed notes that content was encoded, or that it was tried.
func (m *metrics) compressed(coding, effort string, took time.Duration) {
	m.encoded.WithLabelValues(coding, effort).Inc()
	m.encoding.WithLabelValues(coding, effort).Add(took.Seconds())
}

// of returns the metrics of requests with these labels.
func (m *metrics) of(key seriesKey) *series {
	if known := m.known.Load(); known != nil {
		if s := (*known)[key]; s != nil {
			return s
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &series{
		requests: m.requests.WithLabelValues(key.site, key.method, strconv.Itoa(key.status), key.cache),
		sent:     m.sentBytes.WithLabelValues(key.site),
		seconds:  m.seconds.WithLabelValues(key.cache), firstByte: m.firstByte.WithLabelValues(key.cache),
	}
	next := map[seriesKey]*series{}
	if known := m.known.Load(); known != nil {
		next = maps.Clone(*known)
	}
	next[key] = s
	m.known.Store(&next)
	return s
}

// account counts the request and writes its line into the access log. base, if not nil, has
// what is the same in many of these lines.
func (g *Gateway) account(x *exchange, r *http.Request, base slog.Handler) {
	end := time.Now()
	took, cache := end.Sub(x.start), x.cacheLabel()
	s := g.metrics.of(seriesKey{x.label, methodLabel(r.Method), cache, x.status})
	s.requests.Inc()
	s.seconds.Observe(took.Seconds())
	s.firstByte.Observe(x.firstByte.Seconds())
	s.sent.Add(float64(x.bytes))
	if !g.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if base == nil {
		base = g.lineOf(x)
	}
	line := slog.NewRecord(end, slog.LevelInfo, "request", 0)
	line.AddAttrs(slog.String("client", x.client.String()), slog.String("method", answer.Abbreviate(r.Method)), slog.String("proto", r.Proto),
		slog.Int("status", x.status), slog.String("cache", cache))
	line.AddAttrs(slog.Int64("bytes", x.bytes), slog.Duration("took", took),
		slog.Duration("first_byte", x.firstByte), slog.String("agent", answer.Truncate(r.UserAgent(), 256)))
	if x.reads != nil {
		counts, _ := x.reads.Counts()
		for i, n := range counts {
			if n.Blocks > 0 {
				name := block.Source(i).String()
				line.AddAttrs(slog.Uint64(name+"_blocks", n.Blocks), slog.Uint64(name+"_bytes", n.Bytes))
			}
		}
	}
	if err := x.reason(); err != "" {
		line.AddAttrs(slog.String("err", err))
	}
	_ = base.Handle(context.Background(), line)
}

// lineOf returns a handler for the lines of a URL.
func (g *Gateway) lineOf(x *exchange) slog.Handler {
	return g.log.Handler().WithAttrs([]slog.Attr{
		slog.String("site", x.label), slog.String("host", answer.Abbreviate(x.host)), slog.String("uri", answer.Truncate(x.uri, 2048)),
	})
}

// reason says what went wrong; empty when nothing did.
func (x *exchange) reason() string {
	switch {
	case x.failure != nil && x.failure.Cause != nil:
		return x.failure.Cause.Error()
	case x.err != nil:
		return "write to the client: " + x.err.Error()
	}
	return ""
}

// methodLabel keeps invented methods out of the metrics.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return method
	}
	return "other"
}
