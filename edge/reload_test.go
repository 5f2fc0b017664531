package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/edge"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// source is where the settings of an edge under test are read from.
type source struct {
	mu   sync.Mutex
	next config.Config
	err  error
	took []config.Config // what Reloaded was told
	log  bytes.Buffer
}

func (s *source) set(change func(*config.Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.next)
}

func (s *source) load() (config.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next, s.err
}

func (s *source) reloaded(c config.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, c)
}

// reloadable runs an edge whose settings come from a source.
func reloadable(t *testing.T, cfg config.Config) (*running, *source) {
	t.Helper()
	s := &source{next: cfg}
	return runAs(t, cfg, edge.Build{
		Version: "test", Log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelWarn})), Load: s.load, Reloaded: s.reloaded,
	}), s
}

func keys(list []task.Change) string {
	var names []string
	for _, c := range list {
		names = append(names, c.Key)
	}
	return strings.Join(names, " ")
}

func (r *running) reload(token string) (task.Reloaded, error) {
	r.t.Helper()
	c, err := client.New(r.AdminAddr().String(), token)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	return c.Reload(r.t.Context())
}

// metric returns the value of a metric that has no labels.
func (r *running) metric(name string) string {
	r.t.Helper()
	for line := range strings.Lines(r.scrape()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	r.t.Fatalf("no metric %s", name)
	return ""
}

func (r *running) scrape() string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.AdminAddr().String()+"/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer new")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("%s, %v", res.Status, err)
	}
	return string(text)
}

func TestReload(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "pinned"
	library := run(t, cfg)
	root := library.add(pages)

	e, s := reloadable(t, settings(t))
	const host = "www.example.org"
	if code, _, _ := e.get(host, "/index.html"); code != http.StatusNotFound {
		t.Fatalf("before: status %d", code)
	}
	if result, err := e.reload(""); err != nil || len(result.Changed)+len(result.NeedsRestart) != 0 {
		t.Fatalf("a reload of the same: %+v, %v", result, err)
	}
	s.set(func(c *config.Config) { c.Sites = []config.Site{{Host: host, Content: "/ipfs/" + root}} })
	if _, err := e.reload(""); err != nil {
		t.Fatal(err)
	}
	// Not there, and that is remembered; but not when there is another place to ask.
	if code, _, _ := e.get(host, "/index.html"); code != http.StatusNotFound {
		t.Errorf("without an origin: status %d", code)
	}
	s.set(func(c *config.Config) {
		c.Origins = []config.Origin{{Type: "gateway", URL: "http://" + library.GatewayAddr().String()}}
		c.Gateway.MaxRequests, c.Cache.Memory = 17, 64<<20
		c.Admin.Token, c.Log.Level = "new", "debug"
		c.Data, c.Cache.Disk = "/elsewhere", 128<<20
		c.Swarm.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	})
	result, err := e.reload("")
	if err != nil {
		t.Fatal(err)
	}
	if got := keys(result.Changed); got != "gateway.max_requests cache.memory origins admin.token log.level" {
		t.Errorf("changed: %s", got)
	}
	if got := keys(result.NeedsRestart); got != "data cache.disk swarm.listen" {
		t.Errorf("needs a restart: %s", got)
	}
	if code, _, body := e.get(host, "/index.html"); code != http.StatusOK || body != pages["index.html"] {
		t.Errorf("after: status %d, %q", code, body)
	}
	if _, err := e.reload(""); err == nil || !strings.Contains(err.Error(), "admin.token") {
		t.Errorf("without the new token: %v", err)
	}
	// What was not put in force is still told of.
	if result, err := e.reload("new"); err != nil || keys(result.NeedsRestart) != "data cache.disk swarm.listen" || len(result.Changed) != 0 {
		t.Errorf("again: %+v, %v", result, err)
	}
	if got := e.Stats().Cache.CapacityBytes; got != 64<<20 {
		t.Errorf("the memory cache has %d bytes", got)
	}
	if len(s.took) != 4 || s.took[2].Log.Level != "debug" || s.took[2].Data == "/elsewhere" {
		t.Errorf("the process was told of %d", len(s.took))
	}
	if !strings.Contains(s.log.String(), "needs_restart=\"[data cache.disk swarm.listen]\"") {
		t.Errorf("log: %s", s.log.String())
	}

	// And back again: the site and its origin are gone, its content is still pinned by nobody.
	s.set(func(c *config.Config) { c.Sites, c.Origins = nil, nil })
	if _, err := e.reload("new"); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := e.get(host, "/index.html"); code != http.StatusNotFound {
		t.Errorf("after the site was removed: status %d", code)
	}
}

