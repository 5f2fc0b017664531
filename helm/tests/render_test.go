package chart

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// chartDir is the chart; the tests are in a folder of it.
const chartDir = ".."

// A release is what a user asks Helm for.
type release struct {
	name, namespace string
	// values are YAML, each over the ones before it.
	values []string
	// kube is the cluster's version; "" is a recent one.
	kube string
	// there are the objects of the cluster that lookup finds.
	there []runtime.Object
	// dir is where the chart is; "" is chartDir.
	dir string
	// change is applied to the chart before it is rendered.
	change func(*chart.Chart)
}

// object is an object of the output: decoded, with the metadata at hand.
type object struct {
	metav1.Object
	kind string
	of   any
	yaml string
}

// objects are those of one release, in the order of their templates.
type objects []object

// render returns what Helm would apply, or its error. Test hooks are included.
func (r release) render() (objects, string, error) {
	c, err := loader.LoadDir(cmp.Or(r.dir, chartDir))
	if err != nil {
		return nil, "", err
	}
	if r.change != nil {
		r.change(c)
	}
	values := map[string]any{}
	for _, text := range r.values {
		over := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &over); err != nil {
			return nil, "", err
		}
		values = chartutil.CoalesceTables(over, values)
	}
	kube := r.kube
	if kube == "" {
		kube = "v1.35.0"
	}
	version, err := chartutil.ParseKubeVersion(kube)
	if err != nil {
		return nil, "", err
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, version.Version) {
		return nil, "", fmt.Errorf("chart requires kubeVersion: %s, which is incompatible with %s", c.Metadata.KubeVersion, version)
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return nil, "", err
	}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: r.name, Namespace: r.namespace, Revision: 1, IsInstall: true}, capabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.RenderWithClientProvider(c, all, cluster(r.there))
	if err != nil {
		return nil, "", err
	}
	var list objects
	var notes string
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(path, "NOTES.txt") {
			notes = files[path]
			continue
		}
		for text := range strings.SplitSeq(files[path], "\n---") {
			if strings.TrimSpace(text) == "" {
				continue
			}
			o, err := decode(text)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w\n%s", path, err, text)
			}
			list = append(list, o)
		}
	}
	return list, notes, nil
}

// must renders a release that is expected to be fine.
func (r release) must(t *testing.T) objects {
	t.Helper()
	list, _, err := r.render()
	if err != nil {
		t.Fatalf("render %s: %v", r.name, err)
	}
	return list
}

// refused renders a release that is expected to be an error, and returns it.
func (r release) refused(t *testing.T) string {
	t.Helper()
	_, _, err := r.render()
	if err == nil {
		t.Fatalf("%s was rendered; expected an error", r.values)
	}
	return err.Error()
}

// grafanaDashboard is the part of the Grafana operator's type that the chart uses.
type grafanaDashboard struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		AllowCrossNamespaceImport bool                         `json:"allowCrossNamespaceImport"`
		ResyncPeriod              metav1.Duration              `json:"resyncPeriod"`
		Folder                    string                       `json:"folder"`
		InstanceSelector          *metav1.LabelSelector        `json:"instanceSelector"`
		ConfigMapRef              *corev1.ConfigMapKeySelector `json:"configMapRef"`
	} `json:"spec"`
}

// decode reads one document into its type. A field that the type does not have is
// an error, as is one that is given twice.
func decode(text string) (object, error) {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		return object{}, err
	}
	types := map[string]metav1.Object{
		"v1/ConfigMap":                                     new(corev1.ConfigMap),
		"v1/Secret":                                        new(corev1.Secret),
		"v1/PersistentVolumeClaim":                         new(corev1.PersistentVolumeClaim),
		"v1/Service":                                       new(corev1.Service),
		"v1/ServiceAccount":                                new(corev1.ServiceAccount),
		"v1/Pod":                                           new(corev1.Pod),
		"apps/v1/StatefulSet":                              new(appsv1.StatefulSet),
		"autoscaling/v2/HorizontalPodAutoscaler":           new(autoscalingv2.HorizontalPodAutoscaler),
		"policy/v1/PodDisruptionBudget":                    new(policyv1.PodDisruptionBudget),
		"networking.k8s.io/v1/Ingress":                     new(networkingv1.Ingress),
		"networking.k8s.io/v1/NetworkPolicy":               new(networkingv1.NetworkPolicy),
		"gateway.networking.k8s.io/v1/HTTPRoute":           new(gatewayv1.HTTPRoute),
		"monitoring.coreos.com/v1/ServiceMonitor":          new(monitoringv1.ServiceMonitor),
		"monitoring.coreos.com/v1/PodMonitor":              new(monitoringv1.PodMonitor),
		"monitoring.coreos.com/v1/PrometheusRule":          new(monitoringv1.PrometheusRule),
		"grafana.integreatly.org/v1beta1/GrafanaDashboard": new(grafanaDashboard),
	}
	o, ok := types[head.APIVersion+"/"+head.Kind]
	if !ok {
		return object{}, fmt.Errorf("%s %s: no such kind is expected", head.APIVersion, head.Kind)
	}
	err := yaml.UnmarshalStrict([]byte(text), o)
	return object{Object: o, kind: head.Kind, of: o, yaml: text}, err
}

// one returns the only object of its type whose name ends in suffix.
func one[T any](t *testing.T, list objects, suffix string) T {
	t.Helper()
	var found []T
	for _, o := range list {
		if of, ok := o.of.(T); ok && strings.HasSuffix(o.GetName(), suffix) {
			found = append(found, of)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects %T named ...%s; expected one", len(found), *new(T), suffix)
	}
	return found[0]
}

// has reports whether there is an object of a kind.
func (l objects) has(kind string) bool {
	return slices.ContainsFunc(l, func(o object) bool { return o.kind == kind })
}

// edge returns the StatefulSet and its container.
func (l objects) edge(t *testing.T) (*appsv1.StatefulSet, corev1.Container) {
	t.Helper()
	set := one[*appsv1.StatefulSet](t, l, "")
	i := slices.IndexFunc(set.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == "shoal" })
	if i < 0 {
		t.Fatal("no container is named shoal")
	}
	return set, set.Spec.Template.Spec.Containers[i]
}

// sets returns the StatefulSets.
func sets(l objects) (list []*appsv1.StatefulSet) {
	for _, o := range l {
		if set, ok := o.of.(*appsv1.StatefulSet); ok {
			list = append(list, set)
		}
	}
	return list
}

// modes returns the values of each file in ci/, by name.
func modes(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no values in ci/: %v", err)
	}
	all := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), "-values.yaml")] = string(text)
	}
	return all
}

// clusterObjects is a cluster that holds the given objects and nothing else.
type clusterObjects struct{ client dynamic.Interface }

func cluster(there []runtime.Object) engine.ClientProvider {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return clusterObjects{fake.NewSimpleDynamicClient(scheme, there...)}
}

// GetClientFor implements engine.ClientProvider, for what the chart may look up.
func (c clusterObjects) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	switch apiVersion + "/" + kind {
	case "v1/Secret":
		return c.client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")), true, nil
	case "apps/v1/StatefulSet":
		return c.client.Resource(appsv1.SchemeGroupVersion.WithResource("statefulsets")), true, nil
	}
	return nil, false, fmt.Errorf("lookup of %s %s: a user may not be allowed to read that", apiVersion, kind)
}
