package chart

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/yaml"
)

// The commands of README.md are run by a shell as they stand, section by section. In
// its path stand helm, kubectl and shoal: helm and kubectl are this test's own binary
// (see TestMain), with a folder for a cluster. After each change it looks, as a kubelet
// would, whether the Pods could start. Blocks of YAML are the values.yaml that the
// commands after them name.
func TestRecipes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, s := range sections(string(text)) {
		if !strings.Contains(s.commands, "helm ") && !strings.Contains(s.commands, "kubectl ") {
			continue
		}
		ran++
		t.Run(s.title, func(t *testing.T) {
			c := newRecipe(t)
			if !strings.Contains(s.commands, "install edge ./helm") {
				// The others are about a fleet that is there.
				c.run("helm install edge ./helm --namespace web --create-namespace")
			}
			c.run(s.commands)
		})
	}
	if ran < 7 {
		t.Errorf("README.md has %d sections with commands; where are the others?", ran)
	}
}

// A section of README.md, as one script.
type section struct{ title, commands string }

var fenced = regexp.MustCompile("(?s)^```yaml\n(.*?)```\n")

// sections returns the indented lines of each section, in their order, and its fenced
// blocks as here-documents.
func sections(text string) (list []section) {
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(text, -1)[1:] {
		title, body, _ := strings.Cut(part, "\n")
		s := section{title: title}
		for body != "" {
			if block := fenced.FindStringSubmatch(body); block != nil {
				s.commands += "cat > values.yaml <<'END'\n" + block[1] + "END\n"
				body = body[len(block[0]):]
				continue
			}
			line, rest, _ := strings.Cut(body, "\n")
			if command, ok := strings.CutPrefix(line, "    "); ok {
				s.commands += command + "\n"
			}
			body = rest
		}
		list = append(list, s)
	}
	return list
}

// recipe is a shell and a cluster.
type recipe struct {
	t    *testing.T
	dir  string
	path string
}

