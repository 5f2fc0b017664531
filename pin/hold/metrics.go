package hold

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/metric"
)

type metrics struct {
	blocks, bytes *prometheus.CounterVec
	attempts      *prometheus.CounterVec
	verified      prometheus.Counter
	repaired      prometheus.Counter
	lost          prometheus.Counter
	unregister    func()
}

// newMetrics registers the metrics, all or none.
func newMetrics(registry prometheus.Registerer, h *Holder) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "shoal", Subsystem: "pin", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "shoal", Subsystem: "pin", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		blocks: vec("blocks_total", "Blocks that were held for pins, by where they were found; those on the disk only changed their protection.", "source"),
		bytes:  vec("block_bytes_total", "Bytes of those blocks.", "source"),
		attempts: vec("attempts_total",
			"Tries to get a DAG held, by outcome: pinned, not_found, unavailable, full, refused, trouble (with this edge's disk), stopped.", "outcome"),
		verified: counter("verified_bytes_total", "Bytes of pinned blocks that were read back and compared with their CID."),
		repaired: counter("repaired_blocks_total", "Pinned blocks that were damaged or missing and were fetched again."),
		lost:     counter("lost_blocks_total", "Pinned blocks that were damaged or missing and that nobody had when they were checked."),
	}
	for _, s := range append([]string{peerSource}, sourceNames()...) {
		m.blocks.WithLabelValues(s)
		m.bytes.WithLabelValues(s)
	}
	for _, o := range []string{"pinned", "not_found", "unavailable", "full", "refused", "trouble", "stopped"} {
		m.attempts.WithLabelValues(o)
	}
	var err error
	m.unregister, err = metric.Register(registry, m.blocks, m.bytes, m.attempts, m.verified, m.repaired, m.lost,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "shoal", Subsystem: "pin", Name: "walks", Help: "DAGs that are being fetched for pins now.",
		}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return float64(h.walks)
		}))
	return m, err
}

func sourceNames() (names []string) {
	for _, s := range block.Sources {
		names = append(names, s.String())
	}
	return names
}

func (m *metrics) block(source string, size int) {
	m.blocks.WithLabelValues(source).Inc()
	m.bytes.WithLabelValues(source).Add(float64(size))
}
