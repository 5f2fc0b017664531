package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/member"
)

// Build builds the program into a folder and returns where it is. It is built in its own
// module, whichever module the caller is in: another one may choose other versions of
// what the program depends on.
func Build(ctx context.Context, dir string) (string, error) {
	binary, err := filepath.Abs(filepath.Join(dir, "shoal"))
	if err != nil {
		return "", err
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shoal-cdn/shoal").Output()
	if err != nil {
		return "", fmt.Errorf("find the program's module: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, ".")
	build.Dir = strings.TrimSpace(string(module))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return binary, nil
}

// A Plan says how an edge is started.
type Plan struct {
	Binary string
	// Dir is the folder for the edge's data; it outlives the process.
	Dir string
	// Namespace is the network namespace to start in; empty for this one.
	Namespace string
	// Through is a command that becomes the program: its last words will be the
	// program and its arguments. Empty: the program is started directly.
	Through []string
	// Host is the address to listen on; empty for 127.0.0.1.
	Host string
	// Set are settings, as key=value, that come after the plan's own.
	Set []string
}

// adminToken guards admin APIs that do not listen on loopback.
const adminToken = "lab-lab-lab-lab-lab-lab"

// Edge is a running `shoal serve`. It is safe for concurrent use.
type Edge struct {
	Plan
	Name           string
	Gateway, Admin string // host:port
	// Swarm are the multiaddrs on which siblings are served; none without a secret.
	Swarm []string
	Log   *Log

	cmd    *exec.Cmd
	client *client.Client
	exited chan struct{}
	err    error // set when exited is closed
}

// Start starts an edge and returns when it serves. An edge that ends before is an
// error with its log.
func Start(ctx context.Context, p Plan) (*Edge, error) {
	if p.Host == "" {
		p.Host = "127.0.0.1"
	}
	args := []string{p.Binary, "serve"}
	settings := []string{"data=" + filepath.Join(p.Dir, "data"), "gateway.listen=" + p.Host + ":0",
		"admin.listen=" + p.Host + ":0", "admin.token=" + adminToken, "log.format=json", "gateway.shutdown_delay=0s"}
	for _, s := range append(settings, p.Set...) {
		args = append(args, "--set", s)
	}
	if p.Namespace != "" {
		args = append([]string{"ip", "netns", "exec", p.Namespace}, args...) // which becomes the program
	}
	args = append(slices.Clone(p.Through), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = p.Dir // so that no config.yaml is found
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start an edge: %w", err)
	}
	e := &Edge{Plan: p, Log: &Log{}, cmd: cmd, exited: make(chan struct{})}
	serving := make(chan servingLine, 1)
	go e.follow(stderr, serving)
	select {
	case line := <-serving:
		e.Name, e.Gateway, e.Admin, e.Swarm = line.Edge, line.Gateway, line.Admin, line.Swarm
	case <-e.exited:
		return nil, fmt.Errorf("the edge ended before it served: %w\n%s", e.err, e.Log)
	case <-ctx.Done():
		e.Kill()
		return nil, fmt.Errorf("the edge does not serve: %w\n%s", ctx.Err(), e.Log)
	}
	if e.client, err = client.New(e.Admin, adminToken); err != nil {
		e.Kill()
		return nil, err
	}
	return e, nil
}

// servingLine is the line of the log that says where an edge listens.
type servingLine struct {
	Msg, Edge, Gateway, Admin string
	Swarm                     []string
}

// follow collects the log until the process ends.
func (e *Edge) follow(stderr io.Reader, serving chan<- servingLine) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e.Log.add(lines.Bytes())
		var line servingLine
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			serving <- line
		}
	}
	e.err = e.cmd.Wait()
	close(e.exited)
}

