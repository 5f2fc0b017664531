package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// counters are what an edge has counted since it was started.
type counters struct {
	blockBytes     map[string]int64 // by source
	originRequests int64
}

// since returns what was counted between two readings.
func (c counters) since(before counters) counters {
	d := counters{blockBytes: map[string]int64{}, originRequests: c.originRequests - before.originRequests}
	for source, n := range c.blockBytes {
		d.blockBytes[source] = n - before.blockBytes[source]
	}
	return d
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
	c := counters{blockBytes: map[string]int64{}}
	for _, m := range families["shoal_block_bytes_total"].GetMetric() {
		c.blockBytes[label(m, "source")] += int64(m.GetCounter().GetValue())
	}
	for _, m := range families["shoal_origin_requests_total"].GetMetric() {
		c.originRequests += int64(m.GetCounter().GetValue())
	}
	return c, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
