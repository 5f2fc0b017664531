package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/yaml"
)

// Each of these is refused, and the error names what is wrong.
func TestValuesThatAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"replicas: 3":                                                        "replicas",
		"replicaCount: 0":                                                    "replicaCount",
		"replicaCount: three":                                                "replicaCount",
		"image: {repositry: x}":                                              "repositry",
		"image: {digest: sha256:abc}":                                        "digest",
		"image: {pullPolicy: Sometimes}":                                     "pullPolicy",
		"fullnameOverride: Edge_1":                                           "fullnameOverride",
		"terminationGracePeriodSeconds: 10":                                  "terminationGracePeriodSeconds",
		"drain: {marginSeconds: 0}":                                          "marginSeconds",
		"drain: {marginSeconds: -40}":                                        "marginSeconds",
		"drain: {timeoutSeconds: null}":                                      "timeoutSeconds",
		"drain: {timeoutSeconds: 30s}":                                       "timeoutSeconds",
		"drain: {timeoutSeconds: 0}":                                         "timeoutSeconds",
		"config: {gateway: {serve: everything}}":                             "serve",
		"config: {gateway: {shutdown_delay: 5s}}":                            "shutdown_delay",
		"config: {gateway: {listen: ':80'}}":                                 "listen",
		"config: {gateway: {retrieval_timeout: 30}}":                         "retrieval_timeout",
		"config: {gateway: {retrieval_timeout: 30 seconds}}":                 "retrieval_timeout",
		"config: {cache: {disk: 10GiB}}":                                     "cache",
		"config: {swarm: {secret: abc}}":                                     "secret",
		"config: {swarm: {peers: [edge-1]}}":                                 "peers",
		"config: {admin: {token: abc}}":                                      "admin",
		"config: {log: {level: loud}}":                                       "level",
		"config: {sites: [{host: 'www.example.org:80', content: dnslink}]}":  "host",
		"config: {sites: [{host: www.example.org}]}":                         "content",
		"config: {sites: [{host: www.example.org, content: bafy}]}":          "content",
		"config: {origins: [{type: ftp, url: 'ftp://x'}]}":                   "origins",
		"config: {origins: [{type: gateway, path: ./x}]}":                    "origins",
		"config: {origins: [{type: gateway, url: 'https://x', token: abc}]}": "origins",
		"persistence: {size: big}":                                           "size",
		"persistence: {existingClaim: blocks}":                               "replicaCount",
		"{replicaCount: 1, autoscaling: {enabled: true}, persistence: {existingClaim: blocks}}": "autoscaling",
		"persistence: {accessModes: []}":                                             "accessModes",
		"service: {type: ExternalName}":                                              "type",
		"service: {port: 70000}":                                                     "port",
		"ingress: {enabled: true}":                                                   "ingress.hosts",
		"httpRoute: {enabled: true, hostnames: [www.example.org]}":                   "parentRefs",
		"httpRoute: {enabled: true, parentRefs: [{name: public}]}":                   "httpRoute.hostnames",
		"podDisruptionBudget: {maxUnavailable: 0}":                                   "maxUnavailable",
		"autoscaling: {enabled: true, minReplicas: 11}":                              "minReplicas",
		"autoscaling: {enabled: true, targetCPUUtilizationPercentage: 0}":            "autoscaling",
		"livenessProbe: {httpGet: {path: /}}":                                        "httpGet",
		"monitoring: {rules: {availability: 100}}":                                   "availability",
		"monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}": "monitoring",
		"swarm: {listen: [/ip4/0.0.0.0/tcp/4002]}":                                   "listen",
		"extraArgs: --verbose":                                                       "extraArgs",
		"podAnnotations: {a: 1}":                                                     "podAnnotations",
	} {
		if err := (release{name: "edge", namespace: "web", values: []string{values}}).refused(t); !strings.Contains(err, want) {
			t.Errorf("%s: the error does not name %s: %s", values, want, err)
		}
	}
}

// A stop never outlasts the grace period, whatever the values: it is their sum, and
// the part beyond the drain cannot be taken away.
func TestGracePeriod(t *testing.T) {
	for _, values := range []string{
		"drain: {preStopSeconds: 0, shutdownDelaySeconds: 0, timeoutSeconds: 1, marginSeconds: 15}",
		"drain: {preStopSeconds: 60, shutdownDelaySeconds: 300, timeoutSeconds: 3600}",
	} {
		checkStop(t, release{name: "edge", namespace: "web", values: []string{values}}.must(t))
	}
}

// As part of another chart, with what Helm then passes on.
func TestAsDependency(t *testing.T) {
	own, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	r := release{name: "edge", namespace: "web", values: []string{"{global: {region: eu}, shoal: {enabled: true, replicaCount: 2}}"}}
	r.change = func(c *chart.Chart) {
		*c = chart.Chart{Metadata: &chart.Metadata{APIVersion: "v2", Name: "website", Version: "1.0.0", Dependencies: []*chart.Dependency{{Name: "shoal", Version: "*", Condition: "shoal.enabled"}}}}
		c.AddDependency(own)
	}
	set, _ := r.must(t).edge(t)
	if *set.Spec.Replicas != 2 {
		t.Errorf("%d replicas", *set.Spec.Replicas)
	}
}