func TestReloadOfWrongSettingsChangesNothing(t *testing.T) {
	cfg := settings(t)
	cfg.Admin.Token = "new"
	e, s := reloadable(t, cfg)
	root := e.addWith("new", pages)
	s.set(func(c *config.Config) {
		c.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	})
	if _, err := e.reload("new"); err != nil {
		t.Fatal(err)
	}
	at := e.metric("shoal_config_last_reload_success_timestamp_seconds")
	for name, tc := range map[string]struct {
		change func(*config.Config)
		err    error
		want   string
	}{
		"cannot be read":   {func(*config.Config) {}, errors.New("config.yaml:3: sites[0].hst: unknown setting"), "sites[0].hst"},
		"archive missing":  {func(c *config.Config) { c.Origins = []config.Origin{{Type: "car", Path: "/nowhere.car"}} }, nil, "/nowhere.car"},
		"invalid site":     {func(c *config.Config) { c.Sites = []config.Site{{Host: "a b", Content: "dnslink"}} }, nil, "sites[0].host"},
		"open to everyone": {func(c *config.Config) { c.Admin = config.Admin{Listen: "127.0.0.1:1", Token: "a\nb"} }, nil, "admin.token"},
	} {
		s.set(func(c *config.Config) {
			c.Gateway.MaxRequests, c.Sites = 1, nil
			tc.change(c)
			s.err, s.took = tc.err, nil
		})
		_, err := e.reload("new")
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Status != http.StatusUnprocessableEntity || refused.Reason != problem.Invalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if code, _, _ := e.get("www.example.org", "/index.html"); code != http.StatusOK {
			t.Errorf("%s: the site answers %d", name, code)
		}
		if e.metric("shoal_config_last_reload_successful") != "0" || e.metric("shoal_config_last_reload_success_timestamp_seconds") != at || len(s.took) != 0 {
			t.Errorf("%s: the metrics do not say that it failed", name)
		}
		s.set(func(c *config.Config) {
			*c, s.err = cfg, nil
			c.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
		})
		if _, err := e.reload("new"); err != nil || e.metric("shoal_config_last_reload_successful") != "1" {
			t.Errorf("%s: then repaired: %v", name, err)
		}
		at = e.metric("shoal_config_last_reload_success_timestamp_seconds")
	}
}

// The admin API never loses its token because another address, which it does
// not listen on yet, would need none.
func TestReloadKeepsTheDoorShut(t *testing.T) {
	cfg := settings(t)
	cfg.Admin = config.Admin{Listen: "0.0.0.0:0", Token: "new"}
	e, s := reloadable(t, cfg)
	s.set(func(c *config.Config) { c.Admin = config.Admin{Listen: "127.0.0.1:0"} })
	if _, err := e.reload("new"); err == nil || !strings.Contains(err.Error(), "admin.listen") || !strings.Contains(err.Error(), "restart") {
		t.Errorf("got %v", err)
	}
	if _, err := e.reload(""); err == nil {
		t.Error("the token is gone")
	}
}

func TestAnEdgeWithoutASourceCannotBeReloaded(t *testing.T) {
	e := run(t, settings(t))
	if _, err := e.reload(""); err == nil || !strings.Contains(err.Error(), "read again") {
		t.Errorf("got %v", err)
	}
}

// No request fails because of a reload: not one that is served from memory, not one
// that waits for an origin, not one whose origin was replaced meanwhile.
func TestReloadUnderLoad(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "pinned"
	library := run(t, cfg)
	files := map[string]string{}
	for i := range 400 {
		files[fmt.Sprintf("%d.txt", i)] = fmt.Sprintf("page %d %s", i, strings.Repeat("x", i*37))
	}
	root := library.add(files)
	addr := library.GatewayAddr().String()

	cfg = settings(t)
	cfg.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	cfg.Origins = []config.Origin{{Type: "gateway", URL: "http://" + addr}}
	cfg.Cache.Memory = 1 << 20
	e, s := reloadable(t, cfg)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var crowd sync.WaitGroup
	done := make(chan struct{})
	served := make(chan struct{}, 4*200)
	for visitor := range 4 {
		crowd.Go(func() {
			for i := range 200 {
				name := fmt.Sprintf("%d.txt", (i*7+visitor*100)%400)
				if code, body, err := fetch(ctx, addrOf(e), "www.example.org", "/"+name); err != nil || code != http.StatusOK || body != files[name] {
					t.Errorf("%s: status %d, %d bytes, %v", name, code, len(body), err)
					return
				}
				served <- struct{}{}
			}
		})
	}
	go func() { crowd.Wait(); close(done) }()
	reloads := 0
	for ; ; reloads++ {
		s.set(func(c *config.Config) {
			// Another origin each time, that has the same.
			c.Origins = []config.Origin{{Type: "gateway", URL: "http://" + addr, Token: config.Secret(fmt.Sprint(reloads))}}
			c.Sites = append(slices.Clone(cfg.Sites), config.Site{Host: fmt.Sprintf("s%d.example.org", reloads), Content: "/ipfs/" + root})
			c.Gateway.MaxRequests = 100 + reloads
			c.Cache.Memory = config.Size(1+reloads%3) << 20
			c.Gateway.Serve = []string{"sites", "any", "pinned"}[reloads%3]
		})
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := e.Reload(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		for range 10 { // so that the reloads leave the visitors some of the machine
			select {
			case <-served:
			case <-done:
				t.Logf("%d reloads", 2*(reloads+1))
				return
			}
		}
	}
}

func addrOf(e *running) string { return e.GatewayAddr().String() }

// fetch asks for a path under a host's name; unlike running.get it may be called from
// any goroutine.
func fetch(ctx context.Context, addr, host, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}
