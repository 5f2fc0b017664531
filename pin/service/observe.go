package service

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
)

// metrics have labels with few values: seven endpoints, and the codes of [problem.Reason].
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// newMetrics registers the metrics with reg, both or none. reg may be nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_pin_requests_total",
			Help: "Requests to the pinning service.",
		}, []string{"endpoint", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shoal_pin_request_seconds",
			Help:    "How long requests to the pinning service took, to the end of the answer.",
			Buckets: prometheus.ExponentialBuckets(.0005, 4, 9), // 0.5 ms to 33 s
		}, []string{"endpoint"}),
	}
	_, err := metric.Register(reg, m.requests, m.seconds)
	return m, err
}

// observe counts a request and writes it to the log: a change so that everyone sees
// it, a fault of ours as an error, the rest for those who look closely.
func (s *Service) observe(c *call, status int, err error, took time.Duration) {
	s.metrics.requests.WithLabelValues(c.name, strconv.Itoa(status)).Inc()
	s.metrics.seconds.WithLabelValues(c.name).Observe(took.Seconds())
	level, message := slog.LevelDebug, "pin request"
	attrs := []slog.Attr{slog.String("endpoint", c.name), slog.Int("status", status), slog.Duration("took", took)}
	switch {
	case status >= http.StatusInternalServerError:
		level, message = slog.LevelError, "pin request failed"
	case status == http.StatusAccepted:
		level, message = slog.LevelInfo, "pins changed"
	}
	for _, a := range []slog.Attr{slog.String("owner", c.owner), slog.String("requestid", clip(c.id)), slog.String("replaces", c.old), slog.String("cid", clip(c.cid))} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", causeOf(err)))
	}
	s.log.LogAttrs(context.WithoutCancel(c.r.Context()), level, message, attrs...)
}

// causeOf is the text for the log, which says more than the client reads.
func causeOf(err error) string {
	if p, ok := err.(*refusal); ok && p.cause != nil {
		return p.Error() + ": " + p.cause.Error()
	}
	return err.Error()
}
