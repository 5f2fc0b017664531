package chart

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// admits reports whether a rule of the policy lets a Pod of the same namespace with
// these labels in at a port.
func admits(policy *networkingv1.NetworkPolicy, port string, pod map[string]string) bool {
	for _, rule := range policy.Spec.Ingress {
		if !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.String() == port }) {
			continue
		}
		if len(rule.From) == 0 {
			return true
		}
		for _, peer := range rule.From {
			if peer.PodSelector != nil && peer.NamespaceSelector == nil && labels.SelectorFromSet(peer.PodSelector.MatchLabels).Matches(labels.Set(pod)) {
				return true
			}
		}
	}
	return false
}

func TestWhoMayReachWhat(t *testing.T) {
	for _, c := range []struct {
		values           string
		strangerMayVisit bool
	}{
		{"networkPolicy: {enabled: true}", true},
		{"networkPolicy: {enabled: true, clients: [{ipBlock: {cidr: 10.0.0.0/8}}]}", false},
	} {
		list := release{name: "edge", namespace: "web", values: []string{c.values}}.must(t)
		rules := one[*networkingv1.NetworkPolicy](t, list, "")
		set, _ := list.edge(t)
		edge, test, stranger := set.Spec.Template.Labels, one[*corev1.Pod](t, list, "-test").Labels, map[string]string{"app": "other"}
		if !labels.SelectorFromSet(rules.Spec.PodSelector.MatchLabels).Matches(labels.Set(edge)) || len(rules.Spec.PolicyTypes) != 2 {
			t.Errorf("%s: the policy is not for the edges", c.values)
		}
		for _, want := range []struct {
			port string
			pod  map[string]string
			may  bool
		}{
			{"http", stranger, c.strangerMayVisit}, {"http", test, true},
			{"swarm", edge, true}, {"swarm", stranger, false}, {"swarm", test, false},
			{"swarm-probes", edge, true}, {"swarm-probes", stranger, false},
			{"admin", test, true}, {"admin", stranger, false},
		} {
			if got := admits(rules, want.port, want.pod); got != want.may {
				t.Errorf("%s: %s to %v: %t", c.values, want.port, want.pod, got)
			}
		}
	}
}

// The policy opens the ports of the origins, resolvers and outside siblings that
// are configured, and no others.
func TestPortsToTheOutside(t *testing.T) {
	for values, want := range map[string][]int{
		"": nil,
		"config: {origins: [{type: car, path: /archives}]}":                                                                       nil,
		"config: {origins: [{type: gateway, url: 'https://gateway.example'}]}":                                                    {443},
		"config: {origins: [{type: gateway, url: 'http://gateway.example'}, {type: gateway, url: 'http://[::1]:8088/x'}]}":        {80, 8088},
		"config: {origins: [{type: bitswap, addr: /dns/kubo/tcp/4009/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA}]}": {4009},
		"config: {names: {resolvers: ['https://dns.example/dns-query'], ipns_gateway: 'https://ipns.example:8443'}}":              {443, 8443},
		"config: {swarm: {peers: ['a@b.example:4011']}}":                                                                          {4011, 4011}, // TCP and UDP
		"{networkPolicy: {originPorts: [9000]}, config: {names: {resolvers: ['https://dns.example/dns-query']}}}":                 {9000},
	} {
		list := release{name: "edge", namespace: "web", values: []string{"networkPolicy: {enabled: true}", values}}.must(t)
		var got []int
		for _, rule := range one[*networkingv1.NetworkPolicy](t, list, "").Spec.Egress[2:] {
			for _, p := range rule.Ports {
				got = append(got, p.Port.IntValue())
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: ports %v, expected %v", values, got, want)
		}
	}
}

// Without hosts of its own, an Ingress or a route has those of the sites.
func TestHostsFollowTheSites(t *testing.T) {
	sites := "config: {sites: [{host: a.example, content: dnslink}, {host: b.example, content: dnslink}]}"
	list := release{name: "edge", namespace: "web", values: []string{sites, "{ingress: {enabled: true}, httpRoute: {enabled: true, parentRefs: [{name: public}]}}"}}.must(t)
	var hosts []string
	for _, rule := range one[*networkingv1.Ingress](t, list, "").Spec.Rules {
		hosts = append(hosts, rule.Host)
		if b := rule.HTTP.Paths[0].Backend.Service; b.Name != "edge-shoal" || b.Port.Name != "http" {
			t.Errorf("the Ingress leads to %v", b)
		}
	}
	if !slices.Equal(hosts, []string{"a.example", "b.example"}) {
		t.Errorf("the Ingress is for %v", hosts)
	}
	route := one[*gatewayv1.HTTPRoute](t, list, "")
	if !slices.Equal(route.Spec.Hostnames, []gatewayv1.Hostname{"a.example", "b.example"}) {
		t.Errorf("the route is for %v", route.Spec.Hostnames)
	}
	if b := route.Spec.Rules[0].BackendRefs[0]; b.Name != "edge-shoal" || *b.Port != 80 {
		t.Errorf("the route leads to %v", b)
	}
}
