package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// counters are what an edge has counted since it was started.
type counters struct {
	blocks, blockBytes map[string]int64 // read for visitors, by source
	originRequests     int64            // made of the origin
	served, sentBytes  int64            // requests answered, and bytes of bodies
}

// since returns what was counted between two readings.
func (c counters) since(before counters) counters {
	c.blocks, c.blockBytes = combine(c.blocks, before.blocks, -1), combine(c.blockBytes, before.blockBytes, -1)
	c.originRequests -= before.originRequests
	c.served -= before.served
	c.sentBytes -= before.sentBytes
	return c
}

// plus returns what two edges counted together.
func (c counters) plus(other counters) counters {
	c.blocks, c.blockBytes = combine(c.blocks, other.blocks, 1), combine(c.blockBytes, other.blockBytes, 1)
	c.originRequests += other.originRequests
	c.served += other.served
	c.sentBytes += other.sentBytes
	return c
}

// combine returns a + sign*b for each place.
func combine(a, b map[string]int64, sign int64) map[string]int64 {
	sum := map[string]int64{}
	for _, place := range places {
		sum[place] = a[place] + sign*b[place]
	}
	return sum
}

// A meter reads the counters of an edge from its /metrics.
type meter struct {
	client *http.Client
	addr   string
	start  counters
	last   counters
}

// newMeter returns a meter that counts from now on.
func newMeter(ctx context.Context, client *http.Client, addr string) (*meter, error) {
	m := &meter{client: client, addr: addr}
	start, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	m.start, m.last = start, start
	return m, nil
}

// update reads the counters again and returns what was counted since the start.
func (m *meter) update(ctx context.Context) (counters, error) {
	now, err := m.read(ctx)
	if err != nil {
		return m.last.since(m.start), err
	}
	m.last = now
	return now.since(m.start), nil
}

func (m *meter) read(ctx context.Context) (counters, error) {
	url := "http://" + m.addr + "/metrics"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return counters{}, err
	}
	res, err := m.client.Do(req)
	if err != nil {
		return counters{}, fmt.Errorf("read the edge's counters: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return counters{}, fmt.Errorf("read the edge's counters: GET %s: %s", url, res.Status)
	}
	c, err := parseCounters(res.Body)
	if err != nil {
		return counters{}, fmt.Errorf("read the edge's counters: GET %s: %w", url, err)
	}
	return c, nil
}

func parseCounters(text io.Reader) (counters, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return counters{}, err
	}
	c := counters{
		blocks:         bySource(families["shoal_blocks_total"]),
		blockBytes:     bySource(families["shoal_block_bytes_total"]),
		originRequests: total(families["shoal_origin_requests_total"]),
		served:         total(families["shoal_http_requests_total"]),
		sentBytes:      total(families["shoal_http_response_bytes_total"]),
	}
	return c, nil
}

func bySource(f *dto.MetricFamily) map[string]int64 {
	counts := map[string]int64{}
	for _, m := range f.GetMetric() {
		counts[label(m, "source")] += int64(m.GetCounter().GetValue())
	}
	return counts
}

func total(f *dto.MetricFamily) int64 {
	var sum int64
	for _, m := range f.GetMetric() {
		sum += int64(m.GetCounter().GetValue())
	}
	return sum
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// fleetMeter reads the counters of several edges and of their origin.
type fleetMeter struct {
	edges  []*meter
	origin *meter
}

func (s *show) newFleetMeter(ctx context.Context) (*fleetMeter, error) {
	f := &fleetMeter{}
	for _, n := range append([]*node{s.origin}, s.edges...) {
		m, err := newMeter(ctx, s.client, n.AdminAddr())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.spec.Name, err)
		}
		f.edges = append(f.edges, m)
	}
	f.origin, f.edges = f.edges[0], f.edges[1:]
	return f, nil
}

// update reads all counters again. One that cannot be read is as it was before.
func (f *fleetMeter) update(ctx context.Context) (edges, origin counters, err error) {
	for _, m := range f.edges {
		c, failed := m.update(ctx)
		edges, err = edges.plus(c), errors.Join(err, failed)
	}
	origin, failed := f.origin.update(ctx)
	return edges, origin, errors.Join(err, failed)
}
