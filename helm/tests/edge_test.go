package chart

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
)

// patience is how long a real edge may take for anything.
const patience = time.Minute

// builds is the folder that the edge is built into.
var builds string

func TestMain(m *testing.M) {
	// The recipes' shell runs this binary under the names of tools.
	if tool := filepath.Base(os.Args[0]); slices.Contains([]string{"helm", "kubectl", "shoal"}, tool) {
		if err := standIn(tool, os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", tool, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if builds, err = os.MkdirTemp("", "shoal-chart-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(builds)
	os.Exit(code)
}

// binary builds the edge from the source beside the chart, when it is first needed.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(builds, "shoal")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the edge: %w\n%s", err, out)
	}
	return path, nil
})

func shoal(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// mounted writes what a Pod would find in its volumes, and returns the file of
// settings and the variables that say where the rest is on this machine.
func mounted(t *testing.T, list objects) (file string, env []string) {
	t.Helper()
	dir := t.TempDir()
	set, _ := list.edge(t)
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := map[string][]byte{"swarm-secret": []byte(strings.Repeat("s", 48)), "admin-token": []byte("token")}
	if list.has("Secret") {
		secret = one[*corev1.Secret](t, list, "").Data
	}
	settings := one[*corev1.ConfigMap](t, list, set.Name).Data["config.yaml"]
	// A file that a mode mounts itself.
	settings = strings.ReplaceAll(settings, "/run/secrets/origin/token", write("origin-token", []byte("token")))
	file = write("config.yaml", []byte(settings))
	if tokens := secret["pin-tokens"]; tokens != nil {
		env = append(env, "SHOAL_PIN_TOKEN_FILE="+write("pin-tokens", tokens))
	}
	return file, append(env,
		"SHOAL_SWARM_SECRET_FILE="+write("swarm-secret", secret["swarm-secret"]),
		"SHOAL_ADMIN_TOKEN_FILE="+write("admin-token", secret["admin-token"]),
		"SHOAL_TOKEN="+string(secret["admin-token"]),
		"SHOAL_DATA="+filepath.Join(dir, "data"),
	)
}

// The settings of every mode are put to the edge's own strict decoder.
func TestSettingsAreValid(t *testing.T) {
	for name, values := range modes(t) {
		if out, err := configCheck(t, release{name: "edge", namespace: "web", values: []string{values}}.must(t)); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// configCheck has the edge read the settings of a release.
func configCheck(t *testing.T, list objects) (string, error) {
	t.Helper()
	file, env := mounted(t, list)
	check := exec.Command(shoal(t), "config", "check", "--config", file)
	check.Env = append(env, "SHOAL_NAME=edge-shoal-0.eu1")
	out, err := check.CombinedOutput()
	return string(out), err
}

// An instance is a running edge.
type instance struct {
	process               *exec.Cmd
	gateway, admin, swarm string // host:port
	log                   *bytes.Buffer
	token                 string
	exited                chan error
}

// start runs an edge with the rendered settings, on ports of this machine.
func start(t *testing.T, list objects, name string, env ...string) *instance {
	t.Helper()
	file, own := mounted(t, list)
	_, container := list.edge(t)
	args := []string{container.Args[0], "--config=" + file}
	e := &instance{process: exec.Command(shoal(t), args...), log: new(bytes.Buffer), exited: make(chan error, 1)}
	e.process.Env = append(append(own, "SHOAL_NAME="+name, "SHOAL_SWARM_DNS=", "SHOAL_SWARM_LISTEN=[/ip4/127.0.0.1/tcp/0]", "SHOAL_GATEWAY_SHUTDOWN_DELAY=0s",
		"SHOAL_GATEWAY_LISTEN=127.0.0.1:0", "SHOAL_ADMIN_LISTEN=127.0.0.1:0", "GOMEMLIMIT=200MiB", "SHOAL_CACHE_DISK=64MiB", "SHOAL_CACHE_MEMORY=32MiB"), env...)
	for _, v := range own {
		if token, ok := strings.CutPrefix(v, "SHOAL_TOKEN="); ok {
			e.token = token
		}
	}
	lines, err := e.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.process.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan struct{})
	go e.read(lines, serving)
	t.Cleanup(func() { e.stop(t) })
	select {
	case <-serving:
	case err := <-e.exited:
		e.exited <- err
		t.Fatalf("%s ended: %v\n%s", name, err, e.log)
	case <-time.After(patience):
		t.Fatalf("%s does not serve", name)
	}
	e.untilReady(t)
	return e
}

// read follows the log until its end; the line that says where the edge serves is
// its first with an address.
func (e *instance) read(lines io.Reader, serving chan<- struct{}) {
	scan := bufio.NewScanner(lines)
	for scan.Scan() {
		e.log.Write(append(scan.Bytes(), '\n'))
		var line struct {
			Msg, Gateway, Admin string
			Swarm               []string
		}
		if json.Unmarshal(scan.Bytes(), &line) == nil && line.Msg == "serving" {
			e.gateway, e.admin = line.Gateway, line.Admin
			if len(line.Swarm) > 0 {
				e.swarm = "127.0.0.1:" + strings.Split(line.Swarm[0], "/")[4]
			}
			close(serving)
		}
	}
	e.exited <- e.process.Wait()
}

func (e *instance) untilReady(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if status, _ := e.get(t, "http://"+e.admin+"/readyz", ""); status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the edge does not become ready")
		}
	}
}

