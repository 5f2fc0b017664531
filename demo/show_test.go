package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func someResults() []Result {
	return []Result{
		{
			Phase: "cold", Visitors: 80, Requests: 1203, Bytes: 61_400_000, OriginRequests: 71, P50: 612 * time.Microsecond, P99: 31 * time.Millisecond, Took: 2300 * time.Millisecond,
			RequestsFrom: map[string]int{"memory": 1150, "origin": 53}, BytesFrom: map[string]int64{"memory": 58_000_000, "origin": 4_750_000}, OriginBytesPerRequest: 3948.46,
		},
		{
			Phase: "warm", Visitors: 80, Requests: 1203, Bytes: 61_400_000, P50: 402 * time.Microsecond, P99: 1400 * time.Microsecond, Took: 2100 * time.Millisecond,
			RequestsFrom: map[string]int{"memory": 1203}, BytesFrom: map[string]int64{"memory": 62_000_000},
		},
		{
			Phase: "restarted", Visitors: 79, Requests: 1190, Bytes: 61_000_000, P50: 1, P99: 1200 * time.Millisecond, Took: 15 * time.Second, Failed: 2, Cut: true,
			RequestsFrom: map[string]int{"memory": 1100, "disk": 90}, BytesFrom: map[string]int64{"memory": 57_000_000, "disk": 4_750_000},
		},
	}
}

func TestTable(t *testing.T) { golden(t, "table.txt", tableOf(someResults())) }

func TestPlainOutput(t *testing.T) {
	var out, live bytes.Buffer
	p := newPrinter(Options{Out: &out, Live: &live})
	c := &content{title: "./public", files: make([]file, 30), bytes: 4_753_012, skipped: 2}
	p.publishing(c, 0)
	p.published(c, "bafyexample")
	p.opening(Serving{Site: "http://demo.localhost:1/", CID: "http://bafyexample.ipfs.localhost:1/"})
	for _, r := range someResults() {
		p.progress(r, 80) // too early
		p.next = time.Time{}
		p.progress(r, 80) // due
		p.progress(r, 80) // and again too early
		p.phaseDone(r, 80)
	}
	p.table(someResults()[:1])
	p.ended(false)
	golden(t, "plain.txt", live.String()+"--- out\n"+out.String())
	if strings.Contains(live.String()+out.String(), "\x1b") {
		t.Error("control sequences without a terminal")
	}
}

func TestTerminalIsRedrawnInPlace(t *testing.T) {
	for _, width := range []int{0, 30, 80, 200} {
		var out, live bytes.Buffer
		p := newPrinter(Options{Out: &out, Live: &live, Terminal: true, Width: width})
		s := &screen{}
		for _, r := range someResults() {
			p.progress(r, 80)
			p.progress(r, 80)
			p.phaseDone(r, 80)
		}
		s.write(t, live.String())
		if n := strings.Count(s.text(), phaseTitles["cold"][:10]); n != 1 {
			t.Errorf("width %d: the picture is on the screen %d times:\n%s", width, n, s.text())
		}
		limit := max(width, 80)
		if width >= 20 {
			limit = width
		}
		for _, l := range s.lines {
			if len([]rune(l)) >= limit {
				t.Errorf("width %d: a line of %d columns: %q", width, len([]rune(l)), l)
			}
		}
		if width == 80 {
			golden(t, "terminal.txt", s.text())
		}
		if out.Len() > 0 {
			t.Errorf("the result has %q", out.String())
		}
	}
}

func TestColourOnlyWhenAllowed(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		var live bytes.Buffer
		p := newPrinter(Options{Out: &live, Terminal: true, Width: 80, Color: allowed})
		p.phaseDone(someResults()[0], 80)
		if got := strings.Contains(live.String(), "m"+"█"); got != allowed {
			t.Errorf("allowed %v: %q", allowed, live.String())
		}
	}
}

// A screen understands the sequences that a printer writes.
type screen struct {
	lines []string
	row   int
}

func (s *screen) text() string { return strings.Join(s.lines, "\n") + "\n" }

func (s *screen) write(t *testing.T, text string) {
	t.Helper()
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			digits := strings.TrimLeft(rest, "0123456789")
			n := 0
			for _, d := range rest[:len(rest)-len(digits)] {
				n = 10*n + int(d-'0')
			}
			switch digits[0] {
			case 'A':
				s.row -= n
			case 'J':
				s.lines = s.lines[:s.row]
			default:
				t.Fatalf("unknown sequence %q", rest[:8])
			}
			text = digits[1:]
			continue
		}
		if text[0] == '\r' {
			text = text[1:]
			continue
		}
		l, rest, _ := strings.Cut(text, "\n")
		s.lines = append(s.lines[:s.row], l)
		s.row++
		text = rest
	}
}