func newRecipe(t *testing.T) *recipe {
	t.Helper()
	r := &recipe{t: t, dir: t.TempDir(), path: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	chart, err := filepath.Abs(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		filepath.Join(r.path, "helm"): self, filepath.Join(r.path, "kubectl"): self, filepath.Join(r.path, "shoal"): self,
		filepath.Join(r.dir, "helm"): chart,
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	// What a user has: a site, files of secrets, and a claim with archives.
	for _, name := range []string{"public/index.html", "ca.crt", "token", "fleet.secret"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(r.dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strings.Repeat("x", 48)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(r.dir, "cluster"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.cluster().put(claim("archives"))
	return r
}

func (r *recipe) cluster() clusterDir { return clusterDir(filepath.Join(r.dir, "cluster")) }

// run runs commands until the first that fails.
func (r *recipe) run(commands string) string {
	r.t.Helper()
	sh := exec.Command("sh", "-eu", "-c", commands+"\nwait")
	sh.Dir = r.dir
	sh.Env = append(os.Environ(), "PATH="+r.path+":"+os.Getenv("PATH"), "SHOAL_BINARY="+shoal(r.t))
	out, err := sh.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%v\n%s\n%s", err, commands, out)
	}
	return string(out)
}

// standIn is what this binary does under the name of a tool of the recipes.
func standIn(tool string, args []string) error {
	c := clusterDir("cluster")
	switch tool {
	case "helm":
		return c.helm(args)
	case "kubectl":
		return c.kubectl(args)
	}
	return runShoal(args)
}

// runShoal runs the program, without an edge to talk to: of a command that would, it
// is looked whether it and its flags are known.
func runShoal(args []string) error {
	if !slices.Equal(args, []string{"swarm", "secret"}) {
		args = append(args, "--help")
	}
	program := exec.Command(os.Getenv("SHOAL_BINARY"), args...)
	program.Stdout, program.Stderr = os.Stdout, os.Stderr
	return program.Run()
}

// clusterDir is a namespace: a file for each object, and the values of each release.
type clusterDir string

func (c clusterDir) file(kind, name string) string {
	return filepath.Join(string(c), kind+" "+name+".yaml")
}

func (c clusterDir) put(o any) {
	text, err := yaml.Marshal(o)
	if err != nil {
		panic(err)
	}
	var head struct {
		Kind     string            `json:"kind"`
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		panic(err)
	}
	if err := os.WriteFile(c.file(head.Kind, head.Metadata.Name), text, 0o600); err != nil {
		panic(err)
	}
}

func (c clusterDir) objects() (list objects, err error) {
	files, err := filepath.Glob(filepath.Join(string(c), "*.yaml"))
	for _, file := range files {
		text, readErr := os.ReadFile(file)
		if readErr != nil {
			return nil, readErr
		}
		o, err := decode(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, o)
	}
	return list, err
}

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "web"},
	}
}

// helm does what Helm does with install, upgrade, test and uninstall.
func (c clusterDir) helm(args []string) error {
	flags := pflag.NewFlagSet("helm", pflag.ContinueOnError)
	flags.StringP("namespace", "n", "", "")
	flags.Bool("create-namespace", false, "")
	reuse := flags.Bool("reuse-values", false, "")
	files := flags.StringArrayP("values", "f", nil, "")
	set := flags.StringArray("set", nil, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	words := flags.Args()
	if namespace, _ := flags.GetString("namespace"); len(words) < 2 || namespace != "web" {
		return fmt.Errorf("helm %q: expected a command, a release and namespace web", args)
	}
	switch verb, name := words[0], words[1]; {
	case (verb == "install" || verb == "upgrade") && len(words) == 3 && words[2] == "./helm":
		given, err := readValues(*files, *set)
		if err != nil {
			return err
		}
		return c.apply(name, verb, given, *reuse)
	case verb == "test":
		return c.test(name)
	case verb == "uninstall":
		return c.uninstall(name)
	}
	return fmt.Errorf("helm %q: not a command of the recipes", args)
}

func (c clusterDir) valuesOf(name string) string { return filepath.Join(string(c), name+".values") }

// readValues returns what -f and --set give, each over the ones before it.
func readValues(files, set []string) ([]string, error) {
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	for _, s := range set {
		tree, err := strvals.Parse(s)
		if err != nil {
			return nil, err
		}
		text, err := yaml.Marshal(tree)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
}

func (c clusterDir) apply(name, verb string, all []string, reuse bool) error {
	if old, err := os.ReadFile(c.valuesOf(name)); err == nil && reuse {
		all = append([]string{string(old)}, all...)
	} else if there := err == nil; there == (verb == "install") {
		return fmt.Errorf("%s %s: is it installed? %t", verb, name, there)
	}
	list, err := c.render(name, all)
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.GetAnnotations()["helm.sh/hook"] == "" {
			c.put(o.of)
		}
	}
	if err := os.WriteFile(c.valuesOf(name), []byte(strings.Join(all, "\n---\n")), 0o600); err != nil {
		return err
	}
	return c.start()
}

// render renders a release with the objects that are there.
func (c clusterDir) render(name string, all []string) (objects, error) {
	there, err := c.objects()
	if err != nil {
		return nil, err
	}
	r := release{name: name, namespace: "web", dir: "helm"}
	for _, v := range all {
		r.values = append(r.values, strings.Split(v, "\n---\n")...)
	}
	for _, o := range there {
		if o.kind == "Secret" || o.kind == "StatefulSet" {
			r.there = append(r.there, o.of.(runtime.Object))
		}
	}
	list, _, err := r.render()
	return list, err
}

// start does what the StatefulSet's controller and a kubelet do.
func (c clusterDir) start() error {
	list, err := c.objects()
	if err != nil {
		return err
	}
	for _, set := range sets(list) {
		for _, template := range set.Spec.VolumeClaimTemplates {
			for i := range *set.Spec.Replicas {
				pvc := claim(fmt.Sprintf("%s-%s-%d", template.Name, set.Name, i))
				pvc.Labels = template.Labels
				c.put(pvc)
			}
		}
		if missing := unmet(set.Spec.Template.Spec, list); len(missing) > 0 {
			return fmt.Errorf("the Pods of %s stay in ContainerCreating: %q", set.Name, missing)
		}
	}
	return nil
}

// test runs the release's test, which succeeds, and deletes what is to be deleted then.
func (c clusterDir) test(name string) error {
	old, err := os.ReadFile(c.valuesOf(name))
	if err != nil {
		return err
	}
	list, err := c.render(name, []string{string(old)})
	if err != nil {
		return err
	}
	there, err := c.objects()
	if err != nil {
		return err
	}
	var left objects
	for _, o := range list {
		if o.GetAnnotations()["helm.sh/hook"] != "test" {
			continue
		}
		c.put(o.of)
		there = append(there, o)
		if !strings.Contains(o.GetAnnotations()["helm.sh/hook-delete-policy"], "hook-succeeded") {
			left = append(left, o)
			continue
		}
		defer os.Remove(c.file(o.kind, o.GetName()))
	}
	for _, o := range there {
		if pod, ok := o.of.(*corev1.Pod); ok {
			if missing := unmet(pod.Spec, there); len(missing) > 0 {
				return fmt.Errorf("the Pod of the test stays in ContainerCreating: %q", missing)
			}
		}
	}
	for _, o := range left {
		fmt.Fprintf(os.Stderr, "the test leaves its %s\n", o.kind)
	}
	return nil
}

// uninstall deletes what belongs to the release. Hooks do not, and neither do claims.
func (c clusterDir) uninstall(name string) error {
	old, err := os.ReadFile(c.valuesOf(name))
	if err != nil {
		return err
	}
	list, err := c.render(name, []string{string(old)})
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.GetAnnotations()["helm.sh/hook"] != "" || o.GetAnnotations()["helm.sh/resource-policy"] == "keep" {
			continue
		}
		if err := os.Remove(c.file(o.kind, o.GetName())); err != nil {
			return err
		}
	}
	return os.Remove(c.valuesOf(name))
}

// kubectl does what kubectl does with the commands of the recipes.
func (c clusterDir) kubectl(args []string) error {
	flags := pflag.NewFlagSet("kubectl", pflag.ContinueOnError)
	namespace := flags.StringP("namespace", "n", "", "")
	literals := flags.StringArray("from-literal", nil, "")
	files := flags.StringArray("from-file", nil, "")
	output := flags.StringP("output", "o", "", "")
	selector := flags.StringP("selector", "l", "", "")
	patch := flags.StringP("patch", "p", "", "")
	flags.String("cascade", "", "")
	own, inside, _ := cut(args, "--")
	if err := flags.Parse(own); err != nil {
		return err
	}
	words := flags.Args()
	line := strings.Join(words, " ")
	if line == "create namespace web" {
		return nil
	}
	if *namespace != "web" {
		return fmt.Errorf("kubectl %q: expected namespace web", args)
	}
	switch {
	case strings.HasPrefix(line, "create secret generic "):
		return c.create("Secret", words[3], *literals, *files)
	case strings.HasPrefix(line, "create configmap "):
		return c.create("ConfigMap", words[2], *literals, *files)
	case strings.HasPrefix(line, "get secret ") && strings.HasPrefix(*output, "jsonpath="):
		return c.print("Secret", words[2], strings.TrimPrefix(*output, "jsonpath="))
	case strings.HasPrefix(line, "patch pvc ") && yaml.Unmarshal([]byte(*patch), new(corev1.PersistentVolumeClaim)) == nil:
		return c.mustHave("PersistentVolumeClaim", words[2])
	case strings.HasPrefix(line, "rollout status statefulset/"), strings.HasPrefix(line, "rollout restart statefulset/"):
		return c.mustHave("StatefulSet", strings.TrimPrefix(words[2], "statefulset/"))
	case strings.HasPrefix(line, "exec ") && len(inside) > 1 && inside[0] == "shoal":
		return errorsOf(c.pod(words[1]), runShoal(inside[1:]))
	case strings.HasPrefix(line, "port-forward ") && len(words) == 3:
		return c.pod(words[1])
	case strings.HasPrefix(line, "delete "):
		return c.delete(words[1], words[2:], *selector)
	}
	return fmt.Errorf("kubectl %q: not a command of the recipes", args)
}

func cut(args []string, at string) (before, after []string, found bool) {
	if i := slices.Index(args, at); i >= 0 {
		return args[:i], args[i+1:], true
	}
	return args, nil, false
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c clusterDir) create(kind, name string, literals, files []string) error {
	if err := c.mustHave(kind, name); err == nil {
		return fmt.Errorf("%s %s already exists", kind, name)
	}
	data := map[string]string{}
	for _, l := range literals {
		key, value, _ := strings.Cut(l, "=")
		data[key] = value
	}
	for _, f := range files {
		key, file, named := strings.Cut(f, "=")
		if !named {
			file, key = f, filepath.Base(f)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		data[key] = string(text)
	}
	meta := metav1.ObjectMeta{Name: name, Namespace: "web"}
	if kind == "ConfigMap" {
		c.put(&corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}, ObjectMeta: meta, Data: data})
		return nil
	}
	s := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}, ObjectMeta: meta, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	c.put(s)
	return nil
}

