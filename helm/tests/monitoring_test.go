package chart

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// files is so many that some are at home on either edge.
const files = 16

// misses are asked for at once.
const misses = 16

// missing returns the n-th of many CIDs that nobody has: raw, sha2-256.
func missing(n int) string {
	sum := sha256.Sum256([]byte{byte(n)})
	return "b" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append([]byte{0x01, 0x55, 0x12, 0x20}, sum[:]...)))
}

// observed returns the metrics of a fleet in which everything happened once that
// makes a series appear: a block came from a sibling, and the origin failed until
// it was given rest.
func observed(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	list := release{name: "edge", namespace: "web"}.must(t)
	first, second := fleet(t, list)
	folder := t.TempDir()
	for n := range files {
		if err := os.WriteFile(filepath.Join(folder, strconv.Itoa(n)), []byte("file "+strconv.Itoa(n)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := first.add(t, "--quiet", folder)
	for n := range files {
		if status, body := second.get(t, fmt.Sprintf("http://%s/ipfs/%s/%d", second.gateway, root, n), "edge-shoal"); status != http.StatusOK {
			t.Fatalf("file %d from a sibling: %d %s", n, status, body)
		}
	}
	families := map[string]*dto.MetricFamily{}
	for n := 0; families["shoal_origin_avoided_total"] == nil; n += misses {
		if n > 10*misses {
			t.Fatal("the origin fails and fails, and is never given rest")
		}
		var asked sync.WaitGroup
		for i := range misses {
			asked.Go(func() { first.get(t, "http://"+first.gateway+"/ipfs/"+missing(n+i), "edge-shoal") })
		}
		asked.Wait()
		families = first.metrics(t)
	}
	for name, f := range second.metrics(t) {
		if there, ok := families[name]; ok {
			there.Metric = append(there.Metric, f.Metric...)
			continue
		}
		families[name] = f
	}
	return families
}

// fromPrometheus are the labels that a scrape adds, and the metric that it makes.
var fromPrometheus = []string{"namespace", "job", "pod", "up"}

// labelsOf returns the labels of a series of a metric as Prometheus stores it; none
// when there is no such metric.
func labelsOf(families map[string]*dto.MetricFamily, series string) (names []string, ok bool) {
	if slices.Contains(fromPrometheus, series) {
		return nil, true
	}
	name := series
	f := families[name]
	if f == nil {
		if base, found := strings.CutSuffix(name, "_bucket"); found && families[base] != nil && families[base].GetType() == dto.MetricType_HISTOGRAM {
			f, names = families[base], append(names, "le")
		}
	}
	if f == nil {
		return nil, false
	}
	for _, m := range f.Metric {
		for _, l := range m.Label {
			names = append(names, l.GetName())
		}
	}
	return names, true
}

// checkExpression parses an expression, and looks up each metric and label in it.
func checkExpression(t *testing.T, families map[string]*dto.MetricFamily, where, text string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, text)
		return
	}
	known := slices.Clone(fromPrometheus)
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		selector, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		names, found := labelsOf(families, selector.Name)
		if !found {
			t.Errorf("%s: no edge has a metric %s", where, selector.Name)
		}
		known = append(known, names...)
		for _, m := range selector.LabelMatchers {
			if m.Name != "__name__" && found && !slices.Contains(append(names, fromPrometheus...), m.Name) {
				t.Errorf("%s: %s has no label %s", where, selector.Name, m.Name)
			}
		}
		return nil
	})
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			for _, name := range a.Grouping {
				if !slices.Contains(known, name) {
					t.Errorf("%s: grouped by %s, which no metric in it has", where, name)
				}
			}
		}
		return nil
	})
}

// rules returns the alerts of a release with the given values.
func rules(t *testing.T, values ...string) []monitoringv1.Rule {
	t.Helper()
	list := release{name: "edge", namespace: "web", values: append([]string{"monitoring: {rules: {enabled: true}}"}, values...)}.must(t)
	return one[*monitoringv1.PrometheusRule](t, list, "").Spec.Groups[0].Rules
}

