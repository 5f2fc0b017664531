package demo

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed chart.html
var chartPage string

// Measures of the chart, in units of its SVG.
const (
	chartWidth, chartHeight = 880.0, 346.0
	chartLeft, chartRight   = 76.0, 720.0
	chartTop, chartBottom   = 26.0, 310.0
	nameSpace               = 18.0 // between names at the right end
	barHeight, barSpace     = 26.0, 12.0
)

// A chart is what the page shows, laid out.
type chart struct {
	Title, Served                                   string
	Width, Height, Left, Right, TickX, NameX, AxisY coordinate
	Ticks                                           []chartTick
	Columns                                         []chartColumn
	Series                                          []chartSeries
	BarsHeight                                      coordinate
	Bars                                            []chartBar
	Rows                                            [][]string
	Faults, Notes                                   []string
}

// A coordinate is written with at most one decimal.
type coordinate float64

func (c coordinate) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(c)), ".0")
}

type chartTick struct {
	Y    coordinate
	Text string
}

type chartColumn struct {
	X    coordinate
	Name string
}

type chartSeries struct {
	Class, Name, Points string
	NameY               coordinate
	Dots                []chartDot
}

type chartDot struct {
	X, Y, R, LabelY coordinate
	Label, Tip      string
}

type chartBar struct {
	TextY       coordinate
	Name, Label string
	Parts       []chartPart
}

type chartPart struct {
	Class, Tip string
	X, Y, W, H coordinate
}

// checkChart finds out before a long demo whether its chart can be written.
func (o Options) checkChart() error {
	if o.Chart == "" {
		return nil
	}
	if info, err := os.Stat(o.Chart); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("chart %s: exists and is no file", o.Chart)
	}
	switch info, err := os.Stat(filepath.Dir(o.Chart)); {
	case err != nil:
		return fmt.Errorf("chart %s: %w", o.Chart, err)
	case !info.IsDir():
		return fmt.Errorf("chart %s: %s is no folder", o.Chart, filepath.Dir(o.Chart))
	}
	return nil
}

// writeChart writes the chart if one is wanted. It appears whole or not at all.
func (f *fleet) writeChart(results []FleetResult, faults []FaultResult) (err error) {
	if f.Chart == "" {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(f.Chart), ".shoal-chart-")
	if err != nil {
		return fmt.Errorf("write the chart %s: %w", f.Chart, err)
	}
	err = errors.Join(renderChart(temp, f.describe(), results, faults), temp.Chmod(0o644), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), f.Chart)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the chart %s: %w", f.Chart, err), os.Remove(temp.Name()))
	}
	f.out.charted(f.Chart)
	return nil
}

// A setting says what was measured, in words.
type setting struct {
	served string
	notes  []string
}

func (f *fleet) describe() setting {
	return setting{
		served: fmt.Sprintf("An origin with %s: %s, %s. Each edge has %s of memory and %s of disk for it.",
			f.content.whole(), count(len(f.content.files), "file"), size(f.content.bytes), capacity(f.Memory), capacity(f.Disk)),
		notes: []string{
			fmt.Sprintf("Every fleet began empty. The same %s came to each, %d at a time, the edges taking turns: the first %s filled the caches, the others were counted. What is asked for follows Zipf's law with exponent %.1f.",
				count(len(f.filling)+len(f.requests), "request"), f.Clients, number(len(f.filling)), zipf),
			"Separate caches and the ideal cache are computed, not measured: the very same sequence of requests, filling included, was replayed through simulated caches that forget the least recently used block and are bounded by bytes. Separate: one for each edge, as large as its memory and disk together. Ideal: a single one of the summed size. Neither pays for anything but the bytes.",
			"What separates the fleet from the ideal: memory mostly repeats what disks hold, and up to a tenth of each disk holds copies of what is much asked for and at home on another edge. What brings it closer: the store on disk forgets more cleverly than by least recent use.",
			"What the origin sent is what it counted itself. Every response was compared byte for byte with the file it should be.",
			"Origin, edges and visitors shared one machine; times say little about a fleet of real ones.",
		},
	}
}

// renderChart writes the page.
func renderChart(w io.Writer, s setting, results []FleetResult, faults []FaultResult) error {
	page, err := template.New("chart").Parse(chartPage)
	if err != nil {
		return err
	}
	return page.Execute(w, layOut(s, results, faults))
}

