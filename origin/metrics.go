package origin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
)

// An outcome is how one request that was really made of an origin ended.
type outcome string

const (
	outcomeOK        outcome = "ok"
	outcomeNotFound  outcome = "not_found"
	outcomeMismatch  outcome = "mismatch"  // the bytes are not what the CID names
	outcomeTooLarge  outcome = "too_large" // more than block.MaxSize
	outcomeThrottled outcome = "throttled" // the origin asked us to come back later
	outcomeRefused   outcome = "refused"   // it answers, but will not serve this (4xx)
	outcomeTimeout   outcome = "timeout"
	outcomeError     outcome = "error"
	outcomeCanceled  outcome = "canceled" // the caller went away
)

// A reason is why a request was not made.
type reason string

const (
	reasonRemembered reason = "remembered" // just not found, or just failed
	reasonPaused     reason = "paused"     // the origin asked for a pause that is not over
	reasonOpen       reason = "open"       // the circuit breaker is open
	reasonBusy       reason = "busy"       // gave up waiting for a turn
)

// metrics are the room's collectors. The labels are bounded: origins are those
// of the configuration, outcomes and reasons are listed above.
type metrics struct {
	requests *prometheus.CounterVec
	avoided  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	state    *prometheus.GaugeVec
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_origin_requests_total",
			Help: "Requests made of an origin, retries included.",
		}, []string{"origin", "outcome"}),
		avoided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_origin_avoided_total",
			Help: "Requests that an origin was spared, and why.",
		}, []string{"origin", "reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_origin_bytes_total",
			Help: "Bytes read from an origin, refused ones included, headers not.",
		}, []string{"origin"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shoal_origin_request_seconds",
			Help:    "Duration of one request made of an origin, until its last byte.",
			Buckets: []float64{.0001, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25},
		}, []string{"origin"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "shoal_origin_breaker_state",
			Help: "Circuit breaker of a gateway origin: 0 closed, 1 half-open, 2 open.",
		}, []string{"origin"}),
	}
}

// register adds all collectors to reg, or none, and returns what takes them back.
func (m *metrics) register(reg prometheus.Registerer) (unregister func(), err error) {
	return metric.Register(reg, m.requests, m.avoided, m.bytes, m.seconds, m.state)
}

// forget drops the series of an origin that is gone.
func (m *metrics) forget(origin string) {
	label := prometheus.Labels{"origin": origin}
	m.requests.DeletePartialMatch(label)
	m.avoided.DeletePartialMatch(label)
	m.bytes.DeletePartialMatch(label)
	m.seconds.DeletePartialMatch(label)
	m.state.DeletePartialMatch(label)
}

// meter is the metrics of one origin.
type meter struct {
	requests *prometheus.CounterVec
	avoided  *prometheus.CounterVec
	bytes    prometheus.Counter
	seconds  prometheus.Observer
	state    prometheus.Gauge // nil for origins without a breaker
}

func (m *metrics) meter(origin string, breaker bool) *meter {
	label := prometheus.Labels{"origin": origin}
	mt := &meter{
		requests: m.requests.MustCurryWith(label),
		avoided:  m.avoided.MustCurryWith(label),
		bytes:    m.bytes.With(label),
		seconds:  m.seconds.With(label),
	}
	if breaker {
		mt.state = m.state.With(label)
	}
	return mt
}

func (m *meter) request(o outcome, started time.Time) {
	m.requests.WithLabelValues(string(o)).Inc()
	m.seconds.Observe(time.Since(started).Seconds())
}

func (m *meter) avoid(r reason) { m.avoided.WithLabelValues(string(r)).Inc() }
