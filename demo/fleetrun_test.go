package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/demo"
)

// fleetOptions is a demo of a fleet that takes no time.
func fleetOptions(t *testing.T, s *starter) (demo.Options, *bytes.Buffer) {
	t.Helper()
	o, out := options(t, s)
	o.Path, o.Edges, o.Secret = smallSite(t), 3, "a secret"
	o.Requests, o.LibraryFiles, o.LibraryBytes = 60, 70, 100<<10
	o.Chart = filepath.Join(t.TempDir(), "chart.html")
	return o, out
}

type fleetResults struct {
	Fleets []demo.FleetResult `json:"fleets"`
	Faults []demo.FaultResult `json:"faults"`
}

func resultsOfFleet(t *testing.T, out *bytes.Buffer) fleetResults {
	t.Helper()
	for l := range strings.Lines(out.String()) {
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if e.Event == "result" {
			var r fleetResults
			if err := json.Unmarshal(e.Data, &r); err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
	t.Fatalf("no result in %s", out)
	return fleetResults{}
}

func TestFleet(t *testing.T) {
	s := &starter{}
	o, out := fleetOptions(t, s)
	o.JSON = true
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := resultsOfFleet(t, out)
	if len(got.Fleets) != 3 || len(got.Faults) != 2 {
		t.Fatalf("%d fleets and %d faults", len(got.Fleets), len(got.Faults))
	}
	for i, r := range got.Fleets {
		if r.Edges != i+1 || r.Requests != 60 || r.Filling != 60 || r.Failed != 0 || r.Cut {
			t.Errorf("%+v", r)
		}
		sum := 0
		for _, n := range r.RequestsFrom {
			sum += n
		}
		if sum != r.Requests {
			t.Errorf("%s: %d requests came from somewhere, of %d", r.Phase, sum, r.Requests)
		}
		// Nothing is ever evicted here, and every edge has what any other has.
		if r.OriginBytesPerRequest > r.Separate+1 && i > 0 || r.Ideal > r.Separate {
			t.Errorf("%s: %.0f bytes a request from the origin; computed: %+v", r.Phase, r.OriginBytesPerRequest, r.Lines)
		}
	}
	stopped, off := got.Faults[0], got.Faults[1]
	if stopped.Edge != "edge-3" || stopped.Served != 15 || stopped.Failed != 0 || off.Requests != 15 || off.Failed != 0 || off.Served+off.NotHeld != 15 || off.Served == 0 {
		t.Errorf("%+v\n%+v", stopped, off)
	}
	want := []string{"origin", "edge-1", "edge-1", "edge-2", "edge-1", "edge-2", "edge-3", "edge-3"}
	if !slices.Equal(s.names, want) {
		t.Errorf("started %v, want %v", s.names, want)
	}
	page, err := os.ReadFile(o.Chart)
	if err != nil || !bytes.Contains(page, []byte("3 edges")) {
		t.Errorf("chart: %v\n%.300s", err, page)
	}
	clean(t, s, o)
}

func TestFleetInWords(t *testing.T) {
	s := &starter{}
	o, out := fleetOptions(t, s)
	var live bytes.Buffer
	o.Edges, o.Live, o.Chart = 2, &live, ""
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 edges", "from a sibling", "one ideal cache", "separate caches", "edge-2 stopped halfway: 15 of 15", "Origin switched off", "compared byte for byte"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the result lacks %q:\n%s", want, out)
		}
	}
	for _, want := range []string{"70 made-up files", "1 edge", "halfway edge-2 is stopped", "edge-2 is back"} {
		if !strings.Contains(live.String(), want) {
			t.Errorf("the display lacks %q:\n%s", want, &live)
		}
	}
	if strings.Contains(out.String(), "Chart:") {
		t.Error("there is a chart")
	}
	clean(t, s, o)
}

// What is large enough by itself is served without made-up files.
func TestLargeFolderIsServedAsItIs(t *testing.T) {
	s := &starter{}
	o, _ := fleetOptions(t, s)
	var live bytes.Buffer
	o.Memory, o.Disk, o.Edges, o.Live = 50, 50, 2, &live
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(live.String(), "made-up") || !strings.Contains(live.String(), "2 files") {
		t.Errorf("published something else:\n%s", &live)
	}
	clean(t, s, o)
}

func TestWrongBytesFailTheFleet(t *testing.T) {
	for name, wrong := range map[string]func(http.ResponseWriter){
		"other bytes": func(w http.ResponseWriter) { _, _ = w.Write([]byte("something else")) },
		"an error":    func(w http.ResponseWriter) { http.Error(w, "origin failed", http.StatusBadGateway) },
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := &starter{corrupt: func(path string, w http.ResponseWriter) bool {
				if n.Add(1) != 100 {
					return false
				}
				wrong(w)
				return true
			}}
			o, out := fleetOptions(t, s)
			o.Edges = 2
			err := demo.Run(t.Context(), o)
			var failed *demo.RequestError
			if !errors.As(err, &failed) {
				t.Errorf("got %v, want a RequestError", err)
			}
			if !strings.Contains(out.String(), "failed or wrong") {
				t.Error("the table is missing")
			}
			clean(t, s, o)
		})
	}
}

