package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/cli"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shoal runs a command and returns its exit code and what it printed.
func shoal(t *testing.T, environ []string, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Run(t.Context(), args, cli.Environment{Out: &stdout, Err: &stderr, Environ: environ})
	return code, stdout.String(), stderr.String()
}

func TestExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("cache: {disk: tiny}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args    string
		environ []string
		code    int
		want    string
	}{
		{"", nil, 0, "Usage:"},
		{"--help", nil, 0, "Usage:"},
		{"version", nil, 0, "shoal "},
		{"completion bash", nil, 0, "__start_shoal"},
		{"completion zsh", nil, 0, "#compdef shoal"},
		{"completion fish", nil, 0, "complete -c shoal"},
		{"completion powershell", nil, 0, "Register-ArgumentCompleter"},
		{"config check", nil, 0, "the defaults: valid"},
		{"config check --config " + broken, nil, 2, `broken.yaml:1: cache.disk: "tiny" is not a size`},
		{"config check", []string{"SHOAL_CONFIG=" + broken}, 2, "cache.disk"},
		{"config check", []string{"SHOAL_LOG_LEVLE=x"}, 0, "SHOAL_LOG_LEVLE names no setting"},
		{"config check --set log.level=loud", nil, 2, "log.level"},
		{"serve --set cache.disk=1MiB", nil, 2, "cache.disk: 1MiB: expected at least 16MiB"},
		{"serve now", nil, 2, "now"},
		{"sevre", nil, 2, "sevre"},
		{"serve --nonsense", nil, 2, "--nonsense"},
		{"add", nil, 2, "add"},
		{"purge", nil, 2, "purge"},
		{"demo --edges 0", nil, 2, "edges"},
		{"add /nowhere/at/all --edge http://127.0.0.1:1", nil, 1, "/nowhere/at/all"},
		{"add . --edge http://127.0.0.1:1", nil, 1, "http://127.0.0.1:1"},
		{"add nothing.car", nil, 1, "nothing.car"},
		{"purge bafkqaaa --edge ftp://x", nil, 2, "ftp://x"},
		{"pin", nil, 0, "Usage:"},
		{"pin add", nil, 2, "pin add"},
		{"pin add bafkqaaa --replicas 101", nil, 2, "--replicas 101"},
		{"pin add bafkqaaa --edge http://127.0.0.1:1", nil, 1, "http://127.0.0.1:1"},
		{"pin ls --cid nonsense", nil, 2, "--cid nonsense"},
		{"pin ls --before yesterday", nil, 2, "--before yesterday"},
		{"pin status", nil, 2, "pin status"},
		{"pin rm", nil, 2, "pin rm"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, out, stderr := shoal(t, tc.environ, strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(out+stderr, tc.want) {
				t.Errorf("exit code %d; want %d with %q in\n%s%s", code, tc.code, tc.want, out, stderr)
			}
			if code != 0 && (out != "" || !strings.HasPrefix(stderr, "shoal: ") || strings.Count(stderr, "\n") != 1) {
				t.Errorf("an error is one line on standard error that begins with shoal:, got %q and %q", out, stderr)
			}
		})
	}
}

