// Package metric registers the collectors of a package with Prometheus: all of them or
// none, and takes them back when the package's work ends, so that the same registry can
// be used again.
package metric

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds collectors to a registry, all of them or none, and returns what takes
// them out again: never nil, whatever the error. A nil registry is fine, and gets none.
func Register(reg prometheus.Registerer, all ...prometheus.Collector) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			for _, done := range all[:i] {
				reg.Unregister(done)
			}
			return func() {}, fmt.Errorf("register metrics: %w", err)
		}
	}
	return func() {
		for _, c := range all {
			reg.Unregister(c)
		}
	}, nil
}
