package chart

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// asStored returns the Secret of a release as the cluster has it afterwards.
func asStored(t *testing.T, list objects) (*corev1.Secret, []runtime.Object) {
	t.Helper()
	secret := one[*corev1.Secret](t, list, "")
	return secret, []runtime.Object{secret.DeepCopy()}
}

func TestSecretIsMadeOnce(t *testing.T) {
	first := release{name: "edge", namespace: "web"}
	made, there := asStored(t, first.must(t))
	for _, key := range []string{"swarm-secret", "admin-token"} {
		if len(made.Data[key]) < 32 {
			t.Errorf("%s has %d characters, expected at least 32", key, len(made.Data[key]))
		}
	}
	if string(made.Data["swarm-secret"]) == string(made.Data["admin-token"]) {
		t.Error("the two secrets are the same")
	}
	other, _ := asStored(t, release{name: "other", namespace: "web", there: there}.must(t))
	if string(other.Data["swarm-secret"]) == string(made.Data["swarm-secret"]) {
		t.Error("two releases share a secret")
	}
	again := first
	again.there = there
	kept, _ := asStored(t, again.must(t))
	if !reflect.DeepEqual(kept.Data, made.Data) {
		t.Error("an upgrade changed the secret")
	}
}

// A key that is missing is added, and the other one stays.
func TestSecretIsCompleted(t *testing.T) {
	r := release{name: "edge", namespace: "web"}
	made, there := asStored(t, r.must(t))
	delete(there[0].(*corev1.Secret).Data, "admin-token")
	r.there = there
	kept, _ := asStored(t, r.must(t))
	if string(kept.Data["swarm-secret"]) != string(made.Data["swarm-secret"]) || len(kept.Data["admin-token"]) < 32 {
		t.Errorf("kept %v", slicesOf(kept.Data))
	}
}

func slicesOf(m map[string][]byte) (keys []string) {
	for k := range maps.Keys(m) {
		keys = append(keys, k)
	}
	return keys
}

func TestExistingSecret(t *testing.T) {
	list := release{name: "edge", namespace: "web", values: []string{modes(t)["existing-secret"]}}.must(t)
	if list.has("Secret") {
		t.Error("a Secret was made although one was given")
	}
	set, edge := list.edge(t)
	fleet := secretOf("fleet", map[string][]byte{"secret": nil, "token": nil})
	if missing := unmet(set.Spec.Template.Spec, objectsOf(fleet, list)); len(missing) > 0 {
		t.Errorf("a kubelet would wait for %q", missing)
	}
	for _, v := range set.Spec.Template.Spec.Volumes {
		if v.Name == "secrets" && *v.Projected.DefaultMode != 0o440 {
			t.Errorf("the Secret's files have mode %o", *v.Projected.DefaultMode)
		}
	}
	for _, v := range edge.Env {
		if v.Name == "SHOAL_TOKEN" && (v.ValueFrom.SecretKeyRef.Name != "fleet" || v.ValueFrom.SecretKeyRef.Key != "token") {
			t.Errorf("the given Secret is not used: %+v", v.ValueFrom)
		}
	}
}

// Secrets appear in Secrets and nowhere else.
func TestSecretsStayInSecrets(t *testing.T) {
	for name, values := range modes(t) {
		list := release{name: "edge", namespace: "web", values: []string{values}}.must(t)
		if !list.has("Secret") {
			continue
		}
		secret := one[*corev1.Secret](t, list, "")
		for _, o := range list {
			for key, value := range secret.Data {
				if o.kind != "Secret" && strings.Contains(o.yaml, string(value)) {
					t.Errorf("%s: %s %s holds %s", name, o.kind, o.GetName(), key)
				}
			}
		}
	}
}

