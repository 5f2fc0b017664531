package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// metrics are the gateway's Prometheus metrics. No label takes a value that a
// visitor chooses.
type metrics struct {
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	firstByte  *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	sentBytes  *prometheus.CounterVec
	blocks     [len(block.Sources)]prometheus.Counter
	blockBytes [len(block.Sources)]prometheus.Counter
	encoded    *prometheus.CounterVec
	encoding   *prometheus.CounterVec

	mu      sync.Mutex
	perSite map[[2]string]*hitMetrics
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
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shoal_http_requests_in_flight", Help: "Requests being answered now.",
		}),
	}
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
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.firstByte, m.inFlight, m.sentBytes, count, size, m.encoded, m.encoding} {
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
func (m *metrics) compressed(c coding, e effort, took time.Duration) {
	m.encoded.WithLabelValues(codings[c].name, e.String()).Inc()
	m.encoding.WithLabelValues(codings[c].name, e.String()).Add(took.Seconds())
}

// observe is the outermost handler of what is answered by one table. It makes the request's record and accounts
// for the request when it is over, however it ended.
func (g *Gateway) observe(sites *siteTable) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &requestRecord{start: time.Now(), label: labelOther, sites: sites}
			take := g.beginCapture(r)
			rec.moves = g.moves.Load()
			if g.sites.Load() != sites {
				// Replaced since the request came in. Answered it is by the old
				// rules; kept for others it must not be.
				take = nil
			}
			g.attend(w, r, rec, take, next)
		})
	}
}

// attend has next answer the request that rec is about, and accounts for it.
func (g *Gateway) attend(w http.ResponseWriter, r *http.Request, rec *requestRecord, take *capture, next http.Handler) {
	host, uri := r.Host, r.RequestURI
	ctx, cancel := context.WithTimeout(withRecord(r.Context(), rec), g.opts.RequestTimeout)
	r = r.WithContext(ctx)
	rw := newResponseWriter(w, r, rec, g.opts.WriteTimeout)
	rw.capture, rw.held, rw.draining = take, g.hold(r), &g.draining
	g.metrics.inFlight.Inc()
	defer func() {
		g.recovered(recover(), rw)
		g.misses.leave(rec)
		leavePlaces(rec)
		if rw.status == 0 && !rw.abort {
			rw.WriteHeader(http.StatusOK)
		}
		rw.finish()
		if rec.broken.Load() && !rw.discard {
			rw.abort = true
		}
		cancel()
		g.metrics.inFlight.Dec()
		g.account(r, rw, rec, host, uri)
		if rw.capture != nil && rw.capture.ready {
			g.captured(rw.capture, rw, rec)
		}
		if rw.abort {
			panic(http.ErrAbortHandler)
		}
	}()
	g.boundBody(rw, r)
	next.ServeHTTP(rw, r)
}

// boundBody keeps a client from holding the connection with a body that never
// arrives: the server would wait for it after the answer.
func (g *Gateway) boundBody(w *responseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = w.control.SetReadDeadline(time.Now().Add(g.opts.ReadHeaderTimeout))
	}
}

// contain catches panics before boxo's hostname handler does, which would answer
// without a word and let a broken answer pass for a whole one.
func (g *Gateway) contain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if rw, ok := w.(*responseWriter); ok {
				g.recovered(recover(), rw)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// recovered answers a panic with a plain 500, or when the answer has begun
// already, marks the connection as to be cut.
func (g *Gateway) recovered(p any, w *responseWriter) {
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		w.abort = true
		return
	}
	g.log.Error("panic while answering a request", "panic", p, "stack", string(debug.Stack()))
	w.rec.failed(internalError(p))
	if !w.unsay() {
		w.abort = true
		return
	}
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// account counts the request and writes its line into the access log.
func (g *Gateway) account(r *http.Request, w *responseWriter, rec *requestRecord, host, uri string) {
	took, cache := time.Since(rec.start), rec.cacheLabel()
	g.metrics.requests.WithLabelValues(rec.label, methodLabel(r.Method), strconv.Itoa(w.status), cache).Inc()
	g.metrics.seconds.WithLabelValues(cache).Observe(took.Seconds())
	g.metrics.firstByte.WithLabelValues(cache).Observe(w.firstByte.Seconds())
	g.metrics.sentBytes.WithLabelValues(rec.label).Add(float64(w.bytes))
	if !g.log.Enabled(r.Context(), slog.LevelInfo) {
		return
	}
	attrs := []slog.Attr{
		slog.String("client", rec.client.String()), slog.String("site", rec.label), slog.String("method", abbreviate(r.Method)),
		slog.String("host", abbreviate(host)), slog.String("uri", truncate(uri, 2048)), slog.String("proto", r.Proto),
		slog.Int("status", w.status), slog.Int64("bytes", w.bytes), slog.Duration("took", took),
		slog.Duration("first_byte", w.firstByte), slog.String("cache", cache),
		slog.String("agent", truncate(r.UserAgent(), 256)),
	}
	counts, _ := rec.counts()
	for i, n := range counts {
		if n.blocks > 0 {
			name := block.Source(i).String()
			attrs = append(attrs, slog.Uint64(name+"_blocks", n.blocks), slog.Uint64(name+"_bytes", n.bytes))
		}
	}
	if f := rec.firstFailure(); f != nil && f.cause != nil {
		attrs = append(attrs, slog.String("err", f.cause.Error()))
	} else if w.err != nil {
		attrs = append(attrs, slog.String("err", "write to the client: "+w.err.Error()))
	}
	g.log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
}

// methodLabel keeps invented methods out of the metrics.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return method
	}
	return "other"
}

func truncate(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