func layOut(s setting, results []FleetResult, faults []FaultResult) *chart {
	c := &chart{
		Title: headline(results), Served: s.served, Notes: s.notes,
		Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartRight,
		TickX: chartLeft - 10, NameX: chartRight + 16, AxisY: chartBottom + 26,
	}
	most := 1.0
	for _, r := range results {
		most = max(most, r.OriginBytesPerRequest, r.Separate, r.Ideal)
	}
	step := niceStep(most / 4)
	top := 1.05 * most
	y := func(v float64) coordinate {
		return coordinate(chartBottom - v/top*(chartBottom-chartTop))
	}
	for v := 0.0; v <= top; v += step {
		c.Ticks = append(c.Ticks, chartTick{y(v), strings.Replace(perRequest(v), ".0 ", " ", 1)})
	}
	for i, r := range results {
		c.Columns = append(c.Columns, chartColumn{columnX(i, len(results)), r.Phase})
	}
	c.Series = []chartSeries{
		lineOf("separate", "separate caches", results, y, func(r FleetResult) float64 { return r.Separate }),
		lineOf("ideal", "one ideal cache", results, y, func(r FleetResult) float64 { return r.Ideal }),
		lineOf("measured", "this fleet", results, y, func(r FleetResult) float64 { return r.OriginBytesPerRequest }),
	}
	c.label(results, y)
	c.spreadNames()
	c.addBars(results)
	rows, columns := fleetRows(results)
	for _, w := range rows {
		cells := []string{w.name}
		for _, r := range columns {
			cells = append(cells, w.cell(r))
		}
		c.Rows = append(c.Rows, cells)
	}
	for _, r := range faults {
		c.Faults = append(c.Faults, faultTitle(r)+": "+outcomeOf(r))
	}
	return c
}

// headline says what was found.
func headline(results []FleetResult) string {
	if len(results) > 1 {
		first, last := results[0], results[len(results)-1]
		if less := 1 - last.OriginBytesPerRequest/max(first.OriginBytesPerRequest, 1); less > 0 {
			return fmt.Sprintf("With %s the origin sends %.0f%% less than with one", edgesText(last.Edges), 100*less)
		}
	}
	return "The origin's load by number of edges"
}

// columnX spreads columns evenly, with half a column's space at both ends.
func columnX(i, n int) coordinate {
	return coordinate(chartLeft + (float64(i)+0.5)*(chartRight-chartLeft)/float64(n))
}

// niceStep returns 1, 2 or 5 times a power of ten, at least v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
}

func lineOf(class, name string, results []FleetResult, y func(float64) coordinate, value func(FleetResult) float64) chartSeries {
	s := chartSeries{Class: class, Name: name}
	var points []string
	for i, r := range results {
		d := chartDot{X: columnX(i, len(results)), Y: y(value(r)), R: 3}
		d.Tip = fmt.Sprintf("%s, %s: %s a request", r.Phase, name, perRequest(value(r)))
		points = append(points, d.X.String()+","+d.Y.String())
		s.Dots = append(s.Dots, d)
	}
	s.Points = strings.Join(points, " ")
	if n := len(s.Dots); n > 0 {
		s.NameY = s.Dots[n-1].Y
	}
	return s
}

// label writes the measured figures at their points: above, where the line falls
// away from them, unless another line is there.
func (c *chart) label(results []FleetResult, y func(float64) coordinate) {
	measured := &c.Series[2]
	for i, r := range results {
		d := &measured.Dots[i]
		d.R, d.Label, d.LabelY = 5, perRequest(r.OriginBytesPerRequest), d.Y-14
		if above := d.Y - y(r.Separate); above > 0 && above < 32 {
			d.LabelY = max(d.Y, y(r.Ideal)) + 24
		}
	}
}

// spreadNames moves the names at the right end apart where lines end close
// together.
func (c *chart) spreadNames() {
	order := []*chartSeries{&c.Series[0], &c.Series[1], &c.Series[2]}
	slices.SortStableFunc(order, func(a, b *chartSeries) int { return cmp.Compare(a.NameY, b.NameY) })
	for i := 1; i < len(order); i++ {
		if gap := nameSpace - (order[i].NameY - order[i-1].NameY); gap > 0 {
			order[i].NameY += gap
		}
	}
}

// addBars draws where bytes came from, one bar for each fleet.
func (c *chart) addBars(results []FleetResult) {
	at := 6.0
	for _, r := range results {
		var total int64
		for _, place := range places {
			total += r.BytesFrom[place]
		}
		bar := chartBar{TextY: coordinate(at + barHeight/2), Name: r.Phase}
		x := chartLeft
		for _, place := range places {
			share := float64(r.BytesFrom[place]) / float64(max(total, 1))
			w := share * (chartRight - chartLeft)
			if w > 0 {
				bar.Parts = append(bar.Parts, chartPart{
					Class: place, Tip: fmt.Sprintf("%s, %s: %s, %.1f%%", r.Phase, articled(place), size(r.BytesFrom[place]), 100*share),
					X: coordinate(x), Y: coordinate(at), W: coordinate(max(w-1, 0.5)), H: barHeight,
				})
			}
			x += w
		}
		bar.Label = fmt.Sprintf("%.0f%% origin", 100*float64(r.BytesFrom["origin"])/float64(max(total, 1)))
		c.Bars = append(c.Bars, bar)
		at += barHeight + barSpace
	}
	c.BarsHeight = coordinate(at)
}