func TestConfigPrintMasksAndReadsBack(t *testing.T) {
	t.Chdir(t.TempDir())
	args := []string{"config", "print", "--set", "admin.token=hunter2", "--set", "cache.memory=1GiB",
		"--set", `origins=[{type: gateway, url: "https://me:hunter2@gateway.example"}]`}
	code, out, _ := shoal(t, nil, args...)
	if code != 0 || strings.Contains(out, "hunter2") || !strings.Contains(out, "memory: 1GiB") {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	if err := os.WriteFile("config.yaml", []byte(strings.ReplaceAll(out, "********", "x")), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := shoal(t, nil, "config", "check"); code != 0 {
		t.Errorf("what print prints is not valid: %s", stderr)
	}
}

// lineWriter finds what an edge logs when it serves.
type lineWriter struct {
	mu      sync.Mutex
	text    bytes.Buffer
	serving chan string
	once    sync.Once
}

var servingLine = regexp.MustCompile(`msg=serving .*admin=(\S+)`)

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if m := servingLine.FindSubmatch(w.text.Bytes()); m != nil {
		w.once.Do(func() { w.serving <- string(m[1]) })
	}
	return len(p), nil
}

func TestServeAddPurge(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log := &lineWriter{serving: make(chan string, 1)}
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, []string{"serve", "--set", "gateway.listen=127.0.0.1:0", "--set", "gateway.shutdown_delay=0s"}, cli.Environment{
			Out: io.Discard, Err: log, Environ: []string{"SHOAL_ADMIN_LISTEN=127.0.0.1:0", "SHOAL_ADMIN_TOKEN=s3cret"},
		})
	}()
	var edge string
	select {
	case edge = <-log.serving:
	case code := <-done:
		t.Fatalf("serve ended with %d: %s", code, log.text.String())
	}
	environ := []string{"SHOAL_EDGE=http://" + edge, "SHOAL_TOKEN=s3cret"}

	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "index.html"), []byte("<h1>hello</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := shoal(t, environ, "add", "--token", "wrong", site); code != 1 || !strings.Contains(stderr, "token") {
		t.Errorf("a wrong token: exit code %d, %s", code, stderr)
	}
	code, out, stderr := shoal(t, environ, "add", "-q", site)
	cid := strings.TrimSpace(out)
	if code != 0 || !strings.HasPrefix(cid, "bafy") || stderr != "" {
		t.Fatalf("add -q: exit code %d, %q, %q", code, out, stderr)
	}
	if code, _, stderr := shoal(t, append(environ, "SHOAL_EGDE=http://other"), "add", "-q", site); code != 0 || stderr != "shoal: warning: the environment variable SHOAL_EGDE names no setting\n" {
		t.Errorf("a misspelt variable: exit code %d, %q", code, stderr)
	}
	code, out, _ = shoal(t, environ, "add", site)
	if code != 0 || !strings.Contains(out, cid) || !strings.Contains(out, "http://localhost:") || !strings.Contains(out, "pinned") {
		t.Errorf("add: exit code %d, %q", code, out)
	}
	code, out, _ = shoal(t, environ, "add", "--json", "--no-pin", site)
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("add --json printed %q", line)
		}
	}
	if code != 0 || !strings.Contains(out, cid) {
		t.Errorf("add --json: exit code %d, %q", code, out)
	}
	pinCommands(t, environ, cid)
	if code, _, stderr := shoal(t, environ, "purge", cid); code != 1 || !strings.Contains(stderr, "unpin") {
		t.Errorf("purge of pinned content: exit code %d, %s", code, stderr)
	}
	if code, out, stderr := shoal(t, environ, "purge", "--unpin", cid); code != 0 || !strings.Contains(out, "forgot "+cid+": 2 blocks") {
		t.Errorf("purge: exit code %d, %q, %q", code, out, stderr)
	}

	stop()
	if code := <-done; code != 0 {
		t.Errorf("serve: exit code %d\n%s", code, log.text.String())
	}
	if strings.Contains(log.text.String(), "s3cret") {
		t.Error("the token is in the log")
	}
}

// pinCommands does what an operator does with pins of content that was added.
func pinCommands(t *testing.T, environ []string, cid string) {
	t.Helper()
	code, out, stderr := shoal(t, environ, "pin", "add", "/ipfs/"+cid+"/index.html", "--name", "page", "--replicas", "1")
	if code != 0 || !strings.Contains(out, "status  pinned, 1/1 replicas") || stderr != "" {
		t.Errorf("pin add: exit code %d, %q, %q", code, out, stderr)
	}
	code, out, _ = shoal(t, environ, "pin", "ls")
	if code != 0 || strings.Count(out, " pinned ") != 2 || !strings.Contains(out, cid) {
		t.Errorf("pin ls: exit code %d, %q", code, out)
	}
	code, out, _ = shoal(t, environ, "pin", "ls", "--json", "--name", "PAGE", "--match", "iexact", "--status", "pinned,failed")
	var pin struct{ ID, CID, Name, Status string }
	if err := json.Unmarshal([]byte(out), &pin); err != nil || code != 0 || pin.Name != "page" || pin.Status != "pinned" {
		t.Fatalf("pin ls --json: exit code %d, %q, %v", code, out, err)
	}
	for _, args := range [][]string{{"pin", "status", pin.ID, "--verify"}, {"pin", "status", pin.CID}} {
		if code, out, stderr := shoal(t, environ, args...); code != 0 || !strings.Contains(out, "EDGE") || !strings.Contains(out, pin.ID) {
			t.Errorf("%s: exit code %d, %q, %q", args, code, out, stderr)
		}
	}
	code, out, _ = shoal(t, environ, "pin", "status", pin.ID, "--verify", "--json")
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("pin status --json printed %q", line)
		}
	}
	if code != 0 || !strings.Contains(out, `"verified"`) || !strings.Contains(out, `"edges"`) {
		t.Errorf("pin status --json: exit code %d, %q", code, out)
	}
	if code, out, _ := shoal(t, environ, "pin", "rm", pin.CID); code != 0 || !strings.Contains(out, pin.ID) {
		t.Errorf("pin rm: exit code %d, %q", code, out)
	}
	if code, _, stderr := shoal(t, environ, "pin", "rm", pin.ID); code != 1 || !strings.Contains(stderr, "no such pin") {
		t.Errorf("pin rm of nothing: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := shoal(t, environ, "pin", "add", "/ipns/not a name"); code != 1 || stderr == "" {
		t.Errorf("pin add of nonsense: exit code %d, %q", code, stderr)
	}
}
