package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
)

// panel is the part of a Grafana panel that is looked at.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ UID string }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		Expr, LegendFormat, RefID string
		Datasource                struct{ UID string }
	}
}

type dashboard struct {
	Title, UID string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Annotations struct{ List []struct{ Expr string } }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "dashboards", "shoal.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// ungrafana puts values into the places that Grafana fills.
func ungrafana(text string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$namespace", "web", "$job", "edge-shoal", "$edge", ".*").Replace(text)
}

// legendHas reports whether the series that an expression gives have a label: the
// ones it is grouped by, or all of them when it is not.
func legendHas(t *testing.T, families map[string]*dto.MetricFamily, text, label string) bool {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return false
	}
	has, grouped := false, false
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			if n.Op != parser.TOPK {
				grouped = true
				has = has || slices.Contains(n.Grouping, label)
			}
		case *parser.VectorSelector:
			names, _ := labelsOf(families, n.Name)
			has = has || !grouped && (slices.Contains(names, label) || slices.Contains(fromPrometheus, label))
		}
		return nil
	})
	return has
}

// The dashboard is one that a person can read: each panel says what it shows and in
// what unit, and none lies on another.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" {
		t.Error("a dashboard needs a title and a lasting UID")
	}
	ids := map[int]bool{}
	var cells [1000][24]bool
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		for y := range p.GridPos.H {
			for x := range p.GridPos.W {
				if at := &cells[p.GridPos.Y+y][p.GridPos.X+x]; *at {
					t.Fatalf("%s lies on another panel", p.Title)
				} else {
					*at = true
				}
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Title == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%q lacks a title, description, unit, query or the data source of choice", p.Title)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.Datasource.UID != "${datasource}" || p.Type == "timeseries" && target.LegendFormat == "" {
				t.Errorf("%s: query %s lacks a legend, a name or the data source of choice", p.Title, target.RefID)
			}
			refs[target.RefID] = true
		}
	}
}

// What is rendered is the dashboard, as one line of JSON, small enough for a
// ConfigMap and for the Secret that Helm keeps a release in.
func TestDashboardObject(t *testing.T) {
	list := release{name: "edge", namespace: "web", values: []string{modes(t)["monitoring"]}}.must(t)
	config := one[*corev1.ConfigMap](t, list, "-dashboard")
	text := config.Data["web-edge-shoal.json"]
	var d dashboard
	if err := json.Unmarshal([]byte(text), &d); err != nil || len(d.Panels) != len(readDashboard(t).Panels) {
		t.Errorf("the dashboard is broken: %v", err)
	}
	if len(text) > 200<<10 {
		t.Errorf("the dashboard has %d bytes", len(text))
	}
	link := one[*grafanaDashboard](t, list, "")
	if link.Spec.ConfigMapRef.Name != config.Name || config.Data[link.Spec.ConfigMapRef.Key] == "" {
		t.Errorf("the GrafanaDashboard refers to %v", link.Spec.ConfigMapRef)
	}
}
