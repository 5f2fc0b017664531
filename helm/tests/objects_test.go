package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Every mode is rendered, and what holds for all of them is looked at in each.
func TestModes(t *testing.T) {
	for name, values := range modes(t) {
		t.Run(name, func(t *testing.T) {
			for _, kube := range []string{"v1.30.0", "v1.35.0"} {
				list := release{name: "edge", namespace: "web", values: []string{values}, kube: kube}.must(t)
				checkNames(t, list)
				checkPods(t, list)
				checkDoors(t, list)
				checkStop(t, list)
			}
		})
	}
}

// checkNames looks at every name and label as the API server would.
func checkNames(t *testing.T, list objects) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range list {
		key := o.kind + " " + o.GetName()
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		valid := validation.IsDNS1123Subdomain
		if o.kind == "Service" {
			valid = validation.IsDNS1035Label
		}
		for _, wrong := range valid(o.GetName()) {
			t.Errorf("%s: %s", key, wrong)
		}
		if o.GetNamespace() != "web" {
			t.Errorf("%s is in namespace %q", key, o.GetNamespace())
		}
		checkLabels(t, key, o.GetLabels())
		if o.GetLabels()["app.kubernetes.io/instance"] == "" || o.GetLabels()["helm.sh/chart"] == "" {
			t.Errorf("%s lacks the usual labels: %v", key, o.GetLabels())
		}
	}
	set, _ := list.edge(t)
	checkLabels(t, "Pod", set.Spec.Template.Labels)
	// The controller names a revision after the set and puts it into a label.
	checkLabels(t, "Pod", map[string]string{"controller-revision-hash": set.Name + "-5d8f9c6b7f", "statefulset.kubernetes.io/pod-name": set.Name + "-999"})
}

func checkLabels(t *testing.T, of string, list map[string]string) {
	t.Helper()
	for key, value := range list {
		for _, wrong := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
			t.Errorf("%s: label %s=%s: %s", of, key, value, wrong)
		}
	}
}

// checkPods puts every Pod to the restricted Pod Security Standard, with the
// checks of the admission controller itself.
func checkPods(t *testing.T, list objects) {
	t.Helper()
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	set, edge := list.edge(t)
	pods := map[string]corev1.PodSpec{"edge": *set.Spec.Template.Spec.DeepCopy()}
	if list.has("Pod") {
		pods["test"] = one[*corev1.Pod](t, list, "-test").Spec
	}
	for name, spec := range pods {
		// What a user adds is the user's.
		spec.InitContainers = slices.DeleteFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == "hello" })
		spec.Containers = slices.DeleteFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "side" })
		for _, r := range checks.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &set.Spec.Template.ObjectMeta, &spec) {
			if !r.Allowed {
				t.Errorf("%s's Pod: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s's Pod gets a token of the Kubernetes API", name)
		}
		if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
			t.Errorf("%s's Pod gets variables of Services, which look like settings", name)
		}
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("%s: the root file system can be written", c.Name)
			}
		}
	}
	for name, probe := range map[string]*corev1.Probe{"startup": edge.StartupProbe, "readiness": edge.ReadinessProbe, "liveness": edge.LivenessProbe} {
		want := "/healthz"
		if name == "readiness" {
			want = "/readyz"
		}
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != want || probe.HTTPGet.Port.String() != "admin" {
			t.Errorf("%s probe: %v", name, probe)
		}
	}
}

// checkDoors looks at which ports can be reached by which Service.
func checkDoors(t *testing.T, list objects) {
	t.Helper()
	set, edge := list.edge(t)
	ports := map[string]int32{}
	for _, p := range edge.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if want := map[string]int32{"http": 8080, "admin": 8081, "swarm": 4001, "swarm-probes": 4001}; !maps.Equal(ports, want) {
		t.Errorf("ports %v, expected %v", ports, want)
	}
	pod := labels.Set(set.Spec.Template.Labels)
	if !labels.SelectorFromSet(set.Spec.Selector.MatchLabels).Matches(pod) {
		t.Errorf("the StatefulSet does not select its own Pods: %v, %v", set.Spec.Selector.MatchLabels, pod)
	}
	for _, o := range list {
		service, ok := o.of.(*corev1.Service)
		if !ok {
			continue
		}
		if !labels.SelectorFromSet(service.Spec.Selector).Matches(pod) {
			t.Errorf("Service %s selects nothing: %v", service.Name, service.Spec.Selector)
		}
		if list.has("Pod") && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(one[*corev1.Pod](t, list, "-test").Labels)) {
			t.Errorf("Service %s sends visitors to the test", service.Name)
		}
		checkService(t, set, service)
	}
}

func checkService(t *testing.T, set *appsv1.StatefulSet, service *corev1.Service) {
	t.Helper()
	var targets []string
	for _, p := range service.Spec.Ports {
		targets = append(targets, p.TargetPort.String())
	}
	want, spec := []string{"http"}, service.Spec
	switch service.Name {
	case set.Spec.ServiceName:
		// An SRV query for the Service's name answers with all of its ports, and the
		// edge takes each for a sibling; it asks for the port "swarm" by name, too.
		want = []string{"swarm"}
		if spec.ClusterIP != "None" || !spec.PublishNotReadyAddresses || spec.Ports[0].Name != "swarm" || spec.Ports[0].Protocol != corev1.ProtocolTCP {
			t.Errorf("Service %s does not let edges find each other: %+v", service.Name, spec)
		}
	case set.Name + "-admin":
		want = []string{"admin"}
		if spec.Type != corev1.ServiceTypeClusterIP || len(spec.ExternalIPs) > 0 {
			t.Errorf("the admin API is not cluster-internal: %s", spec.Type)
		}
	}
	if !slices.Equal(targets, want) {
		t.Errorf("Service %s leads to %v, expected %v", service.Name, targets, want)
	}
}