// Prometheus itself would load the rules, the templates of their texts included.
func TestRulesLoad(t *testing.T) {
	for _, mode := range []string{"monitoring", "podmonitor"} {
		list := release{name: "edge", namespace: "web", values: []string{modes(t)[mode]}}.must(t)
		text, err := yaml.Marshal(one[*monitoringv1.PrometheusRule](t, list, "").Spec)
		if err != nil {
			t.Fatal(err)
		}
		_, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

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

// Rules and dashboard ask for what edges have: each metric and each label in them is
// looked up in the metrics of a running fleet.
func TestMetricsExist(t *testing.T) {
	families := observed(t)
	for _, r := range rules(t) {
		checkExpression(t, families, r.Alert, r.Expr.String())
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			checkExpression(t, families, p.Title, ungrafana(target.Expr))
			for _, name := range regexp.MustCompile(`{{\s*(\w+)\s*}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !legendHas(t, families, ungrafana(target.Expr), name[1]) {
					t.Errorf("%s: the legend shows %s, which the result does not have", p.Title, name[1])
				}
			}
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			checkExpression(t, families, "annotation", ungrafana(a.Expr))
		}
	}
	for _, v := range d.Templating.List {
		if series := regexp.MustCompile(`label_values\((\w+)`).FindStringSubmatch(v.Definition); series != nil && families[series[1]] == nil {
			t.Errorf("variable %s: no edge has a metric %s", v.Name, series[1])
		}
	}
	if f := families["shoal_http_requests_total"]; f != nil {
		var caches []string
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "cache" {
					caches = append(caches, l.GetValue())
				}
			}
		}
		if !slices.Contains(caches, "none") {
			t.Errorf("a request that found nothing is counted as %v, and the dashboard calls it none", caches)
		}
	}
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

// A monitor finds the edges, comes with their token, and names them as the alerts do.
func TestMonitors(t *testing.T) {
	list := release{name: "edge", namespace: "web", values: []string{modes(t)["monitoring"]}}.must(t)
	set, _ := list.edge(t)
	secret := one[*corev1.Secret](t, list, "")
	monitor := one[*monitoringv1.ServiceMonitor](t, list, "").Spec
	for _, o := range list {
		if service, ok := o.of.(*corev1.Service); ok {
			if found := labels.SelectorFromSet(monitor.Selector.MatchLabels).Matches(labels.Set(service.Labels)); found != (service.Name == set.Name+"-admin") {
				t.Errorf("Service %s is scraped: %t", service.Name, found)
			}
		}
	}
	checkToken(t, secret, monitor.Endpoints[0].Authorization)
	checkJob(t, set.Name, monitor.Endpoints[0].RelabelConfigs)

	list = release{name: "edge", namespace: "web", values: []string{modes(t)["podmonitor"]}}.must(t)
	pods := one[*monitoringv1.PodMonitor](t, list, "").Spec
	if !labels.SelectorFromSet(pods.Selector.MatchLabels).Matches(labels.Set(set.Spec.Template.Labels)) {
		t.Errorf("the PodMonitor selects nothing: %v", pods.Selector)
	}
	checkToken(t, secret, pods.PodMetricsEndpoints[0].Authorization)
	checkJob(t, set.Name, pods.PodMetricsEndpoints[0].RelabelConfigs)
}

func checkToken(t *testing.T, secret *corev1.Secret, with *monitoringv1.SafeAuthorization) {
	t.Helper()
	if with == nil || with.Credentials.Name != secret.Name || secret.Data[with.Credentials.Key] == nil {
		t.Errorf("the scrape has no token: %v", with)
	}
}

func checkJob(t *testing.T, want string, relabelings []monitoringv1.RelabelConfig) {
	t.Helper()
	for _, r := range relabelings {
		if r.TargetLabel == "job" && r.Replacement != nil && *r.Replacement == want {
			return
		}
	}
	t.Errorf("the series are not named job=%s: %v", want, relabelings)
}
