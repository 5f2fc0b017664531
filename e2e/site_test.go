//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// website writes a small site with a page per folder, a 404 page, redirects and a
// file of several MiB, and returns its folder and its files by path.
func website(t *testing.T) (string, map[string][]byte) {
	t.Helper()
	large := make([]byte, 5<<20+123)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(large)
	files := map[string][]byte{
		"index.html":            []byte("<!doctype html><title>Home</title><h1>Home</h1>"),
		"style.css":             []byte("body { color: teal }"),
		"a/b/c/d/e/f/deep.html": []byte("<!doctype html><title>Deep</title>"),
		"404.html":              []byte("<!doctype html><title>Lost</title>"),
		"_redirects":            []byte("/old /style.css 301\n/* /404.html 404\n"),
		"media/large.bin":       large,
		"empty.txt":             {},
		"name with spaces.txt":  []byte("spaces"),
	}
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

// add imports a folder and returns its root CID.
func (e *edge) add(args ...string) string {
	e.t.Helper()
	out, err := e.shoal(append([]string{"add", "--json"}, args...)...)
	if err != nil {
		e.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var result struct{ CID string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil || result.CID == "" {
		e.t.Fatalf("shoal add printed %q: %v", out, err)
	}
	return result.CID
}

// serves checks that every file of the site comes byte for byte.
func (e *edge) serves(host, prefix string, files map[string][]byte) error {
	for name, want := range files {
		if name == "_redirects" {
			continue
		}
		got, err := e.get(host, prefix+"/"+strings.ReplaceAll(name, " ", "%20"))
		if err != nil {
			return err
		}
		if got.Status != http.StatusOK || !bytes.Equal(got.Body, want) {
			return fmt.Errorf("%s%s/%s: status %d, %d bytes; want 200, %d bytes", host, prefix, name, got.Status, len(got.Body), len(want))
		}
	}
	return nil
}

func (e *edge) mustServe(host, prefix string, files map[string][]byte) {
	e.t.Helper()
	if err := e.serves(host, prefix, files); err != nil {
		e.t.Fatal(err)
	}
}

// The operator's first hour: serve, add, look at it in three ways, stop, start.
func TestOperatorsPath(t *testing.T) {
	dir, files := website(t)
	data := t.TempDir()
	first := start(t, data)
	root := first.add(dir)

	first.mustServe("127.0.0.1", "/ipfs/"+root, files)
	first.mustServe(root+".ipfs.localhost", "", files)
	if code := first.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}

	second := start(t, data, "sites=[{host: www.example.org, content: /ipfs/"+root+"}]")
	second.mustServe("www.example.org", "", files)
	second.mustServe("127.0.0.1", "/ipfs/"+root, files)
	moved, err := second.get("www.example.org", "/old")
	if err != nil || moved.Status != http.StatusMovedPermanently || moved.Header.Get("Location") != "/style.css" {
		t.Errorf("/old: %d to %q, %v", moved.Status, moved.Header.Get("Location"), err)
	}
	lost, err := second.get("www.example.org", "/nothing/here")
	if err != nil || lost.Status != http.StatusNotFound || !bytes.Equal(lost.Body, files["404.html"]) {
		t.Errorf("a lost page: %d %q, %v", lost.Status, lost.Body, err)
	}
}

// An edge that fetched a site from an origin serves it when the origin is gone,
// also after a restart and after a kill.
func TestServesWithoutTheOrigin(t *testing.T) {
	dir, files := website(t)
	origin := start(t, t.TempDir(), "gateway.serve=pinned")
	root := origin.add(dir)

	data := t.TempDir()
	settings := []string{
		"sites=[{host: www.example.org, content: /ipfs/" + root + "}]",
		"origins=[{type: gateway, url: 'http://" + origin.Gateway + "'}]",
	}
	e := start(t, data, settings...)
	cold, err := e.get("www.example.org", "/")
	// The edge pins the site by itself, and may have been quicker.
	if err != nil || !strings.Contains(cold.Header.Get("Cache-Status"), "fwd=uri-miss") {
		t.Errorf("first request: Cache-Status %q, %v", cold.Header.Get("Cache-Status"), err)
	}
	e.mustServe("www.example.org", "", files)
	warm, err := e.get("www.example.org", "/")
	if err != nil || warm.Header.Get("Cache-Status") != "shoal; hit" {
		t.Errorf("second request: Cache-Status %q, %v", warm.Header.Get("Cache-Status"), err)
	}
	origin.kill()
	e.mustServe("www.example.org", "", files)

	if code := e.stop(); code != 0 {
		t.Fatalf("SIGTERM: exit code %d", code)
	}
	e = start(t, data, settings...)
	e.mustServe("www.example.org", "", files)
	e.kill()
	e = start(t, data, settings...)
	e.mustServe("www.example.org", "", files)
}

// Killed at random moments of imports, the edge comes back, keeps every import
// that was reported done, and serves no wrong byte.
func TestKilledDuringImports(t *testing.T) {
	data := t.TempDir()
	done := map[string]map[string][]byte{}
	for round := range 5 {
		e := start(t, data)
		for root, files := range done {
			e.mustServe("127.0.0.1", "/ipfs/"+root, files)
		}
		dir, files := website(t)
		files["round.txt"] = fmt.Appendf(nil, "round %d", round)
		if err := os.WriteFile(filepath.Join(dir, "round.txt"), files["round.txt"], 0o644); err != nil {
			t.Fatal(err)
		}
		done[e.add(dir)] = files

		// More imports run when the edge is killed; which of them are reported
		// done is a race, and each must be right.
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 3 {
			more, files := website(t)
			files["more.txt"] = fmt.Appendf(nil, "round %d, import %d", round, i)
			if err := os.WriteFile(filepath.Join(more, "more.txt"), files["more.txt"], 0o644); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				out, err := e.shoal("add", "--quiet", more)
				if err == nil {
					mu.Lock()
					done[strings.TrimSpace(out)] = files
					mu.Unlock()
				}
				e.kill()
			})
		}
		wg.Wait()
	}
	e := start(t, data)
	for root, files := range done {
		e.mustServe("127.0.0.1", "/ipfs/"+root, files)
	}
}

