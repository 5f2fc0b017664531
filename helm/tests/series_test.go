package chart

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// database holds a few series in memory for Prometheus' query engine. Prometheus'
// own storage would do, and would bring every cloud's client library along.
type database []storage.Series

// newDatabase reads series in the notation of Prometheus' tests, `name{labels}
// values`, with a sample for each minute from the beginning of time.
func newDatabase(t *testing.T, lines []string) database {
	t.Helper()
	var d database
	for _, line := range lines {
		names, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var samples []chunks.Sample
		for i, v := range values {
			if !v.Omitted {
				samples = append(samples, sample{int64(i) * time.Minute.Milliseconds(), v.Value})
			}
		}
		d = append(d, storage.NewListSeries(names, samples))
	}
	return d
}

// engine returns a query engine with Prometheus' defaults.
func newEngine(t *testing.T) *promql.Engine {
	t.Helper()
	e := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	t.Cleanup(func() { e.Close() })
	return e
}

// Querier implements storage.Queryable.
func (d database) Querier(_, _ int64) (storage.Querier, error) { return d, nil }

// Select implements storage.Querier.
func (d database) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found database
	for _, s := range d {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &cursor{list: found}
}

// LabelValues implements storage.LabelQuerier; no query needs it.
func (d database) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames implements storage.LabelQuerier; no query needs it.
func (d database) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.LabelQuerier.
func (d database) Close() error { return nil }

// A cursor is a storage.SeriesSet.
type cursor struct {
	list database
	next int
}

func (c *cursor) Next() bool {
	c.next++
	return c.next <= len(c.list)
}
func (c *cursor) At() storage.Series                { return c.list[c.next-1] }
func (c *cursor) Err() error                        { return nil }
func (c *cursor) Warnings() annotations.Annotations { return nil }

// A sample is a chunks.Sample with a number.
type sample struct {
	at    int64 // milliseconds
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