// checkStop looks at the time that an edge has to stop in.
func checkStop(t *testing.T, list objects) {
	t.Helper()
	set, edge := list.edge(t)
	config := settings(t, list)
	stop := config.Gateway.ShutdownDelay.Duration + config.Gateway.DrainTimeout.Duration
	if edge.Lifecycle != nil {
		stop += seconds(edge.Lifecycle.PreStop.Sleep.Seconds)
	}
	if grace := seconds(*set.Spec.Template.Spec.TerminationGracePeriodSeconds); grace < stop+seconds(15) {
		t.Errorf("the grace period is %s, and a stop takes up to %s and something", grace, stop)
	}
}

func TestReplicasAndBudget(t *testing.T) {
	for _, c := range []struct {
		values string
		budget bool
	}{
		{"replicaCount: 1", false},
		{"replicaCount: 2", true},
		{"{replicaCount: 2, podDisruptionBudget: {enabled: false}}", false},
		{"autoscaling: {enabled: true, minReplicas: 1}", false},
		{"{replicaCount: 1, autoscaling: {enabled: true, minReplicas: 2}}", true},
	} {
		list := release{name: "edge", namespace: "web", values: []string{c.values}}.must(t)
		if got := list.has("PodDisruptionBudget"); got != c.budget {
			t.Errorf("%s: budget: %t", c.values, got)
		}
		set, _ := list.edge(t)
		if scaled := strings.Contains(c.values, "autoscaling"); (set.Spec.Replicas == nil) != scaled || list.has("HorizontalPodAutoscaler") != scaled {
			t.Errorf("%s: replicas %v", c.values, set.Spec.Replicas)
		}
		if c.budget {
			pdb := one[*policyv1.PodDisruptionBudget](t, list, "")
			if !labels.SelectorFromSet(pdb.Spec.Selector.MatchLabels).Matches(labels.Set(set.Spec.Template.Labels)) {
				t.Errorf("the budget is for nobody: %v", pdb.Spec.Selector)
			}
		}
	}
}

func TestStorage(t *testing.T) {
	volume := func(values string) (*appsv1.StatefulSet, corev1.VolumeSource) {
		list := release{name: "edge", namespace: "web", values: []string{values}}.must(t)
		set, _ := list.edge(t)
		for _, v := range set.Spec.Template.Spec.Volumes {
			if v.Name == "data" {
				return set, v.VolumeSource
			}
		}
		return set, corev1.VolumeSource{}
	}
	set, own := volume("persistence: {size: 30Gi}")
	if claims := set.Spec.VolumeClaimTemplates; own != (corev1.VolumeSource{}) || len(claims) != 1 || claims[0].Spec.Resources.Requests.Storage().String() != "30Gi" || claims[0].Spec.StorageClassName != nil {
		t.Errorf("a claim for each edge: %+v, %+v", own, claims)
	}
	set, own = volume("{replicaCount: 1, persistence: {existingClaim: blocks}}")
	if len(set.Spec.VolumeClaimTemplates) != 0 || own.PersistentVolumeClaim == nil || own.PersistentVolumeClaim.ClaimName != "blocks" {
		t.Errorf("an existing claim: %+v", own)
	}
	set, own = volume("persistence: {enabled: false, size: 2Gi}")
	if len(set.Spec.VolumeClaimTemplates) != 0 || own.EmptyDir == nil || own.EmptyDir.SizeLimit.String() != "2Gi" {
		t.Errorf("no persistence: %+v", own)
	}
}

// The zone comes from the node, unless it is given.
func TestZone(t *testing.T) {
	zone := func(values string) corev1.EnvVar {
		_, edge := release{name: "edge", namespace: "web", values: []string{values}}.must(t).edge(t)
		i := slices.IndexFunc(edge.Env, func(v corev1.EnvVar) bool { return v.Name == "SHOAL_SWARM_ZONE" })
		return edge.Env[i]
	}
	if v := zone(""); v.Value != "" || v.ValueFrom.FieldRef.FieldPath != "metadata.labels['topology.kubernetes.io/zone']" {
		t.Errorf("zone of the node: %+v", v)
	}
	if v := zone("swarm: {zone: eu-1}"); v.Value != "eu-1" || v.ValueFrom != nil {
		t.Errorf("zone as given: %+v", v)
	}
}

func TestKubernetesTooOld(t *testing.T) {
	if err := (release{name: "edge", namespace: "web", kube: "v1.29.9"}).refused(t); !strings.Contains(err, "kubeVersion") {
		t.Error(err)
	}
}

// The notes say the next command for every mode, with names that exist.
func TestNotes(t *testing.T) {
	for name, values := range modes(t) {
		list, notes, err := release{name: "edge", namespace: "web", values: []string{values}}.render()
		if err != nil {
			t.Fatal(err)
		}
		set, _ := list.edge(t)
		for _, want := range []string{"kubectl -n web rollout status statefulset/" + set.Name, "exec " + set.Name + "-0 -- shoal swarm members"} {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: the notes lack %q:\n%s", name, want, notes)
			}
		}
		if strings.Contains(notes, "<no value>") || strings.Contains(notes, "%!") {
			t.Errorf("%s: the notes have a hole:\n%s", name, notes)
		}
	}
}
