//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a condition. It is long because a test that
// waits longer has failed, not because anything takes this long.
const patience = 60 * time.Second

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shoal-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "shoal")
	build := exec.Command("go", "build", "-o", binary, "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// An edge is a running `shoal serve`.
type edge struct {
	t              *testing.T
	cmd            *exec.Cmd
	gateway, admin string // host:port
	log            *logBuffer
	exited         chan struct{}
	once           sync.Once
	err            error
}

// start runs `shoal serve` with the settings in args ("key=value"), on ports that
// the kernel chooses, and waits until it serves.
func start(t *testing.T, data string, args ...string) *edge {
	t.Helper()
	all := []string{"serve", "--set", "data=" + data, "--set", "gateway.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "log.format=json"}
	for _, a := range args {
		all = append(all, "--set", a)
	}
	cmd := exec.Command(binary, all...)
	cmd.Dir = t.TempDir()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, cmd: cmd, log: &logBuffer{}, exited: make(chan struct{})}
	serving := make(chan map[string]any, 1)
	go e.follow(stderr, serving)
	t.Cleanup(func() {
		e.kill()
		if t.Failed() {
			t.Logf("log of the edge:\n%s", e.log)
		}
	})
	select {
	case line := <-serving:
		e.gateway, e.admin = fmt.Sprint(line["gateway"]), fmt.Sprint(line["admin"])
	case <-e.exited:
		t.Fatalf("the edge ended before it served: %v\n%s", e.err, e.log)
	case <-time.After(patience):
		t.Fatalf("the edge does not serve\n%s", e.log)
	}
	return e
}

// follow collects the log until the process ends.
func (e *edge) follow(stderr io.Reader, serving chan<- map[string]any) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		e.log.add(lines.Bytes())
		var line map[string]any
		if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == "serving" {
			serving <- line
		}
	}
	e.err = e.cmd.Wait()
	close(e.exited)
}

// kill ends the process as a power cut would: SIGKILL.
func (e *edge) kill() {
	e.once.Do(func() { _ = e.cmd.Process.Kill() })
	<-e.exited
}

// stop sends SIGTERM and returns the exit code.
func (e *edge) stop() int {
	e.t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Fatal(err)
	}
	select {
	case <-e.exited:
	case <-time.After(patience):
		e.t.Fatal("SIGTERM did not end the edge")
	}
	return e.cmd.ProcessState.ExitCode()
}

// shoal runs another command of the program against this edge and returns what
// it printed.
func (e *edge) shoal(args ...string) (string, error) {
	cmd := exec.Command(binary, append(args, "--edge", "http://"+e.admin)...)
	cmd.Dir = e.t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("shoal %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

// answer is an HTTP response, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get asks the gateway for a path under a host name.
func (e *edge) get(host, path string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+e.gateway+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = host
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

// logBuffer keeps the lines of a log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(line)
	l.text.WriteByte('\n')
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