// PID returns the process ID.
func (e *Edge) PID() int { return e.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (e *Edge) Exited() <-chan struct{} { return e.exited }

// Kill ends the process as a power cut would (SIGKILL) and waits for that.
func (e *Edge) Kill() {
	_ = e.cmd.Process.Kill()
	<-e.exited
	if e.client != nil {
		e.client.Close()
	}
}

// Terminate sends SIGTERM.
func (e *Edge) Terminate() error { return e.cmd.Process.Signal(syscall.SIGTERM) }

// Stop sends SIGTERM and returns the exit code. A process that has not ended when
// ctx does is an error.
func (e *Edge) Stop(ctx context.Context) (int, error) {
	if err := e.Terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, err
	}
	select {
	case <-e.exited:
		return e.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("SIGTERM did not end edge %s: %w\n%s", e.Name, ctx.Err(), e.Log)
	}
}

// Freeze stops the process where it is (SIGSTOP); its sockets stay open.
func (e *Edge) Freeze() error { return e.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (e *Edge) Thaw() error { return e.cmd.Process.Signal(syscall.SIGCONT) }

// Command runs another command of the program against this edge and returns what
// it printed.
func (e *Edge) Command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.Binary, append(args, "--edge", "http://"+e.Admin, "--token", adminToken)...)
	cmd.Dir = e.Dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("shoal %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

// Client returns a client of the edge's admin API.
func (e *Edge) Client() *client.Client { return e.client }

// Members returns the fleet as this edge sees it.
func (e *Edge) Members(ctx context.Context) ([]member.Member, error) {
	result, err := e.client.Members(ctx)
	return result.Members, err
}

// Stats returns the edge's figures.
func (e *Edge) Stats(ctx context.Context) (admin.Stats, error) { return e.client.Stats(ctx) }

// Where returns which edges a block is at home on and which hold it.
func (e *Edge) Where(ctx context.Context, id string) (member.Whereabouts, error) {
	return e.client.Where(ctx, id)
}

// SwarmHostPort returns host:port of the TCP listener for siblings; "" for none.
func (e *Edge) SwarmHostPort() string {
	for _, a := range e.Swarm {
		if parts := strings.Split(a, "/"); len(parts) > 4 && parts[1] == "ip4" && parts[3] == "tcp" {
			return parts[2] + ":" + parts[4]
		}
	}
	return ""
}

var probes = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Ready reports whether the edge says that it may be sent requests, as a load
// balancer would ask it.
func (e *Edge) Ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Admin+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := probes.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// operator answers a GET of the admin API.
func (e *Edge) operator(ctx context.Context, c *http.Client, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := c.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		res.Body.Close()
		err = fmt.Errorf("edge %s: %s: %s", e.Name, path, res.Status)
	}
	return res, err
}

// Profile has the edge measure for some seconds where its processor time goes, and
// writes that down in pprof's format.
func (e *Edge) Profile(ctx context.Context, seconds int, w io.Writer) error {
	res, err := e.operator(ctx, http.DefaultClient, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	return err
}

// Metrics returns what the edge tells Prometheus.
func (e *Edge) Metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	res, err := e.operator(ctx, probes, "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of edge %s: %w", e.Name, err)
	}
	return families, nil
}

// Metric returns the sum of a counter's or gauge's series with the given labels,
// which come as name, value, name, value.
func (e *Edge) Metric(ctx context.Context, name string, labels ...string) (float64, error) {
	families, err := e.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, m := range families[name].GetMetric() {
		if hasLabels(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total, nil
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(m.GetLabel(), func(p *dto.LabelPair) bool { return p.GetName() == labels[i] && p.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// Log keeps the lines of an edge's log. It is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	lines []string
}

func (l *Log) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
}

// Lines returns the lines that contain all of the given texts.
func (l *Log) Lines(texts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.lines {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// String returns the lines, but for those of the access log.
func (l *Log) String() string {
	lines := slices.DeleteFunc(l.Lines(), func(line string) bool { return strings.Contains(line, `"msg":"request"`) })
	return strings.Join(lines, "\n")
}
