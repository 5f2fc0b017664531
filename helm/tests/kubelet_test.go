package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unmet returns what a kubelet would wait for before it started the Pod's containers:
// Secrets, ConfigMaps and keys of them that are named, not optional, and not there, and
// claims that are not.
func unmet(pod corev1.PodSpec, there objects) []string {
	k := &kubelet{there: there}
	for _, v := range pod.Volumes {
		k.volume(v)
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil {
				k.key("Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
			}
			if from := env.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
				k.key("ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
			}
		}
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil {
				k.items("Secret", from.SecretRef.Name, nil, from.SecretRef.Optional)
			}
			if from.ConfigMapRef != nil {
				k.items("ConfigMap", from.ConfigMapRef.Name, nil, from.ConfigMapRef.Optional)
			}
		}
	}
	return k.missing
}

type kubelet struct {
	there   objects
	missing []string
}

func (k *kubelet) volume(v corev1.Volume) {
	switch {
	case v.Secret != nil:
		k.items("Secret", v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.ConfigMap != nil:
		k.items("ConfigMap", v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.PersistentVolumeClaim != nil:
		if k.find("PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName) == nil {
			k.missing = append(k.missing, "PersistentVolumeClaim "+v.PersistentVolumeClaim.ClaimName)
		}
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				k.items("Secret", s.Secret.Name, s.Secret.Items, s.Secret.Optional)
			}
			if s.ConfigMap != nil {
				k.items("ConfigMap", s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
			}
		}
	}
}

// items looks for the keys that a volume names, or for the object alone if it names none.
func (k *kubelet) items(kind, name string, items []corev1.KeyToPath, optional *bool) {
	if len(items) == 0 {
		k.key(kind, name, "", optional)
	}
	for _, i := range items {
		k.key(kind, name, i.Key, optional)
	}
}

func (k *kubelet) key(kind, name, key string, optional *bool) {
	if optional != nil && *optional {
		return
	}
	switch o := k.find(kind, name).(type) {
	case *corev1.Secret:
		if _, ok := o.Data[key]; ok || key == "" {
			return
		}
	case *corev1.ConfigMap:
		if _, ok := o.Data[key]; ok || key == "" {
			return
		}
	}
	k.missing = append(k.missing, strings.TrimSuffix(fmt.Sprintf("%s %s: %s", kind, name, key), ": "))
}

func (k *kubelet) find(kind, name string) any {
	for _, o := range k.there {
		if o.kind == kind && o.GetName() == name {
			return o.of
		}
	}
	return nil
}

func secretOf(name string, data map[string][]byte) object {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "web"}, Data: data}
	return object{Object: s, kind: "Secret", of: s}
}

func objectsOf(first object, rest objects) objects { return append(objects{first}, rest...) }

// A Secret that a user makes needs what a fleet cannot do without, and nothing else.
func TestKeysOfASecret(t *testing.T) {
	list := release{name: "edge", namespace: "web", values: []string{"secrets: {existingSecret: fleet}"}}.must(t)
	set, _ := list.edge(t)
	pods := map[string]corev1.PodSpec{"edge": set.Spec.Template.Spec, "test": one[*corev1.Pod](t, list, "-test").Spec}
	both := map[string][]byte{"swarm-secret": nil, "admin-token": nil}
	for name, pod := range pods {
		if missing := unmet(pod, objectsOf(secretOf("fleet", both), list)); len(missing) > 0 {
			t.Errorf("%s's Pod waits for %q", name, missing)
		}
		if missing := unmet(pod, list); !slices.ContainsFunc(missing, func(s string) bool { return strings.HasPrefix(s, "Secret fleet") }) {
			t.Errorf("%s's Pod starts without the Secret", name)
		}
	}
	for key := range both {
		other := map[string][]byte{"pin-tokens": nil}
		for k := range both {
			if k != key {
				other[k] = nil
			}
		}
		if missing := unmet(pods["edge"], objectsOf(secretOf("fleet", other), list)); !slices.Contains(missing, "Secret fleet: "+key) {
			t.Errorf("an edge starts without %s: %q", key, missing)
		}
	}
}

// An edge starts with these two keys, and says that nobody may pin.
func TestSecretWithoutPinTokens(t *testing.T) {
	out, err := configCheck(t, release{name: "edge", namespace: "web", values: []string{"secrets: {existingSecret: fleet}"}}.must(t))
	if err != nil || !strings.Contains(out, "pin.token_file: /run/secrets/shoal/pin-tokens is not there, so it lets nobody pin") {
		t.Errorf("%v: %s", err, out)
	}
}