// Mistakes of set-up are one line and exit code 2.
func TestRefusals(t *testing.T) {
	data := t.TempDir()
	start(t, data)
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("gatewya: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fleet := func(setting string) []string {
		return []string{"serve", "--set", "data=" + t.TempDir(), "--set", "swarm.secret=" + strings.Repeat("s", 43), "--set", "swarm.listen=[]", "--set", setting}
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a folder in use":       {[]string{"serve", "--set", "data=" + data, "--set", "gateway.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"}, 2, "in use"},
		"unknown key":           {[]string{"serve", "--config", file}, 2, "gatewya: unknown setting"},
		"unknown flag":          {[]string{"serve", "--confg", file}, 2, "--confg"},
		"unknown command":       {[]string{"srve"}, 2, "srve"},
		"missing file":          {[]string{"config", "check", "--config", "/nowhere.yaml"}, 2, "/nowhere.yaml"},
		"missing archive":       {[]string{"serve", "--set", "data=" + t.TempDir(), "--set", "origins=[{type: car, path: /nowhere.car}]"}, 2, "/nowhere.car"},
		"admin without token":   {[]string{"serve", "--set", "data=" + t.TempDir(), "--set", "admin.listen=0.0.0.0:0"}, 2, "admin.token"},
		"member without a port": {fleet("swarm.peers=[edge-1@host]"), 2, "host:port"},
		"member without a name": {fleet("swarm.peers=['host:4001']"), 2, "name@host:port"},
		"member of a bad name":  {fleet("swarm.peers=['a b@host:4001']"), 2, "edge name"},
		"member at port 0":      {fleet("swarm.peers=['edge-1@host:0']"), 2, "not a port"},
		"members, no secret":    {[]string{"serve", "--set", "data=" + t.TempDir(), "--set", "swarm.peers=['edge-1@host:4001']"}, 2, "secret"},
		"short secret":          {[]string{"serve", "--set", "data=" + t.TempDir(), "--set", "swarm.secret=short"}, 2, "at least 32"},
		"missing secret file":   {[]string{"serve", "--set", "data=" + t.TempDir(), "--set", "swarm.secret_file=/nowhere"}, 2, "/nowhere"},
		"bad swarm address":     {fleet("swarm.listen=['0.0.0.0:4001']"), 2, "multiaddr"},
		"bad guest":             {fleet("swarm.allow=[12D3Koo]"), 2, "peer ID"},
		"bad Bitswap origin":    {fleet("origins=[{type: bitswap, addr: /ip4/127.0.0.1/tcp/4001}]"), 2, "p2p"},
		"purge without edge":    {[]string{"purge", "bafkqaaa", "--edge", "http://127.0.0.1:1"}, 1, "http://127.0.0.1:1"},
		"add of a missing dir":  {[]string{"add", "/nowhere/at/all", "--edge", "http://127.0.0.1:1"}, 1, "/nowhere/at/all"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(binary, tc.args...)
			cmd.Dir = t.TempDir()
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tc.code || !strings.Contains(string(out), tc.want) {
				t.Errorf("exit code %d, %v; want %d with %q in\n%s", code, err, tc.code, tc.want, out)
			}
		})
	}
}