func (c clusterDir) mustHave(kind, name string) error {
	if _, err := os.Stat(c.file(kind, name)); err != nil {
		return fmt.Errorf("%s %s is not there", kind, name)
	}
	return nil
}

// pod reports whether a StatefulSet has a Pod of that name.
func (c clusterDir) pod(name string) error {
	list, err := c.objects()
	if err != nil {
		return err
	}
	for _, set := range sets(list) {
		for i := range *set.Spec.Replicas {
			if name == fmt.Sprintf("%s-%d", set.Name, i) {
				return nil
			}
		}
	}
	return fmt.Errorf("Pod %s is not there", name)
}

func (c clusterDir) print(kind, name, path string) error {
	text, err := os.ReadFile(c.file(kind, name))
	if err != nil {
		return err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return err
	}
	p := jsonpath.New("recipe")
	if err := p.Parse(path); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := p.Execute(&out, tree); err != nil {
		return err
	}
	_, err = out.WriteTo(os.Stdout)
	return err
}

func (c clusterDir) delete(short string, names []string, selector string) error {
	kind := map[string]string{"pvc": "PersistentVolumeClaim", "secret": "Secret", "statefulset": "StatefulSet"}[short]
	if selector == "" {
		return errorsOf(c.mustHave(kind, names[0]), os.Remove(c.file(kind, names[0])))
	}
	wanted, err := labels.Parse(selector)
	if err != nil {
		return err
	}
	list, err := c.objects()
	if err != nil {
		return err
	}
	deleted := 0
	for _, o := range list {
		if o.kind == kind && wanted.Matches(labels.Set(o.GetLabels())) {
			deleted++
			if err := os.Remove(c.file(kind, o.GetName())); err != nil {
				return err
			}
		}
	}
	if deleted == 0 {
		return fmt.Errorf("no %s is selected by %s", kind, selector)
	}
	return nil
}