// stop ends the edge as the kubelet does, and expects it to end in order.
func (e *instance) stop(t *testing.T) {
	e.process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-e.exited:
		if err != nil {
			t.Errorf("the edge ended with %v\n%s", err, e.log)
		}
	case <-time.After(patience):
		e.process.Process.Kill()
		t.Error("the edge did not stop")
	}
}

// get asks an edge as a visitor who names a host, with the token if the address is
// that of the admin API. The status is 0 when there was no whole answer.
func (e *instance) get(t *testing.T, address, host string) (int, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	if host != "" {
		request.Host = host
	}
	if request.URL.Host == e.admin {
		request.Header.Set("Authorization", "Bearer "+e.token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	return response.StatusCode, body
}

// metrics returns what Prometheus would scrape.
func (e *instance) metrics(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	status, body := e.get(t, "http://"+e.admin+"/metrics", "")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// add runs `shoal add`, as the test's Pod does, and returns what it prints.
func (e *instance) add(t *testing.T, args ...string) string {
	t.Helper()
	add := exec.Command(shoal(t), append([]string{"add"}, args...)...)
	add.Env = []string{"SHOAL_EDGE=http://" + e.admin, "SHOAL_TOKEN=" + e.token}
	out, err := add.CombinedOutput()
	if err != nil {
		t.Fatalf("shoal add: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// fleet starts two edges of one release that know each other, in front of an origin
// that fails.
func fleet(t *testing.T, list objects) (*instance, *instance) {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(origin.Close)
	env := []string{`SHOAL_ORIGINS=[{type: gateway, url: "` + origin.URL + `"}]`, "SHOAL_GATEWAY_SERVE=any"}
	set, _ := list.edge(t)
	first := start(t, list, set.Name+"-0", env...)
	second := start(t, list, set.Name+"-1", append(env, "SHOAL_SWARM_PEERS=["+set.Name+"-0@"+first.swarm+"]")...)
	return first, second
}

// What `helm test` does in a cluster, done here: the object is added to one edge and
// asked of both, by the address that the test uses.
func TestHelmTest(t *testing.T) {
	list := release{name: "edge", namespace: "web"}.must(t)
	first, second := fleet(t, list)
	pod := one[*corev1.Pod](t, list, "-test")
	object := []byte(one[*corev1.ConfigMap](t, list, "-test").Data["object.txt"])
	var address *url.URL
	for _, v := range pod.Spec.Containers[0].Env {
		if v.Name == "URL" {
			address, _ = url.Parse(v.Value)
		}
	}

	file := filepath.Join(t.TempDir(), "object.txt")
	if err := os.WriteFile(file, object, 0o600); err != nil {
		t.Fatal(err)
	}
	args := pod.Spec.InitContainers[0].Args
	if args[0] != "add" || args[len(args)-1] != "/test/object.txt" {
		t.Fatalf("the test runs shoal %v", args)
	}
	out := first.add(t, file)
	if c := strings.TrimPrefix(address.Path, "/ipfs/"); !strings.Contains(out, c) {
		t.Fatalf("the test asks for %s, and the object's CID is another one: %s", c, out)
	}
	for _, e := range []*instance{first, second} {
		for range 2 {
			status, body := e.get(t, "http://"+e.gateway+address.Path, address.Host)
			if status != http.StatusOK || !bytes.Equal(body, object) {
				t.Errorf("%s: %d %q", address, status, body)
			}
		}
	}
}

// The public door never leads to what the admin Service is for.
func TestPublicDoorHasNoAdmin(t *testing.T) {
	e := start(t, release{name: "edge", namespace: "web"}.must(t), "edge-shoal-0")
	for _, path := range []string{"/metrics", "/healthz", "/api/v1/stats", "/api/v1/swarm", "/debug/pprof/"} {
		if status, body := e.get(t, "http://"+e.gateway+path, "edge-shoal"); status < 400 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	_, port, _ := net.SplitHostPort(e.admin)
	if status, _ := (&instance{}).get(t, "http://127.0.0.1:"+port+"/metrics", ""); status != http.StatusUnauthorized {
		t.Errorf("/metrics without the token: %d", status)
	}
}
