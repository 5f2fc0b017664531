package chart

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// rendered is the part of the rendered configuration that tests look at.
type rendered struct {
	Gateway struct {
		Listen        string          `json:"listen"`
		ShutdownDelay metav1.Duration `json:"shutdown_delay"`
		DrainTimeout  metav1.Duration `json:"drain_timeout"`
	} `json:"gateway"`
	Cache struct {
		Memory int64 `json:"memory"`
		Disk   int64 `json:"disk"`
	} `json:"cache"`
	Swarm struct {
		DNS string `json:"dns"`
	} `json:"swarm"`
}

// settings returns what the edges of a release are configured with.
func settings(t *testing.T, list objects) rendered {
	t.Helper()
	var r rendered
	set, _ := list.edge(t)
	if err := yaml.Unmarshal([]byte(one[*corev1.ConfigMap](t, list, set.Name).Data["config.yaml"]), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

const (
	mib = 1 << 20
	gib = 1 << 30
)

func TestDisk(t *testing.T) {
	for _, c := range []struct {
		values string
		want   int64
	}{
		{"persistence: {size: 100Gi}", 85 * gib},
		{"persistence: {size: 100G}", 85e9},
		{"persistence: {size: 1.5Ti}", 1536 * gib * 85 / 100},
		{"persistence: {size: 107374182400}", 85 * gib},
		{"{persistence: {size: 100Gi}, cache: {disk: 95Gi}}", 95 * gib},
		{"{persistence: {size: 100Gi, enabled: false}, cache: {disk: 1GiB}}", gib},
	} {
		list, _, err := release{name: "edge", namespace: "web", values: []string{c.values}}.render()
		if strings.Contains(c.values, "GiB") {
			if err == nil {
				t.Errorf("%s: expected a size as Kubernetes writes it", c.values)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.values, err)
			continue
		}
		if got := settings(t, list).Cache.Disk; got != c.want {
			t.Errorf("%s: cache.disk is %d, expected %d", c.values, got, c.want)
		}
	}
	err := release{name: "edge", namespace: "web", values: []string{"{persistence: {size: 100Gi}, cache: {disk: 96Gi}}"}}.refused(t)
	if !strings.Contains(err, "cache.disk") || !strings.Contains(err, "persistence.size") {
		t.Error(err)
	}
}

// Whatever the limit: the cache, what it needs beside it, and the runtime's limit
// fit into each other.
func TestMemory(t *testing.T) {
	for limit, bytes := range map[string]int64{"128Mi": 128 * mib, "256Mi": 256 * mib, "1Gi": gib, "64Gi": 64 * gib, "2G": 2e9} {
		list := release{name: "edge", namespace: "web", values: []string{"resources: {limits: {memory: " + limit + "}, requests: {memory: 128Mi}}"}}.must(t)
		_, edge := list.edge(t)
		var goLimit int64
		for _, v := range edge.Env {
			if v.Name == "GOMEMLIMIT" {
				if err := yaml.Unmarshal([]byte(v.Value), &goLimit); err != nil {
					t.Fatal(err)
				}
			}
		}
		cache := settings(t, list).Cache.Memory
		if goLimit > bytes*9/10 || goLimit < bytes*8/10 {
			t.Errorf("%s: GOMEMLIMIT is %d", limit, goLimit)
		}
		if needs := cache + cache/8 + 64*mib; needs > goLimit || needs < goLimit-2*mib {
			t.Errorf("%s: a cache of %d needs %d, and the runtime may use %d", limit, cache, needs, goLimit)
		}
	}
}

func TestMemoryWithoutLimit(t *testing.T) {
	list := release{name: "edge", namespace: "web", values: []string{"resources: {limits: {memory: null}}"}}.must(t)
	_, edge := list.edge(t)
	for _, v := range edge.Env {
		if v.Name == "GOMEMLIMIT" {
			t.Errorf("GOMEMLIMIT is %s without a limit", v.Value)
		}
	}
	if got := settings(t, list).Cache.Memory; got != 256*mib {
		t.Errorf("cache.memory is %d, expected the edge's default", got)
	}
}

func TestMemoryThatDoesNotFit(t *testing.T) {
	for values, want := range map[string]string{
		"{cache: {memory: 900Mi}, resources: {limits: {memory: 1Gi}}}":                        "cache.memory",
		"{resources: {limits: {memory: 64Mi}, requests: {memory: 64Mi}}}":                     "resources.limits.memory",
		"{resources: {limits: {memory: half}}}":                                               "resources.limits.memory",
		"{cache: {memory: 16Mi}, resources: {limits: {memory: 64Mi}, requests: {memory: 1}}}": "resources.limits.memory",
	} {
		if err := (release{name: "edge", namespace: "web", values: []string{values}}).refused(t); !strings.Contains(err, want) {
			t.Errorf("%s: %s", values, err)
		}
	}
}

// The file that the sizes are derived by says what an edge needs beside its cache.
func TestMemoryRuleIsTheEdges(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if words := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "#", "")), " "); !strings.Contains(words, "allow the process an eighth of this and 64 MiB") {
		t.Error("config.yaml has another rule for memory than the chart (templates/_sizes.tpl)")
	}
}
