package chart

import (
	"strings"
	"testing"
)

// Helm allows release names of 53 characters, and an object may be named after the
// whole of it, the chart and more.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("a", 53)
	for _, values := range []string{"", "fullnameOverride: " + strings.Repeat("b", 80), "nameOverride: " + strings.Repeat("c", 80)} {
		for mode, more := range modes(t) {
			list, _, err := release{name: long, namespace: "web", values: []string{more, values}}.render()
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			checkNames(t, list)
		}
	}
}

// Releases side by side share nothing, however alike their names.
func TestTwoReleases(t *testing.T) {
	long := strings.Repeat("a", 52)
	for _, pair := range [][2]string{{"edge", "edge2"}, {"shoal", "shoal-shoal"}, {long + "b", long + "c"}, {"edge", "edge-headless"}} {
		seen := map[string]bool{}
		for _, name := range pair {
			for _, o := range (release{name: name, namespace: "web", values: []string{modes(t)["monitoring"], modes(t)["networkpolicy"], modes(t)["ingress"]}}).must(t) {
				key := o.kind + "/" + o.GetName()
				if seen[key] {
					t.Errorf("both %s have a %s", pair, key)
				}
				seen[key] = true
			}
		}
		first, _ := release{name: pair[0], namespace: "web"}.must(t).edge(t)
		second, _ := release{name: pair[1], namespace: "web"}.must(t).edge(t)
		if first.Spec.Selector.String() == second.Spec.Selector.String() {
			t.Errorf("%s select each other's Pods: %v", pair, first.Spec.Selector)
		}
	}
}

// A release named after the chart does not repeat the name.
func TestShortName(t *testing.T) {
	set, _ := release{name: "shoal", namespace: "web"}.must(t).edge(t)
	if set.Name != "shoal" {
		t.Errorf("the StatefulSet is named %s", set.Name)
	}
	set, _ = release{name: "edge", namespace: "web"}.must(t).edge(t)
	if set.Name != "edge-shoal" {
		t.Errorf("the StatefulSet is named %s", set.Name)
	}
}
