package chart

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
)

// healthy is a day's half of three edges to which nothing happens, as series in the
// notation of Prometheus' own tests: SELECT stands for the release's labels.
var healthy = []string{
	`up{SELECT,pod="edge-0"} 1x720`,
	`up{SELECT,pod="edge-1"} 1x720`,
	`up{SELECT,pod="edge-2"} 1x720`,
	`shoal_build_info{SELECT,pod="edge-0"} 1x720`,
	`process_start_time_seconds{SELECT,pod="edge-0"} 1000x720`,
	`shoal_swarm_members{SELECT,pod="edge-0"} 2x720`,
	`shoal_swarm_members{SELECT,pod="edge-1"} 2x720`,
	`shoal_swarm_members{SELECT,pod="edge-2"} 2x720`,
	`shoal_http_requests_total{SELECT,pod="edge-0",code="200",cache="hit"} 0+6000x720`,
	`shoal_http_requests_total{SELECT,pod="edge-0",code="200",cache="origin"} 0+60x720`,
	`shoal_http_requests_total{SELECT,pod="edge-0",code="502",cache="none"} 0+1x720`,
	`shoal_http_response_bytes_total{SELECT,pod="edge-0"} 0+600000000x720`,
	`shoal_origin_bytes_total{SELECT,pod="edge-0",origin="a"} 0+20000000x720`,
	`shoal_origin_requests_total{SELECT,pod="edge-0",origin="a",outcome="ok"} 0+60x720`,
	`shoal_origin_breaker_state{SELECT,pod="edge-0",origin="a"} 0x720`,
	`shoal_swarm_rescues_total{SELECT,pod="edge-0"} 0x720`,
	`shoal_swarm_zone_bytes_total{SELECT,pod="edge-0",scope="local"} 0+300000000x720`,
	`shoal_swarm_zone_bytes_total{SELECT,pod="edge-0",scope="remote"} 0+20000000x720`,
	`shoal_names_stale{SELECT,pod="edge-0"} 0x720`,
	`shoal_store_disk_full{SELECT,pod="edge-0"} 0x720`,
	`shoal_store_pinned_bytes{SELECT,pod="edge-0"} 40x720`,
	`shoal_store_capacity_bytes{SELECT,pod="edge-0"} 100x720`,
	`shoal_store_pinned_missing_blocks{SELECT,pod="edge-0"} 0x720`,
	`shoal_pins{SELECT,pod="edge-0",status="pinned"} 9x720`,
	`shoal_pins{SELECT,pod="edge-0",status="failed"} 0x720`,
	`shoal_store_corrupt_records_total{SELECT,pod="edge-0"} 3x720`,
	`shoal_store_read_failures_total{SELECT,pod="edge-0"} 0x720`,
	`shoal_store_write_failures_total{SELECT,pod="edge-0"} 0x720`,
}

// broken says, for each alert, which series of the above are otherwise when it has
// to fire. An empty text takes the series away.
var broken = map[string]map[string]string{
	"ShoalAbsent":       {"shoal_build_info": ""},
	"ShoalEdgeDown":     {`up{SELECT,pod="edge-2"}`: "1x700 0x20"},
	"ShoalEdgeRestarts": {"process_start_time_seconds": "1000x680 2000x10 3000x10 4000x10 5000x10"},
	// Edge 1 was cut off.
	"ShoalMembersLost":            {`shoal_swarm_members{SELECT,pod="edge-1"}`: "2x700 0x20"},
	"ShoalErrorBudgetBurnsFast":   {`code="502"`: "0+120x720"},
	"ShoalErrorBudgetBurnsSlowly": {`code="502"`: "0+50x720"},
	"ShoalOriginAmplification":    {"shoal_origin_bytes_total": "0+1000000000x720"},
	"ShoalHomesUnreachable":       {"shoal_swarm_rescues_total": "0x700 0+60x20"},
	"ShoalZonesCrossed":           {`scope="remote"`: "0+300000000x720"},
	"ShoalHitRatioLow":            {`cache="origin"`: "0+3000x720"},
	"ShoalOriginDown":             {"shoal_origin_breaker_state": "0x700 2x20"},
	// The first wrong block is the one that makes the series.
	"ShoalOriginWrongBytes":    {`outcome="mismatch"`: "_x715 1x5"},
	"ShoalNamesStale":          {"shoal_names_stale": "0x600 2x120"},
	"ShoalDiskFull":            {"shoal_store_disk_full": "0x700 1x20"},
	"ShoalPinnedShareHigh":     {"shoal_store_pinned_bytes": "90x720"},
	"ShoalPinnedBlocksMissing": {"shoal_store_pinned_missing_blocks": "0x680 4x40"},
	"ShoalPinsFailed":          {`status="failed"`: "0x700 2x20"},
	"ShoalDiskFailing":         {"shoal_store_read_failures_total": "0x700 0+1x20"},
}

