package edge_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/edge"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are those of an edge on loopback, on ports that the kernel chooses.
func settings(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Name = strings.ReplaceAll(t.Name(), "/", "-")
	cfg.Data = t.TempDir()
	cfg.Gateway.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Gateway.ShutdownDelay = 0
	cfg.Cache = config.Cache{Memory: 32 << 20, Disk: 64 << 20}
	return cfg
}

func build() edge.Build {
	return edge.Build{Version: "test", Log: slog.New(slog.DiscardHandler)}
}

// running is an edge that serves until stop is called.
type running struct {
	*edge.Edge
	t      *testing.T
	stop   func()
	secret config.Secret // of its fleet
}

func run(t *testing.T, cfg config.Config) *running {
	t.Helper()
	return runAs(t, cfg, build())
}

func runAs(t *testing.T, cfg config.Config, build edge.Build) *running {
	t.Helper()
	e, err := edge.New(cfg, build)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stopped := false
	r := &running{Edge: e, t: t, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	}}
	t.Cleanup(r.stop)
	return r
}

// add imports files and returns the root CID.
func (r *running) add(files map[string]string) string {
	r.t.Helper()
	return r.addWith("", files)
}

// addWith does so on an edge that wants a token.
func (r *running) addWith(token string, files map[string]string) string {
	r.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
			r.t.Fatal(err)
		}
		_, _ = io.WriteString(w, text)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	c, err := client.New(r.AdminAddr().String(), token)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	result, err := c.Add(r.t.Context(), "application/x-tar", &archive, task.Import{Pin: true}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return result.CID
}

func (r *running) client() *client.Client {
	r.t.Helper()
	c, err := client.New(r.AdminAddr().String(), "")
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *running) get(host, path string) (int, http.Header, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.GatewayAddr().String()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

// settled returns the statistics once no request is in flight: a request is counted
// after its last byte was sent.
func (r *running) settled() admin.Stats {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s := r.Stats()
		if s.Requests.InFlight == 0 {
			return s
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("requests stay in flight: %+v", s.Requests)
		}
	}
}

var pages = map[string]string{"index.html": "<h1>home</h1>", "a/b/c.txt": "deep", "big.bin": strings.Repeat("shoal ", 500_000)}

// A site travels from the origin through the edge's layers, each of which answers
// when the ones behind it are gone.
func TestASiteThroughEveryLayer(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "pinned"
	origin := run(t, cfg)
	root := origin.add(pages)

	cfg = settings(t)
	cfg.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	cfg.Origins = []config.Origin{{Type: "gateway", URL: "http://" + origin.GatewayAddr().String()}}
	e := run(t, cfg)
	check := func(e *running, name, want string) {
		t.Helper()
		code, header, body := e.get("www.example.org", "/"+name)
		if code != http.StatusOK || body != pages[name] {
			t.Fatalf("%s: status %d, %d bytes", name, code, len(body))
		}
		if got := header.Get("Cache-Status"); !strings.HasSuffix(got, want) {
			t.Errorf("%s: Cache-Status %q, want ...%s", name, got, want)
		}
	}
	for name := range pages {
		check(e, name, "") // from the origin, or because it is pinned from the disk
		check(e, name, "hit")
	}
	e.pinned(1)
	origin.stop()
	for name := range pages {
		check(e, name, "hit")
	}
	e.stop()
	e = run(t, cfg)
	for name := range pages {
		check(e, name, "detail=disk")
	}
	stats := e.settled()
	if stats.Blocks["disk"].Bytes < 3_000_000 || stats.Blocks["origin"].Blocks != 0 || stats.Requests.Total != int64(len(pages)) || stats.Requests.Bytes < 3_000_000 {
		t.Errorf("stats: %+v", stats)
	}
}

// With small caches, everything is still served: what does not fit is fetched again.
func TestContentLargerThanTheCaches(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "pinned"
	cfg.Cache.Disk = 256 << 20
	origin := run(t, cfg)
	var big strings.Builder
	for i := range 1 << 20 {
		big.WriteString(strings.Repeat(string(rune('a'+i%26)), 39))
		big.WriteByte(byte(i))
	}
	files := map[string]string{"big.bin": big.String(), "index.html": ""} // 40 MiB
	root := origin.add(files)

	cfg = settings(t)
	cfg.Gateway.Serve = "any"
	cfg.Cache = config.Cache{Memory: 0, Disk: 16 << 20}
	cfg.Origins = []config.Origin{{Type: "gateway", URL: "http://" + origin.GatewayAddr().String()}}
	e := run(t, cfg)
	for range 2 {
		if code, _, body := e.get("127.0.0.1", "/ipfs/"+root+"/big.bin"); code != http.StatusOK || body != files["big.bin"] {
			t.Fatalf("status %d, %d bytes", code, len(body))
		}
	}
	used := int64(0)
	err := filepath.WalkDir(cfg.Data, func(path string, d os.DirEntry, err error) error {
		if info, infoErr := d.Info(); err == nil && infoErr == nil && !d.IsDir() {
			used += info.Size()
		}
		return err
	})
	if err != nil || used > 16<<20 {
		t.Errorf("the data folder holds %d bytes, %v", used, err)
	}
}

