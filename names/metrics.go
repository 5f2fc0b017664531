package names

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
)

// outcome is what became of a resolution or of a lookup.
type outcome string

const (
	outcomeHit         outcome = "hit"      // known and not expired
	outcomeResolved    outcome = "resolved" // looked up
	outcomeStale       outcome = "stale"    // expired, and served for want of a better one
	outcomeNotFound    outcome = "not_found"
	outcomeInvalid     outcome = "invalid"
	outcomeUnavailable outcome = "unavailable"
	outcomeCancelled   outcome = "cancelled" // whoever asked did not wait
)

func outcomeOf(err *Error) outcome {
	switch err.Reason {
	case ErrNotFound:
		return outcomeNotFound
	case ErrInvalidRecord:
		return outcomeInvalid
	}
	return outcomeUnavailable
}

type metrics struct {
	resolutions, lookups *prometheus.CounterVec
	unregister           func()
}

// newMetrics registers the metrics with reg, all or none. reg may be nil.
func newMetrics(n *Names, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		resolutions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_names_resolutions_total",
			Help: "Names that were asked for, by what the answer was.",
		}, []string{"kind", "outcome"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_names_lookups_total",
			Help: "Names that were looked up outside, by what came of it.",
		}, []string{"kind", "outcome"}),
	}
	for _, k := range []kind{kindDNSLink, kindIPNS} {
		for _, o := range []outcome{outcomeHit, outcomeResolved, outcomeStale, outcomeNotFound, outcomeInvalid, outcomeUnavailable, outcomeCancelled} {
			m.resolutions.WithLabelValues(string(k), string(o))
		}
		for _, o := range []outcome{outcomeResolved, outcomeNotFound, outcomeInvalid, outcomeUnavailable} {
			m.lookups.WithLabelValues(string(k), string(o))
		}
	}
	var err error
	m.unregister, err = metric.Register(reg,
		m.resolutions,
		m.lookups,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shoal_names_stale",
			Help: "Names whose expired answer is served because they cannot be looked up.",
		}, n.countStale),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "shoal_names_entries",
			Help: "Names remembered, those without a record included.",
		}, n.countEntries),
	)
	return m, err
}

func (m *metrics) resolved(k kind, o outcome) {
	m.resolutions.WithLabelValues(string(k), string(o)).Inc()
}

func (m *metrics) lookedUp(k kind, o outcome) {
	m.lookups.WithLabelValues(string(k), string(o)).Inc()
}

func (n *Names) countStale() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, count := time.Now(), 0
	for _, e := range n.table.Values() {
		if e.stale && e.servable(now, maxStale) {
			count++
		}
	}
	return float64(count)
}

func (n *Names) countEntries() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return float64(n.table.Len())
}
