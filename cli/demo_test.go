package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/demo"
	"github.com/shoal-cdn/shoal/edge"
)

// The demo of a fleet, small, with real edges: everything that the fleet fetched it
// has, so the origin is asked no more often by two edges than by one.
func TestDemoOfAFleet(t *testing.T) {
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "index.html"), []byte("<h1>small</h1>"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, live bytes.Buffer
	o := demo.DefaultOptions()
	o.Path, o.Edges, o.Requests, o.LibraryFiles, o.LibraryBytes = site, 2, 300, 200, 4<<20
	o.Limit, o.TempDir, o.Chart = time.Minute, t.TempDir(), filepath.Join(t.TempDir(), "chart.html")
	o.Out, o.Live, o.JSON = &out, &live, true
	o.Start, o.Secret = startDemoEdge, edge.NewSecret()
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Fleets []demo.FleetResult `json:"fleets"`
		Faults []demo.FaultResult `json:"faults"`
	}
	for l := range strings.Lines(out.String()) {
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if e.Event == "result" {
			if err := json.Unmarshal(e.Data, &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got.Fleets) != 2 || len(got.Faults) != 2 {
		t.Fatalf("%s", out.String())
	}
	one, two := got.Fleets[0], got.Fleets[1]
	for _, r := range got.Fleets {
		// All of it fits: what was asked for once comes from the origin never again.
		if r.Failed != 0 || r.Requests != 300 || r.OriginBytesPerRequest > 1.1*r.Ideal+100 || r.OriginRequests == 0 {
			t.Errorf("%+v", r)
		}
	}
	if two.RequestsFrom["sibling"] == 0 || one.RequestsFrom["sibling"] != 0 || two.BytesFrom["sibling"] == 0 {
		t.Errorf("from siblings: one edge %+v, two %+v", one.Result, two.Result)
	}
	stopped, off := got.Faults[0], got.Faults[1]
	if stopped.Failed != 0 || stopped.Served != 75 || off.Failed != 0 || off.Served == 0 || off.Served+off.NotHeld != 75 {
		t.Errorf("%+v\n%+v", stopped, off)
	}
	if page, err := os.ReadFile(o.Chart); err != nil || !bytes.Contains(page, []byte("<svg")) {
		t.Errorf("chart: %v", err)
	}
	if left, _ := os.ReadDir(o.TempDir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