// also are alerts that fire together with another one, and should.
var also = map[string][]string{
	"ShoalErrorBudgetBurnsFast": {"ShoalErrorBudgetBurnsSlowly"},
}

// changed returns the healthy series with some of them changed, minute by minute.
func changed(t *testing.T, change map[string]string) database {
	t.Helper()
	var lines []string
	used := map[string]bool{}
	line := func(series, values string) {
		lines = append(lines, strings.ReplaceAll(series, "SELECT", `namespace="web",job="edge-shoal"`)+" "+values)
	}
	for _, s := range healthy {
		end := strings.LastIndex(s, "} ") + 1
		series, values := s[:end], s[end+1:]
		for part, other := range change {
			if strings.Contains(series, part) {
				values, used[part] = other, true
			}
		}
		if values != "" {
			line(series, values)
		}
	}
	for part, values := range change {
		if !used[part] {
			line(fmt.Sprintf(`shoal_origin_requests_total{SELECT,pod="edge-0",origin="a",%s}`, part), values)
		}
	}
	return newDatabase(t, lines)
}

// firing returns the alerts whose expression has held for as long as they wait.
func firing(t *testing.T, change map[string]string) map[string]bool {
	t.Helper()
	data := changed(t, change)
	engine := newEngine(t)
	end := time.Unix(0, 0).Add(720 * time.Minute)
	all := map[string]bool{}
	for _, r := range rules(t) {
		wait := time.Duration(0)
		if r.For != nil {
			d, err := time.ParseDuration(string(*r.For))
			if err != nil {
				t.Fatal(err)
			}
			wait = d
		}
		// An alert that waits for longer than the trouble lasts would not fire.
		query, err := engine.NewRangeQuery(context.Background(), data, nil, r.Expr.String(), end.Add(-wait), end, time.Minute)
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		matrix, err := query.Exec(context.Background()).Matrix()
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		if held(matrix, int(wait/time.Minute)+1) {
			all[r.Alert] = true
			for _, s := range matrix {
				if s.Metric.Get("namespace") != "web" {
					t.Errorf("%s loses the namespace, which alerts are routed by: %s", r.Alert, s.Metric)
				}
			}
		}
		query.Close()
	}
	return all
}

// held reports whether a series has a value at each of so many steps.
func held(matrix promql.Matrix, steps int) bool {
	for _, s := range matrix {
		if len(s.Floats) >= steps {
			return true
		}
	}
	return false
}

func TestHealthyIsQuiet(t *testing.T) {
	for alert := range firing(t, nil) {
		t.Errorf("%s fires although nothing is wrong", alert)
	}
}

func TestAlertsFire(t *testing.T) {
	for _, r := range rules(t) {
		change, ok := broken[r.Alert]
		if !ok {
			t.Errorf("%s: nothing here makes it fire", r.Alert)
			continue
		}
		fires := firing(t, change)
		if !fires[r.Alert] {
			t.Errorf("%s does not fire for %v", r.Alert, change)
		}
		for _, other := range append(also[r.Alert], r.Alert) {
			delete(fires, other)
		}
		for other := range fires {
			t.Errorf("%s fires when %s should", other, r.Alert)
		}
	}
}

// A quiet site is no reason to wake anyone: nothing is divided by nothing.
func TestNoTraffic(t *testing.T) {
	for alert := range firing(t, map[string]string{
		"shoal_http_requests_total": "5x720", "shoal_http_response_bytes_total": "7x720", "shoal_origin_bytes_total": "7x720",
	}) {
		t.Errorf("%s fires although there are no visitors", alert)
	}
}

// Each alert says what happened, how bad it is, and where to read what to do.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../../docs/RUNBOOKS.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[strings.ToLower(m[1])] = true
	}
	for _, r := range rules(t) {
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "/docs/RUNBOOKS.md#")
		if !sections[anchor] {
			t.Errorf("%s: docs/RUNBOOKS.md has no section for %s", r.Alert, r.Annotations["runbook_url"])
		}
		delete(sections, anchor)
		if severity := r.Labels["severity"]; severity != "warning" && severity != "critical" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
		}
	}
	for anchor := range sections {
		t.Errorf("docs/RUNBOOKS.md has a section for %s, which is no alert", anchor)
	}
}

// Alerts can be left out, labelled and added to.
func TestRuleValues(t *testing.T) {
	list := rules(t, modes(t)["monitoring"], "monitoring: {rules: {disabled: [ShoalDiskFull]}}")
	var names []string
	for _, r := range list {
		names = append(names, r.Alert)
		if r.Alert != "Custom" && r.Labels["team"] != "web" {
			t.Errorf("%s lacks the label: %v", r.Alert, r.Labels)
		}
	}
	if all := strings.Join(names, " "); strings.Contains(all, "ShoalDiskFull") || !strings.HasSuffix(all, " Custom") {
		t.Errorf("the alerts are %s", all)
	}
}
