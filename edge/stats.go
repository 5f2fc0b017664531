package edge

import (
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/block"
)

// Stats returns the figures of this moment, read from the same metrics that
// Prometheus reads, so that the two never disagree.
func (e *Edge) Stats() admin.Stats {
	families := e.gather()
	store := e.store.Stats()
	s := admin.Stats{
		Name: e.config().EdgeName(), Version: e.build.Version, UptimeSeconds: time.Since(e.started).Seconds(),
		Cache: admin.Layer{Bytes: e.cache.Bytes(), CapacityBytes: int64(e.config().Cache.Memory), Blocks: int64(e.cache.Len())},
		Store: admin.Layer{
			Bytes: store.Bytes, CapacityBytes: store.Capacity, Blocks: store.Blocks,
			PinnedBytes: store.PinnedBytes, PinnedBlocks: store.PinnedBlocks,
		},
		Blocks: map[string]admin.Traffic{},
		Requests: admin.Requests{
			Total:    sum(families["shoal_http_requests_total"], nil),
			Hits:     sum(families["shoal_http_requests_total"], func(l labels) bool { return l["cache"] == "hit" }),
			Errors:   sum(families["shoal_http_requests_total"], func(l labels) bool { return l["code"] >= "500" }),
			InFlight: sum(families["shoal_http_requests_in_flight"], nil),
			Bytes:    sum(families["shoal_http_response_bytes_total"], nil),
		},
		Imports: []string{},
		Pins:    e.pins.Counts(),
		Waiting: e.sites.Waiting(),
	}
	for _, source := range block.Sources {
		from := func(l labels) bool { return l["source"] == source.String() }
		s.Blocks[source.String()] = admin.Traffic{
			Blocks: sum(families["shoal_blocks_total"], from), Bytes: sum(families["shoal_block_bytes_total"], from),
		}
	}
	for _, root := range e.ingest.Held() {
		s.Imports = append(s.Imports, root.String())
	}
	return s
}

type labels map[string]string

func (e *Edge) gather() map[string]*dto.MetricFamily {
	families := map[string]*dto.MetricFamily{}
	list, err := e.metrics.Gather()
	if err != nil {
		// Gather returns what it could collect beside the error.
		e.build.Log.Warn("some metrics could not be read", "err", err)
	}
	for _, f := range list {
		families[f.GetName()] = f
	}
	return families
}

// sum adds up the series of a counter or gauge whose labels match; all if match is nil.
func sum(family *dto.MetricFamily, match func(labels) bool) int64 {
	total := 0.0
	for _, m := range family.GetMetric() {
		l := labels{}
		for _, pair := range m.GetLabel() {
			l[pair.GetName()] = pair.GetValue()
		}
		if match == nil || match(l) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return int64(total)
}
