package swarm

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	fills      *prometheus.CounterVec
	hedges     prometheus.Counter
	giveups    prometheus.Counter
	fallbacks  prometheus.Counter
	adopted    prometheus.Counter
	detours    prometheus.Counter
	unanswered *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	zoneBytes  *prometheus.CounterVec
	relayed    prometheus.Counter
	unregister func()
}

// newMetrics registers the metrics, all or none.
func newMetrics(reg prometheus.Registerer, s *Swarm) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		fills: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_swarm_fills_total",
			Help: "Blocks at home here that were looked for, by outcome: disk, sibling, origin, not_found, failed, cancelled.",
		}, []string{"outcome"}),
		hedges:    counter("shoal_swarm_hedges_total", "Fetches in which another home was asked because the first one was silent."),
		giveups:   counter("shoal_swarm_giveups_total", "Fetches that ended before a sibling had answered."),
		fallbacks: counter("shoal_swarm_rescues_total", "Blocks at home elsewhere that were fetched here because no home could be reached."),
		adopted:   counter("shoal_swarm_adopted_total", "Blocks taken over from siblings that were leaving."),
		detours:   counter("shoal_swarm_origin_detours_total", "Blocks at home here that siblings gave because this edge's own origins failed, denied or were silent."),
		unanswered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_swarm_unanswered_wants_total",
			Help: "Wants that a sibling did nothing about although it answers pings, by sibling.",
		}, []string{"sibling"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "shoal_swarm_sibling_seconds",
			Help:    "Time until a sibling had sent a block, by sibling.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"sibling"}),
		zoneBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shoal_swarm_zone_bytes_total",
			Help: "Bytes of blocks that siblings sent to this edge, by scope: local from its own zone, remote from another one.",
		}, []string{"scope"}),
		relayed:    counter("shoal_swarm_relayed_total", "Blocks at home elsewhere that this edge got for siblings, as their home in the zone or because the home had too much to do."),
		unregister: func() {},
	}
	for _, scope := range []string{"local", "remote"} {
		m.zoneBytes.WithLabelValues(scope)
	}
	for _, outcome := range []string{"disk", "sibling", "origin", "not_found", "failed", "cancelled"} {
		m.fills.WithLabelValues(outcome)
	}
	if reg == nil {
		return m, nil
	}
	all := append(gauges(s),
		m.fills, m.hedges, m.giveups, m.fallbacks, m.adopted, m.detours, m.unanswered, m.latency, m.zoneBytes, m.relayed, s.library)
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

func gauges(s *Swarm) []prometheus.Collector {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	return []prometheus.Collector{
		gauge("shoal_swarm_origin_reachable", "1, or 0 while this edge's own origins give nothing and it lives off those of its siblings.", func() float64 {
			if s.OriginTrouble() != "" {
				return 0
			}
			return 1
		}),
		gauge("shoal_swarm_members", "Siblings in the ring, without this edge.", func() float64 {
			v := s.view.Load()
			if v.self >= 0 {
				return float64(v.ring.Len() - 1)
			}
			return float64(v.ring.Len())
		}),
		gauge("shoal_swarm_ring_version", "How often the ring has changed since this edge started.",
			func() float64 { return float64(s.view.Load().version) }),
	}
}
