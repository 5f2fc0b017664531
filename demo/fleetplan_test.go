package demo

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/net/html"
)

func TestLibraryIsAlwaysTheSame(t *testing.T) {
	a, b := newLibrary(200, 8<<20, 1), newLibrary(200, 8<<20, 1)
	other := newLibrary(200, 8<<20, 2)
	var total, smallest, largest int64
	smallest = 1 << 60
	for i, f := range a.files {
		total += f.size
		smallest, largest = min(smallest, f.size), max(largest, f.size)
		x, err := fs.ReadFile(a, f.name)
		y, _ := fs.ReadFile(b, f.name)
		if err != nil || int64(len(x)) != f.size || !bytes.Equal(x, y) {
			t.Fatalf("%s: %d bytes, %v", f.name, len(x), err)
		}
		if z, err := fs.ReadFile(other, f.name); err != nil || len(z) > 64 && len(x) > 64 && bytes.Equal(z[:64], x[:64]) {
			t.Fatalf("%s: alike for another seed, %v", f.name, err)
		}
		if i > 0 && f.name <= a.files[i-1].name {
			t.Fatalf("%s comes after %s", f.name, a.files[i-1].name)
		}
	}
	if total < 8<<20-200 || total > 8<<20 || smallest*8 > largest || largest > smallest*sizeSpread+sizeSpread {
		t.Errorf("%d bytes, from %d to %d", total, smallest, largest)
	}
	if _, err := a.Open("library/00/9999.bin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestMadeUpFilesSeek(t *testing.T) {
	l := newLibrary(2, 10_000, 1)
	f, err := l.Open(l.files[1].name)
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := io.ReadAll(f)
	for _, at := range []int64{0, 1, 777, int64(len(whole)), int64(len(whole)) + 5} {
		if _, err := f.(io.Seeker).Seek(at, io.SeekStart); err != nil && at <= int64(len(whole)) {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(f)
		if want := whole[min(at, int64(len(whole))):]; !bytes.Equal(rest, want) {
			t.Errorf("from %d: %d bytes, want %d", at, len(rest), len(want))
		}
	}
	if _, err := f.(io.Seeker).Seek(-1, io.SeekEnd); err == nil {
		t.Error("sought from the end")
	}
}

func TestAppetiteIsZipfs(t *testing.T) {
	c := treeOf(t, fstest.MapFS{"_redirects": {Data: []byte("x")}, "empty": {}})
	c, err := c.withLibrary(newLibrary(100, 100_000, 1))
	if err != nil {
		t.Fatal(err)
	}
	a := newPopularity(c, 1)
	first, second := a.next(20_000), a.next(20_000)
	again := newPopularity(c, 1)
	if !reflect.DeepEqual(first, again.next(20_000)) || !reflect.DeepEqual(second, again.next(20_000)) {
		t.Error("the same seed asks for something else")
	}
	if reflect.DeepEqual(first, second) || reflect.DeepEqual(first, newPopularity(c, 2).next(20_000)) {
		t.Error("another crowd asks for the same")
	}
	asked := map[string]int{}
	for _, r := range first {
		if !strings.HasPrefix(r.file, libraryRoot) || r.part || r.length == 0 {
			t.Fatalf("%+v", r)
		}
		asked[r.file]++
	}
	// By Zipf's law with 0.9 the tenth is asked for 10^0.9 times less than the first.
	ratio := float64(asked[a.files[0].name]) / float64(asked[a.files[9].name])
	if ratio < 6 || ratio > 10 {
		t.Errorf("the first is asked for %.1f times as often as the tenth", ratio)
	}
}

func TestFilmsAreAskedForInBlocks(t *testing.T) {
	const size = 20<<20 + 5
	a := newPopularity(&content{files: []file{{"film.mkv", size}}}, 1)
	for _, r := range a.next(1000) {
		if !r.part || r.offset%chunk != 0 || r.length != min(chunk, size-r.offset) || r.length <= 0 {
			t.Fatalf("%+v", r)
		}
	}
}

func TestReplay(t *testing.T) {
	ask := func(names string) (list []request) {
		for _, n := range names {
			list = append(list, request{file: string(n), length: 10})
		}
		return list
	}
	large := []request{{file: "L", length: 2*chunk + 10}, {file: "L", offset: chunk, length: chunk, part: true}, {file: "L", length: 2*chunk + 10}}
	for name, tc := range map[string]struct {
		filling, requests []request
		caches            int
		capacity          int64
		want              int64
	}{
		"nothing":                     {nil, nil, 1, 20, 0},
		"each once":                   {nil, ask("abc"), 1, 100, 30},
		"again":                       {nil, ask("abcabc"), 1, 30, 30},
		"a loop that is too large":    {nil, ask("abcabc"), 1, 20, 60},
		"the least recent one goes":   {nil, ask("abacb"), 1, 20, 40},
		"no cache":                    {nil, ask("aa"), 1, 0, 20},
		"filling is not counted":      {ask("ab"), ask("abc"), 1, 30, 10},
		"two that share nothing":      {nil, ask("aabb"), 2, 100, 40},
		"two take turns":              {nil, ask("abab"), 2, 10, 20},
		"large files in blocks":       {nil, large, 1, 4 * chunk, 2*chunk + 10},
		"a block too large to keep":   {nil, large[1:2], 1, chunk - 1, chunk},
		"too large leaves the others": {ask("a"), append(large[1:2:2], ask("a")...), 1, 10, chunk},
	} {
		t.Run(name, func(t *testing.T) {
			if got := replay(tc.filling, tc.requests, tc.caches, tc.capacity); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// One cache of the summed size is never worse than separate ones, and each edge helps.
func TestLinesFall(t *testing.T) {
	c, err := treeOf(t, fstest.MapFS{"x": {Data: []byte("x")}}).withLibrary(newLibrary(500, 10<<20, 1))
	if err != nil {
		t.Fatal(err)
	}
	a := newPopularity(c, 1)
	filling, requests := a.next(2000), a.next(2000)
	before := Lines{Ideal: 1e9}
	for n := 1; n <= 4; n++ {
		l := compareWith(filling, requests, n, 2<<20)
		if l.Ideal >= before.Ideal || n > 1 && l.Ideal >= l.Separate || n == 1 && l.Ideal != l.Separate {
			t.Errorf("%d: %+v after %+v", n, l, before)
		}
		before = l
	}
}

func TestCreditForWhatSiblingsFetched(t *testing.T) {
	r := Result{
		Requests: 100, Bytes: 1000,
		RequestsFrom: map[string]int{"memory": 40, "disk": 20, "sibling": 30, "origin": 10},
		BytesFrom:    map[string]int64{"memory": 5000, "disk": 200, "sibling": 300, "origin": 100},
	}
	r.credit(counters{blocks: map[string]int64{"origin": 10}, blockBytes: map[string]int64{"origin": 100}}, counters{served: 18, sentBytes: 190})
	want := Result{
		Requests: 100, Bytes: 1000, OriginRequests: 18, OriginBytesPerRequest: 1.9,
		RequestsFrom: map[string]int{"memory": 40, "disk": 20, "sibling": 22, "origin": 18},
		BytesFrom:    map[string]int64{"memory": 400, "disk": 200, "sibling": 210, "origin": 190},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func someFleets() []FleetResult {
	var list []FleetResult
	for i, origin := range []int64{84_000_000, 58_000_000, 39_000_000, 24_000_000} {
		r := Result{
			Phase: edgesText(i + 1), Requests: 6000, Bytes: 271_000_000, OriginRequests: origin / 43_000,
			P50: 1700 * time.Microsecond, P99: time.Duration(11+i) * time.Millisecond, OriginBytesPerRequest: float64(origin) / 6000,
			RequestsFrom: map[string]int{"memory": 1500, "disk": 2000 - 100*i, "sibling": 500 * i, "origin": 1900 - 400*i},
			BytesFrom:    map[string]int64{"memory": 100_000_000, "disk": 80_000_000 - int64(i)*10_000_000, "sibling": int64(i) * 25_000_000, "origin": origin},
		}
		ideal := []float64{14_500, 8100, 4100, 2400}[i]
		list = append(list, FleetResult{Edges: i + 1, Filling: 6000, Result: r, Lines: Lines{Separate: 14_400, Ideal: ideal}})
	}
	return list
}

func someFaults() []FaultResult {
	return []FaultResult{
		{Fault: "edge stopped", Edge: "edge-4", Requests: 1500, Served: 1500, Moved: 187, P99: 26 * time.Millisecond},
		{Fault: "origin off", Requests: 1500, Served: 1357, NotHeld: 143, P99: 26 * time.Millisecond},
	}
}

func TestFleetTable(t *testing.T) { golden(t, "fleet.txt", fleetTableOf(someFleets(), someFaults())) }

func TestFleetOnATerminal(t *testing.T) {
	for _, width := range []int{20, 50, 80, 200} {
		var live bytes.Buffer
		p := newPrinter(Options{Out: io.Discard, Live: &live, Terminal: true, Width: width})
		showFleets(p)
		s := &screen{}
		s.write(t, live.String())
		for _, l := range s.lines {
			if len([]rune(l)) >= width {
				t.Errorf("width %d: a line of %d columns: %q", width, len([]rune(l)), l)
			}
		}
		if width == 80 {
			golden(t, "fleet-terminal.txt", s.text())
		}
	}
}

func showFleets(p *printer) {
	p.fleets(&show{Options: DefaultOptions()})
	for _, r := range someFleets()[:3] {
		p.gathering(r.Edges)
		p.filling(r.Edges, r.Result, 6000)
		p.fleetProgress(r.Edges, r.Result, 6000)
		p.fleetDone(r)
	}
	for _, r := range someFaults() {
		p.fault(r.Fault, "edge-4")
		p.faultProgress(r, 700, 1500)
		p.faultDone(r)
	}
	p.fleetProgress(4, someFleets()[3].Result, 6000)
}

func TestFleetInJSON(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(Options{Out: &out, JSON: true, Terminal: true})
	showFleets(p)
	p.fleetTable(someFleets(), someFaults())
	p.charted("x.html")
	var events []string
	for l := range strings.Lines(out.String()) {
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if e.Event != "filling" && e.Event != "progress" { // now and then
			events = append(events, e.Event)
		}
	}
	if got := strings.Join(events, " "); got != "fleets fleet fleet fleet fault fault result chart" {
		t.Errorf("events: %s", got)
	}
}

func chartPageOf(t *testing.T, results []FleetResult, faults []FaultResult) string {
	t.Helper()
	var b strings.Builder
	s := setting{served: "An origin with ./public & <more>.", notes: []string{"A note."}}
	if err := renderChart(&b, s, results, faults); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestChart(t *testing.T) {
	got := chartPageOf(t, someFleets(), someFaults())
	golden(t, "chart.html", got)
	if strings.Contains(got, "<more>") || strings.Contains(got, "ZgotmplZ") || strings.Contains(got, "NaN") {
		t.Error("something was not escaped, or is no number")
	}
	for _, u := range regexp.MustCompile(`(?:https?:)?//[^"' <)]+|url\(|@import|<script|<link`).FindAllString(got, -1) {
		if u != "http://www.w3.org/2000/svg" {
			t.Errorf("the page needs %s", u)
		}
	}
}

// What stands at the right end is not cut off there, in a font as wide as DejaVu Sans
// Bold, which browsers on Linux fall back on: 0.65 em a letter.
func TestChartLabelsFit(t *testing.T) {
	all := someFleets()
	all[0].BytesFrom = map[string]int64{"origin": 1}
	c := layOut(setting{}, all, nil)
	var labels []string
	for _, s := range c.Series {
		labels = append(labels, s.Name)
	}
	for _, b := range c.Bars {
		labels = append(labels, b.Label)
	}
	for _, l := range labels {
		if width := 0.65 * 13 * float64(len(l)); float64(c.NameX)+width > float64(c.Width) {
			t.Errorf("%q ends at %.0f of %v", l, float64(c.NameX)+width, c.Width)
		}
	}
}

func TestChartIsWellFormed(t *testing.T) {
	none := someFleets()[:2]
	none[0].OriginBytesPerRequest, none[0].Lines = 0, Lines{}
	none[1].BytesFrom, none[1].Lines = nil, Lines{}
	many := []FleetResult{}
	for i := range 32 {
		r := someFleets()[i%4]
		r.Edges, r.Phase = i+1, fmt.Sprint(i+1)
		many = append(many, r)
	}
	for name, results := range map[string][]FleetResult{"usual": someFleets(), "one": someFleets()[:1], "zeros": none, "32 edges": many} {
		t.Run(name, func(t *testing.T) {
			got := chartPageOf(t, results, nil)
			svgs := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(got, -1)
			if len(svgs) != 2 {
				t.Fatalf("%d charts", len(svgs))
			}
			for _, svg := range svgs {
				for d := xml.NewDecoder(strings.NewReader(svg)); ; {
					tok, err := d.Token()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatalf("%v in\n%s", err, svg)
					}
					checkCoordinates(t, tok)
				}
			}
			if _, err := html.Parse(strings.NewReader(got)); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkCoordinates checks that everything is inside of the picture.
func checkCoordinates(t *testing.T, tok xml.Token) {
	t.Helper()
	start, ok := tok.(xml.StartElement)
	if !ok {
		return
	}
	for _, a := range start.Attr {
		switch a.Name.Local {
		case "x", "x1", "x2", "cx", "y", "y1", "y2", "cy", "width", "height", "r":
			var v float64
			if _, err := fmt.Sscan(a.Value, &v); err != nil || v < 0 || v > 2000 || v != v {
				t.Errorf("%s: %s=%q", start.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
}

func TestNiceSteps(t *testing.T) {
	for v, want := range map[float64]float64{0.25: 0.5, 1: 1, 1.1: 2, 3: 5, 6: 10, 3700: 5000, 99_000: 100_000} {
		if got := niceStep(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("%v: got %v, want %v", v, got, want)
		}
	}
}
