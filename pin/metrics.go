package pin

import (
	"github.com/prometheus/client_golang/prometheus"
)

// meter registers the metrics and returns what takes them back.
func (p *Pins) meter(to prometheus.Registerer) (func(), error) {
	if to == nil {
		return func() {}, nil
	}
	c := &counted{p, prometheus.NewDesc("shoal_pins", "Pins on the fleet's list, by status.", []string{"status"}, nil)}
	if err := to.Register(c); err != nil {
		return nil, err
	}
	return func() { to.Unregister(c) }, nil
}

// counted counts pins when it is asked.
type counted struct {
	pins *Pins
	desc *prometheus.Desc
}

func (c *counted) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

func (c *counted) Collect(to chan<- prometheus.Metric) {
	for status, n := range c.pins.Counts() {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(n), string(status))
	}
}