func TestJSONOutput(t *testing.T) {
	var out, live bytes.Buffer
	p := newPrinter(Options{Out: &out, Live: &live, JSON: true, Terminal: true})
	c := &content{title: "./public", files: make([]file, 3), bytes: 10}
	p.publishing(c, 5)
	p.published(c, "bafyexample")
	p.opening(Serving{Site: "http://demo.localhost:1/"})
	p.next = time.Time{}
	p.progress(someResults()[0], 80)
	p.phaseDone(someResults()[0], 80)
	p.table(someResults())
	p.ended(false)
	var events []string
	for l := range strings.Lines(out.String()) {
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		events = append(events, e.Event)
		if e.Event == "phase" {
			var r Result
			if err := json.Unmarshal(e.Data, &r); err != nil || r.Requests != 1203 || r.P99 != 31*time.Millisecond || r.BytesFrom["origin"] != 4_750_000 {
				t.Errorf("%s: %+v, %v", e.Data, r, err)
			}
		}
	}
	if got := strings.Join(events, " "); got != "published serving progress phase result done" {
		t.Errorf("events: %s", got)
	}
	if live.Len() > 0 {
		t.Errorf("live has %q", live.String())
	}
}

type fullDisk struct{ writes int }

func (f *fullDisk) Write([]byte) (int, error) {
	f.writes++
	return 0, errors.New("no space left")
}

func TestFailedWriteIsKept(t *testing.T) {
	w := &fullDisk{}
	p := newPrinter(Options{Out: w})
	p.table(someResults())
	p.ended(false)
	if p.err == nil || w.writes != 1 {
		t.Errorf("err %v after %d writes", p.err, w.writes)
	}
}

func TestPlaceOf(t *testing.T) {
	for header, want := range map[string]string{
		"shoal; hit":                                            "memory",
		"shoal;hit;ttl=30":                                      "memory",
		"shoal; fwd=uri-miss; detail=disk":                      "disk",
		"shoal; fwd=uri-miss; detail=origin":                    "origin",
		`shoal; fwd=uri-miss; detail="origin"`:                  "origin",
		"origin-edge; hit, shoal; fwd=uri-miss; detail=sibling": "sibling",
		"shoal; detail=none":                                    "",
		"shoal; hit=?0":                                         "",
		"shoal; fwd=stale":                                      "",
		"":                                                      "",
		";;;=,,":                                                "",
	} {
		if got := placeOf(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, tc := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{{nil, 0.5, 0}, {hundred[:1], 0.99, 1}, {hundred[:2], 0.5, 1}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}} {
		if got := quantile(tc.sorted, tc.q); got != tc.want {
			t.Errorf("quantile %v of %d: got %d, want %d", tc.q, len(tc.sorted), got, tc.want)
		}
	}
}

func TestParseCounters(t *testing.T) {
	c, err := parseCounters(strings.NewReader(`# TYPE shoal_block_bytes_total counter
shoal_block_bytes_total{source="memory"} 1.5e+06
shoal_block_bytes_total{source="origin"} 70
# TYPE shoal_origin_requests_total counter
shoal_origin_requests_total{origin="http://127.0.0.1:1",outcome="ok"} 4
shoal_origin_requests_total{origin="http://127.0.0.1:1",outcome="error"} 2
`))
	if err != nil || c.blockBytes["memory"] != 1_500_000 || c.blockBytes["origin"] != 70 || c.originRequests != 6 {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := parseCounters(strings.NewReader("<html>not metrics")); err == nil {
		t.Error("HTML was accepted")
	}
}

func TestImportAnswers(t *testing.T) {
	const progress = `{"progress":{"files":1}}` + "\n"
	for answer, want := range map[string]string{
		progress + `{"cid":"bafy"}` + "\n":                                  "bafy",
		progress + `{"error":{"reason":"BAD_REQUEST","details":"cut off"}}`: "cut off",
		progress:        "ended without a CID",
		"":              "ended without a CID",
		progress + "<h": "invalid character",
	} {
		id, err := lastCID(strings.NewReader(answer))
		if got := id; err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
			t.Errorf("%q: got %q, %v; want %q", answer, id, err, want)
		}
	}
}
