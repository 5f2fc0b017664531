package chart

import (
	"fmt"
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
		{"{persistence: {size: 1.5Ti}, resources: {limits: {memory: 8Gi}}}", 1536 * gib * 85 / 100},
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

// Whatever the limit: the cache, what is needed beside it, and the runtime's limit
// fit into each other.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		limit    string
		bytes    int64
		requests int64
		size     string
	}{
		{"512Mi", 512 * mib, 4096, "20Gi"}, {"1Gi", gib, 4096, "20Gi"}, {"64Gi", 64 * gib, 100_000, "4Ti"}, {"2G", 2e9, 4096, "500Gi"}, {"192Mi", 192 * mib, 256, "1Gi"},
	} {
		list := release{name: "edge", namespace: "web", values: []string{fmt.Sprintf(
			"{resources: {limits: {memory: %s}, requests: {memory: 128Mi}}, config: {gateway: {max_requests: %d}}, persistence: {size: %s}}", c.limit, c.requests, c.size)}}.must(t)
		_, edge := list.edge(t)
		var goLimit int64
		for _, v := range edge.Env {
			if v.Name == "GOMEMLIMIT" {
				if err := yaml.Unmarshal([]byte(v.Value), &goLimit); err != nil {
					t.Fatal(err)
				}
			}
		}
		if goLimit > c.bytes*9/10 || goLimit < c.bytes*8/10 {
			t.Errorf("%s: GOMEMLIMIT is %d", c.limit, goLimit)
		}
		cache := settings(t, list).Cache
		beside := 96*mib + c.requests*56<<10 + cache.Disk/(64<<10)*54
		if needs := cache.Memory + cache.Memory/8 + beside; needs > goLimit || needs < goLimit-2*mib {
			t.Errorf("%s: a cache of %d needs %d, and the runtime may use %d", c.limit, cache.Memory, needs, goLimit)
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
		"{resources: {limits: {memory: 256Mi}, requests: {memory: 1}}}":                       "max_requests",
	} {
		if err := (release{name: "edge", namespace: "web", values: []string{values}}).refused(t); !strings.Contains(err, want) {
			t.Errorf("%s: %s", values, err)
		}
	}
}

// The page that the sizes are derived by says what an edge needs beside its cache.
func TestMemoryRuleIsTheEdges(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"`cache.memory` x 1.125 + 64 MiB", "32 MiB for answers that are made", "54 bytes for each block on disk", "56 KiB for each request that waits for content"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("docs/OPERATE.md has another rule for memory than the chart (templates/_sizes.tpl): it lacks %q", part)
		}
	}
}
