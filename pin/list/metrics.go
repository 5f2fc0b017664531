package list

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
)

type metrics struct {
	commits       *prometheus.CounterVec
	commitSeconds prometheus.Histogram
	tells         *prometheus.CounterVec
	syncs         *prometheus.CounterVec
	refused       prometheus.Counter
	renumbered    prometheus.Counter
	unregister    func()
}

// newMetrics registers the metrics, all or none.
func newMetrics(reg prometheus.Registerer, l *List) (*metrics, error) {
	vec := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"outcome"})
		v.WithLabelValues("ok")
		v.WithLabelValues("failed")
		return v
	}
	m := &metrics{
		commits: vec("shoal_pin_list_commits_total", "Groups of changes of the list of pins written to disk, by outcome."),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "shoal_pin_list_commit_seconds", Help: "Time to write a group of changes of the list of pins to disk.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1},
		}),
		tells:      vec("shoal_pin_list_tells_total", "Messages about changes of the list of pins sent to siblings, by outcome."),
		syncs:      vec("shoal_pin_list_syncs_total", "Times that a sibling's list of pins was read because it differed, by outcome."),
		refused:    prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_pin_list_refused_total", Help: "Pins from siblings that were not understood."}),
		renumbered: prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_pin_list_renumbered_total", Help: "Pins of this edge that got another number because a sibling counted theirs as removed before it was given out."}),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	var err error
	m.unregister, err = metric.Register(reg,
		m.commits, m.commitSeconds, m.tells, m.syncs, m.refused, m.renumbered,
		gauge("shoal_pin_list_pins", "Pins on the fleet's list, as this edge knows it.", func() float64 { return float64(l.Len()) }),
		gauge("shoal_pin_list_behind", "Siblings whose list of pins was another one when it was last compared.", func() float64 {
			n := 0
			for _, s := range l.Siblings() {
				if !s.Same {
					n++
				}
			}
			return float64(n)
		}),
	)
	return m, err
}