// node is a JSON Schema.
type node struct {
	Ref                  string           `json:"$ref"`
	Type                 any              `json:"type"`
	Properties           map[string]*node `json:"properties"`
	AdditionalProperties any              `json:"additionalProperties"`
	Items                *node            `json:"items"`
	OneOf                []*node          `json:"oneOf"`
	Defs                 map[string]*node `json:"definitions"`
}

func readSchema(t *testing.T) *node {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	root := new(node)
	if err := json.Unmarshal(text, root); err != nil {
		t.Fatal(err)
	}
	return root
}

func (n *node) resolve(root *node) *node {
	if name, ok := strings.CutPrefix(n.Ref, "#/definitions/"); ok {
		return root.Defs[name]
	}
	return n
}

func readYAML(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// The schema and values.yaml have the same keys, and the schema admits no others.
func TestSchemaIsClosed(t *testing.T) {
	root := readSchema(t)
	var walk func(path string, n *node, value any)
	walk = func(path string, n *node, value any) {
		n = n.resolve(root)
		if n == nil {
			t.Fatalf("%s: a reference leads nowhere", path)
		}
		for _, one := range n.OneOf {
			walk(path, one, nil)
		}
		if n.Items != nil {
			walk(path+"[]", n.Items, nil)
		}
		if n.Properties == nil {
			return
		}
		if n.AdditionalProperties != false {
			t.Errorf("%s: the schema is open", path)
		}
		values, documented := value.(map[string]any)
		for key, child := range n.Properties {
			there, ok := values[key]
			if documented && !ok && !slices.Contains(undocumented, path+"."+key) && !strings.HasSuffix(path, "Probe") {
				t.Errorf("%s.%s is in the schema and not in values.yaml", path, key)
			}
			walk(path+"."+key, child, there)
		}
		for key := range values {
			if n.Properties[key] == nil {
				t.Errorf("%s.%s is in values.yaml and not in the schema", path, key)
			}
		}
	}
	walk("", root, readYAML(t, filepath.Join(chartDir, "values.yaml")))
}

// undocumented are the keys that values.yaml leaves out: those that Helm sets
// itself, and those of Kubernetes' own types.
var undocumented = []string{".global", ".enabled", ".resources.claims", ".updateStrategy.rollingUpdate", ".httpRoute.timeouts.request", ".httpRoute.timeouts.backendRequest"}

// decided are the edge's settings that the chart decides; each is a value of its
// own or follows from one.
var decided = []string{
	"name", "data", "gateway.listen", "gateway.shutdown_delay", "gateway.drain_timeout", "cache.memory", "cache.disk",
	"swarm.listen", "swarm.secret", "swarm.secret_file", "swarm.dns", "swarm.zone", "admin.listen", "admin.token", "admin.token_file", "pin.tokens", "pin.token_file",
}

// differs are the defaults that are other ones in a cluster: logs are read by
// machines, and localhost is added by the chart.
var differs = []string{"log.format", "gateway.hosts"}

// Every setting of the edge can be set by the chart, or is decided by it, and no
// setting is made up. A setting that is new in config.yaml belongs into
// values.yaml and the schema below config, or into the list above.
func TestEverySettingOfTheEdge(t *testing.T) {
	root := readSchema(t)
	offered := map[string]any{}
	values := readYAML(t, filepath.Join(chartDir, "values.yaml"))["config"].(map[string]any)
	settings := leaves("", readYAML(t, "../../config.yaml"))
	for key, value := range leaves("", values) {
		offered[key] = value
	}
	for key, value := range settings {
		there, ok := offered[key]
		switch {
		case ok == slices.Contains(decided, key):
			t.Errorf("%s: offered: %t, decided by the chart: %t; expected one of the two", key, ok, !ok)
		case ok && !slices.Contains(differs, key) && !same(there, value):
			t.Errorf("config.%s defaults to %v, and in the edge to %v", key, there, value)
		}
		delete(offered, key)
	}
	for key := range offered {
		t.Errorf("config.%s is no setting of the edge", key)
	}
	for _, key := range decided {
		n := root.Properties["config"]
		for part := range strings.SplitSeq(key, ".") {
			if n = n.Properties[part]; n == nil {
				break
			}
		}
		if n != nil {
			t.Errorf("config.%s is decided by the chart and yet can be set", key)
		}
	}
}

func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// leaves returns the values of a tree by their dotted keys.
func leaves(prefix string, tree map[string]any) map[string]any {
	all := map[string]any{}
	for key, value := range tree {
		if sub, ok := value.(map[string]any); ok {
			for k, v := range leaves(prefix+key+".", sub) {
				all[k] = v
			}
			continue
		}
		all[prefix+key] = value
	}
	return all
}
