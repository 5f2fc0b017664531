package chart

import (
	"crypto/sha256"
	"encoding/base32"
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
