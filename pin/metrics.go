package pin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
)

// meter registers the metrics and returns what takes them back.
func (p *Pins) meter(to prometheus.Registerer) (func(), error) {
	return metric.Register(to, &counted{p, prometheus.NewDesc("shoal_pins", "Pins on the fleet's list, by status.", []string{"status"}, nil)})
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
