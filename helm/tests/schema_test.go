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
		"persistence: {size: big}":                                           "/persistence/size': 'big' does not match",
		"persistence: {size: 20GiB}":                                         "/persistence/size': '20GiB' does not match",
		"persistence: {size: 20ki}":                                          "/persistence/size': '20ki' does not match",
		"persistence: {size: 20}":                                            "persistence.size: 20 is 20 bytes",
		"persistence: {size: 100Ti}":                                         "persistence.size: 100Ti",
		"cache: {disk: 10GiB}":                                               "/cache/disk': '10GiB' does not match",
		"cache: {disk: 1Mi}":                                                 "cache.disk: 1Mi",
		"resources: {limits: {memory: 1GiB}}":                                `resources.limits.memory: "1GiB" is not a size as Kubernetes writes it`,
		"persistence: {existingClaim: blocks}":                               "replicaCount: 3, and persistence.existingClaim names the one claim blocks",
		"{replicaCount: 1, autoscaling: {enabled: true}, persistence: {existingClaim: blocks}}":       "autoscaling.enabled: true, and persistence.existingClaim names the one claim blocks",
		"config: {sites: [{host: a.example, content: dnslink}, {host: a.example, content: dnslink}]}": "config.sites: a.example is listed twice",
		"config: {gateway: {hosts: [{host: a.example}, {host: a.example}]}}":                          "config.gateway.hosts: a.example is listed twice",
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
		"monitoring: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}": "serviceMonitor.enabled and podMonitor.enabled are both true",
		"swarm: {listen: [/ip4/0.0.0.0/tcp/4002]}":                                   "listen",
		"extraArgs: --verbose":                                                       "extraArgs",
		"podAnnotations: {a: 1}":                                                     "podAnnotations",
	} {
		if err := (release{name: "edge", namespace: "web", values: []string{values}}).refused(t); !strings.Contains(err, want) {
			t.Errorf("%s: the error does not name %s: %s", values, want, err)
		}
	}
}

// What the edge would refuse at its start, and so again and again, is refused before it
// is installed: the schema knows what config.yaml may hold.
func TestWhatTheEdgeRefuses(t *testing.T) {
	const (
		root = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
		peer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
	)
	site := func(content string) string {
		return "{sites: [{host: www.example.org, content: '" + content + "'}]}"
	}
	for _, good := range []string{
		site("dnslink"), site("/ipns/example.org/docs"), site("/ipfs/" + root), site("/ipfs/" + root + "/docs/"),
		site("/ipfs/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5"),                            // version 0
		site("/ipfs/bafkreichelxq6weuf7mxksv7q6ls4rfa6u7tqca5xm3rxateuq757xvdje"),               // one raw block
		site("/ipfs/bafyb4ihkr4ld3m4gqkjf4reryxsy2s5tkbxprqkow6fin2iiyvreuzzab4"),               // blake3
		site("/ipfs/bafykbzaceaze3tycpxkkgcutfrcb6ns2exugwfz556slrzmjjasti4nydnzm6"),            // blake2b-256
		site("/ipfs/baguqeeraftze3os7wcrq4jxihmvmlopctynrmhs4d6tuexttaqzwfe4ltasa"),             // dag-json
		site("/ipfs/f017012202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"), // base16
		site("/ipfs/k2jmtxshftbvrdof1z3qg5p2h3ikoogqns7mwkrp24dbii8uaksgjg2s"),                  // base36
		site("/ipfs/zdj7WYTMK4sruVkwxCfEt7fDPkt4Q6r7p2poE7L2HBuoWHcd1"),                         // base58
		"{gateway: {trusted_proxies: [10.0.0.0/8, 192.0.2.7, 'fd00::/8', '::1', '::ffff:192.0.2.0/120']}}",
		"{gateway: {hosts: [{host: gw-1.example.org}, {host: localhost}]}}",
		"{gateway: {retrieval_timeout: 1m30s}, pin: {grace: 0.5h}}",
		"{names: {resolvers: ['https://dns.example/dns-query{?dns}'], ipns_gateway: 'http://[::1]:8080'}}",
		"{origins: [{type: gateway, url: 'https://me:pw@gateway.example:8443/base'}, {type: bitswap, addr: /dns4/kubo.example/tcp/4001/p2p/" + peer + "}, {type: bitswap, addr: /ip4/192.0.2.7/udp/4001/quic-v1/p2p/" + peer + "}]}",
		"{swarm: {peers: ['edge-1@10.0.0.7:4001', 'edge-2@[::1]:4001'], allow: [" + peer + ", QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN]}}",
		"{swarm: {announce: [/dns/swarm.example/tcp/4001, /ip6/2001:db8::1/udp/4001/quic-v1]}}",
	} {
		r := release{name: "edge", namespace: "web", values: []string{"config: " + good}}
		if out, err := configCheck(t, r.must(t)); err != nil {
			t.Errorf("%s: the chart takes it and the edge does not: %v: %s", good, err, out)
		}
	}
	for _, bad := range []string{
		site("/ipfs/bafybei..."), site("/ipfs/CID"), site("/ipfs/" + root[:58]), site("/ipfs/" + root + "a"),
		site("/ipfs/" + strings.Replace(root, "g", "1", 1)), site("/ipfs/" + root + " "), site("/ipfs/Qm123"), site("/ipfs/"), site("/ipns/"), site(root), site("https://example.org"),
		"{sites: [{host: www..example.org, content: dnslink}]}",
		"{gateway: {trusted_proxies: [10.0.0.0/33]}}", "{gateway: {trusted_proxies: [10.0.0.256]}}", "{gateway: {trusted_proxies: ['fd00::/129']}}", "{gateway: {trusted_proxies: [proxy.example]}}",
		"{gateway: {retrieval_timeout: 0s}}", "{pin: {grace: 0m0s}}",
		"{names: {resolvers: ['https://']}}", "{names: {ipns_gateway: 'https:///x'}}",
		"{origins: [{type: gateway, url: 'https://'}]}", "{origins: [{type: gateway, url: 'https://gateway.example/?a=b'}]}", "{origins: [{type: bitswap, addr: /ip4/192.0.2.7/tcp/4001/p2p/nobody}]}",
		"{swarm: {peers: ['edge 1@10.0.0.7:4001']}}", "{swarm: {peers: ['edge-1@10.0.0.7:0']}}", "{swarm: {allow: [nobody]}}", "{swarm: {announce: ['10.0.0.7:4001']}}",
	} {
		r := release{name: "edge", namespace: "web", values: []string{"config: " + bad}}
		r.refused(t)
		r.change = func(c *chart.Chart) { c.Schema = nil }
		if out, err := configCheck(t, r.must(t)); err == nil {
			t.Errorf("%s: the chart refuses it and the edge does not: %s", bad, out)
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