// An edge that refuses what the fleet holds, with the origin off, has failed, unless
// it serves it a little later.
func TestRefusingWhatIsHeld(t *testing.T) {
	for name, forever := range map[string]bool{"forever": true, "for a moment": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for the second attempt
			s := &starter{}
			var refused atomic.Int64
			s.corrupt = func(path string, w http.ResponseWriter) bool {
				s.mu.Lock()
				originOff := len(s.running) > 0 && s.running[0].spec.Name != "origin"
				s.mu.Unlock()
				if !originOff || !forever && refused.Add(1) > 15 {
					return false
				}
				http.Error(w, "no", http.StatusBadGateway)
				return true
			}
			o, out := fleetOptions(t, s)
			o.Edges, o.JSON = 2, true
			err := demo.Run(t.Context(), o)
			off := resultsOfFleet(t, out).Faults[1]
			switch {
			case forever && (err == nil || !strings.Contains(err.Error(), ": 502 Bad Gateway: no, though edge-") || off.Failed == 0):
				t.Errorf("got %v, %+v", err, off)
			case !forever && (err != nil || off.Again == 0 || off.Failed != 0 || off.Again+off.NotHeld != 15):
				t.Errorf("got %v, %+v", err, off)
			}
			clean(t, s, o)
		})
	}
}

func TestFailedStartOfAFleetCleansUp(t *testing.T) {
	boom := errors.New("no ports left")
	for failing := range 8 {
		n := 0
		s := &starter{before: func(demo.EdgeSpec) error {
			n++
			if n > failing {
				return boom
			}
			return nil
		}}
		o, _ := fleetOptions(t, s)
		if err := demo.Run(t.Context(), o); !errors.Is(err, boom) {
			t.Errorf("start %d fails: got %v", failing, err)
		}
		clean(t, s, o)
	}
}

func TestCancellationOfAFleetCleansUp(t *testing.T) {
	for _, at := range []int{0, 1, 70, 200, 365, 380} {
		t.Run(fmt.Sprint("request ", at), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var n atomic.Int64
			s := &starter{corrupt: func(string, http.ResponseWriter) bool {
				if int(n.Add(1)) == at {
					cancel()
				}
				return false
			}}
			if at == 0 {
				cancel()
			}
			o, out := fleetOptions(t, s)
			if err := demo.Run(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v after %d requests", err, n.Load())
			}
			if strings.Contains(out.String(), "compared") {
				t.Errorf("a table was printed:\n%s", out)
			}
			if _, err := os.Stat(o.Chart); err == nil {
				t.Error("a chart was written")
			}
			clean(t, s, o)
		})
	}
}

// Where the first fleet ran out of time, the next ones get no more requests than it.
func TestSlowFleetIsCutShort(t *testing.T) {
	s := &starter{corrupt: func(string, http.ResponseWriter) bool {
		time.Sleep(time.Millisecond)
		return false
	}}
	o, out := fleetOptions(t, s)
	o.JSON, o.Requests, o.Limit, o.Edges = true, 100_000, time.Second, 2
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := resultsOfFleet(t, out).Fleets
	if !got[0].Cut || got[1].Requests > got[0].Requests || got[1].Filling > got[0].Filling || got[0].Requests == 0 {
		t.Errorf("%+v", got)
	}
	clean(t, s, o)
}

func TestKeepLeavesTheFleetRunning(t *testing.T) {
	s := &starter{}
	o, _ := fleetOptions(t, s)
	out := &syncBuffer{wrote: make(chan struct{}, 1)}
	o.Out, o.Keep = out, true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- demo.Run(ctx, o) }()
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case <-out.wrote:
		case err := <-done:
			t.Fatalf("ended: %v\n%s", err, out)
		}
	}
	if n := strings.Count(out.String(), "http://demo.localhost:"); n != 3 || !strings.Contains(out.String(), "  edge-3\n") {
		t.Errorf("%d sites:\n%s", n, out)
	}
	for _, e := range s.fleet() {
		req, _ := http.NewRequest(http.MethodGet, "http://"+e.GatewayAddr()+"/", nil)
		req.Host = "demo.localhost:80"
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("favicon")) {
			t.Errorf("%s: %.200s", res.Status, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped by the user: %v", err)
	}
	clean(t, s, o)
}

func TestChartThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	for _, chart := range []string{dir, filepath.Join(dir, "missing", "chart.html")} {
		s := &starter{}
		o, _ := fleetOptions(t, s)
		o.Chart = chart
		if err := demo.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "chart "+chart) || len(s.names) > 0 {
			t.Errorf("%s: got %v after starting %v", chart, err, s.names)
		}
		clean(t, s, o)
	}
}

func TestContentWithItsOwnLibrary(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "library"), 0o755), os.WriteFile(filepath.Join(dir, "library", "x"), []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s := &starter{}
	o, _ := fleetOptions(t, s)
	o.Path = dir
	if err := demo.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "library/x") {
		t.Errorf("got %v", err)
	}
}