// After an uninstallation there is what the fleet goes on with, and nothing else.
func TestUninstall(t *testing.T) {
	for values, want := range map[string][]string{
		"":                                {"PersistentVolumeClaim data-edge-shoal-0", "PersistentVolumeClaim data-edge-shoal-1", "PersistentVolumeClaim data-edge-shoal-2", "Secret edge-shoal"},
		"--set persistence.enabled=false": nil,
		// Kubernetes deletes the claims then.
		"--set persistence.retention.whenDeleted=Delete": {"PersistentVolumeClaim data-edge-shoal-0", "PersistentVolumeClaim data-edge-shoal-1", "PersistentVolumeClaim data-edge-shoal-2"},
	} {
		r := newRecipe(t)
		r.run("helm -n web install edge ./helm " + values + "\nhelm -n web test edge")
		before := r.secret()
		r.run("helm -n web uninstall edge\nkubectl -n web delete pvc archives")
		list, err := r.cluster().objects()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range list {
			got = append(got, o.kind+" "+o.GetName())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: an uninstallation leaves %q, expected %q", values, got, want)
		}
		r.run("helm -n web install edge ./helm " + values)
		if same := maps.EqualFunc(before, r.secret(), bytes.Equal); same != slices.Contains(want, "Secret edge-shoal") {
			t.Errorf("%s: installed again, the fleet has its secret: %t", values, same)
		}
	}
}

func (r *recipe) secret() map[string][]byte {
	r.t.Helper()
	list, err := r.cluster().objects()
	if err != nil {
		r.t.Fatal(err)
	}
	return one[*corev1.Secret](r.t, list, "edge-shoal").Data
}