// An upgrade that changes nothing changes no object, and so restarts no Pod.
func TestUpgradeWithoutChange(t *testing.T) {
	for name, values := range modes(t) {
		r := release{name: "edge", namespace: "web", values: []string{values}}
		before := r.must(t)
		if before.has("Secret") {
			_, r.there = asStored(t, before)
		}
		after := r.must(t)
		for i := range before {
			if !reflect.DeepEqual(before[i].of, after[i].of) {
				t.Errorf("%s: %s %s changed:\n%s\n%s", name, before[i].kind, before[i].GetName(), before[i].yaml, after[i].yaml)
			}
		}
	}
}

// A new version of the chart or of the edge leaves alone what cannot be changed;
// a new version of the chart alone restarts no Pod.
func TestVersions(t *testing.T) {
	for name, values := range modes(t) {
		r := release{name: "edge", namespace: "web", values: []string{values}}
		before, _ := r.must(t).edge(t)
		r.change = func(c *chart.Chart) { c.Metadata.Version = "9.9.9+build.7" }
		next := r.must(t)
		checkNames(t, next)
		after, _ := next.edge(t)
		if !reflect.DeepEqual(before.Spec, after.Spec) {
			t.Errorf("%s: the chart's version changes the StatefulSet", name)
		}
		r.change = func(c *chart.Chart) { c.Metadata.Version, c.Metadata.AppVersion = "9.9.9", "9.9.9" }
		next = r.must(t)
		after, edge := next.edge(t)
		if values != modes(t)["extras"] && !strings.HasSuffix(edge.Image, ":9.9.9") {
			t.Errorf("%s: the image is %s", name, edge.Image)
		}
		if !reflect.DeepEqual(before.Spec.Selector, after.Spec.Selector) || !reflect.DeepEqual(before.Spec.VolumeClaimTemplates, after.Spec.VolumeClaimTemplates) ||
			!reflect.DeepEqual(before.Spec.Template.Labels, after.Spec.Template.Labels) || before.Spec.ServiceName != after.Spec.ServiceName {
			t.Errorf("%s: a version is in what cannot be changed", name)
		}
	}
}

// An autoscaler that is switched on, or at work, finds as many edges as there were.
func TestAutoscalerKeepsReplicas(t *testing.T) {
	r := release{name: "edge", namespace: "web", values: []string{"replicaCount: 5"}}
	before, _ := r.must(t).edge(t)
	r.there = []runtime.Object{before.DeepCopy()}
	r.values = []string{"autoscaling: {enabled: true}"}
	after, _ := r.must(t).edge(t)
	if after.Spec.Replicas == nil || *after.Spec.Replicas != 5 {
		t.Errorf("replicas: %v, expected the 5 that are there", after.Spec.Replicas)
	}
}

// Labels that a user adds later do not reach what cannot be changed.
func TestAddedLabels(t *testing.T) {
	r := release{name: "edge", namespace: "web"}
	before, _ := r.must(t).edge(t)
	r.values = []string{"{commonLabels: {team: web}, podLabels: {app.kubernetes.io/component: mine}}"}
	after, _ := r.must(t).edge(t)
	if !reflect.DeepEqual(before.Spec.Selector, after.Spec.Selector) || !reflect.DeepEqual(before.Spec.VolumeClaimTemplates, after.Spec.VolumeClaimTemplates) {
		t.Error("a user's label is in a selector or a claim")
	}
	if after.Spec.Template.Labels["app.kubernetes.io/component"] != "edge" || after.Spec.Template.Labels["team"] != "web" {
		t.Errorf("the Pods are labelled %v", after.Spec.Template.Labels)
	}
}

// A change of the settings restarts the Pods, because they read them at the start.
func TestSettingsRestart(t *testing.T) {
	checksum := func(values string) string {
		set, _ := release{name: "edge", namespace: "web", values: []string{values}}.must(t).edge(t)
		return set.Spec.Template.Annotations["checksum/config"]
	}
	if checksum("") == checksum("config: {gateway: {serve: any}}") {
		t.Error("another setting, and the Pods stay as they are")
	}
	if checksum("restartOnConfigChange: false") != "" {
		t.Error("the Pods restart although they are not to")
	}
	if checksum("") != checksum("service: {port: 8080}") {
		t.Error("the Pods restart for the port of a Service")
	}
}