// A purge takes content out of memory and disk alike.
func TestPurge(t *testing.T) {
	e := run(t, settings(t))
	root := e.add(pages)
	e.get("127.0.0.1", "/ipfs/"+root+"/index.html")
	c := e.client()
	defer c.Close()
	if _, err := c.Purge(t.Context(), root, false, false); err == nil || !strings.Contains(err.Error(), "unpin") {
		t.Fatalf("purge of a pinned root: %v", err)
	}
	result, err := c.Purge(t.Context(), root, true, false)
	if err != nil || result.Removed == 0 {
		t.Fatalf("purge: %+v, %v", result, err)
	}
	if code, _, _ := e.get("127.0.0.1", "/ipfs/"+root+"/index.html"); code != http.StatusForbidden {
		t.Errorf("after the purge: status %d", code)
	}
	if s := e.Stats(); s.Cache.Blocks != 0 || s.Store.Blocks != 0 {
		t.Errorf("after the purge: %d blocks in memory, %d on disk", s.Cache.Blocks, s.Store.Blocks)
	}
}

// An import that the disk has no room for says so, and leaves nothing pinned.
func TestImportLargerThanTheDisk(t *testing.T) {
	cfg := settings(t)
	cfg.Cache.Disk = 16 << 20
	e := run(t, cfg)
	c := e.client()
	defer c.Close()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 40 << 20})
	for i := range 40 { // no two chunks are the same
		_, _ = w.Write(bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := c.Add(t.Context(), admin.TypeTar, &archive, task.Import{Pin: true}, nil)
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Reason != problem.StorageFull {
		t.Errorf("add: %v", err)
	}
	if s := e.Stats(); s.Store.PinnedBlocks != 0 || len(s.Imports) != 0 {
		t.Errorf("%d blocks are still pinned, imports %q", s.Store.PinnedBlocks, s.Imports)
	}
}

// A set-up that cannot work is refused whole: the folder and the ports are free
// again, and no goroutine stays.
func TestRefusedSetUps(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	notAFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notAFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"public address taken":   {func(c *config.Config) { c.Gateway.Listen = taken.Addr().String() }, "gateway.listen"},
		"operator address taken": {func(c *config.Config) { c.Admin.Listen = taken.Addr().String() }, "admin.listen"},
		"data is a file":         {func(c *config.Config) { c.Data = notAFolder }, notAFolder},
		"archive missing":        {func(c *config.Config) { c.Origins = []config.Origin{{Type: "car", Path: "/nowhere.car"}} }, "/nowhere.car"},
		"invalid settings":       {func(c *config.Config) { c.Cache.Disk = 1 }, "cache.disk"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t)
			data := cfg.Data
			tc.change(&cfg)
			if e, err := edge.New(cfg, build()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, %v; want an error with %q", e, err, tc.want)
			}
			again := settings(t)
			again.Data = data
			e, err := edge.New(again, build())
			if err != nil {
				t.Fatalf("the folder is not free: %v", err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An edge that is told to stop says that it is not ready, and goes on serving for a
// while.
func TestShutdownDelay(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.ShutdownDelay = config.Duration(2 * time.Second)
	e, err := edge.New(cfg, build())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	r := &running{Edge: e, t: t}
	root := r.add(pages)
	cancel()
	ready := func() int {
		res, err := http.Get("http://" + e.AdminAddr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for ready() != http.StatusServiceUnavailable {
		time.Sleep(time.Millisecond)
	}
	http.DefaultClient.CloseIdleConnections() // so that new ones are made
	if code, _, body := r.get("127.0.0.1", "/ipfs/"+root+"/a/b/c.txt"); code != http.StatusOK || body != "deep" {
		t.Errorf("while it lingers: status %d, %q", code, body)
	}
	for _, door := range []net.Addr{e.GatewayAddr(), e.AdminAddr()} {
		res, err := http.Get("http://" + door.String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if !res.Close {
			t.Errorf("%s: the answer does not say that its connection ends", door)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Readiness follows the life of the edge; health does not.
func TestReadiness(t *testing.T) {
	e := run(t, settings(t))
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/"} {
		res, err := http.Get("http://" + e.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}
