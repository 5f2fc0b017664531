package bitswap

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	asked        *prometheus.CounterVec
	resent       prometheus.Counter
	received     prometheus.Counter
	duplicates   prometheus.Counter
	served       prometheus.Counter
	servedBlocks prometheus.Counter
	refused      *prometheus.CounterVec
	unregister   func()
}

// newMetrics registers the metrics, all or none.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		asked:        vec("shoal_swarm_wants_total", "Wants sent to peers, by kind (want-block, want-have).", "kind"),
		resent:       counter("shoal_swarm_resent_wants_total", "Wants sent once more because no answer came or their stream died."),
		received:     counter("shoal_swarm_received_bytes_total", "Bytes of blocks received from peers."),
		duplicates:   counter("shoal_swarm_duplicate_blocks_total", "Blocks that came twice or after they were cancelled."),
		served:       counter("shoal_swarm_served_bytes_total", "Bytes of blocks sent to peers."),
		servedBlocks: counter("shoal_swarm_served_blocks_total", "Blocks sent to peers."),
		refused: vec("shoal_swarm_refused_total",
			"What peers sent and was turned away: stranger, malformed, cid, block, unasked, flood.", "reason"),
		unregister: func() {},
	}
	for _, reason := range []string{"stranger", "malformed", "cid", "block", "unasked", "flood"} {
		m.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	all := []prometheus.Collector{m.asked, m.resent, m.received, m.duplicates, m.served, m.servedBlocks, m.refused}
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			for _, done := range all[:i] {
				reg.Unregister(done)
			}
			return nil, err
		}
	}
	m.unregister = func() {
		for _, c := range all {
			reg.Unregister(c)
		}
	}
	return m, nil
}
