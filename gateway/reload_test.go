package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/coding"
)

// reload puts changed options in force.
func (e *edge) reload(change func(*Options)) {
	e.t.Helper()
	opts := e.sites.Load().opts
	change(&opts)
	apply, err := e.Prepare(opts)
	if err != nil {
		e.t.Fatal(err)
	}
	apply()
}

// kept returns how many pages are kept.
func (e *edge) kept() (n int) {
	for _, entry := range e.hot.All() {
		if _, ok := entry.Value.(*hotPage); ok {
			n++
		}
	}
	return n
}

func TestReloadChangesWhatIsServed(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Serve = ServePinned })
	root := website(t, e.shelf)
	path := "/ipfs/" + root.String() + "/css/site.css"
	e.get("http://127.0.0.1"+path).want(t, 403, "gateway.serve: pinned")
	e.reload(func(o *Options) { o.Serve = ServeAny })
	e.get("http://127.0.0.1"+path).want(t, 200, "body{}")
	e.reload(func(o *Options) { o.Serve = ServePinned })
	e.get("http://127.0.0.1"+path).want(t, 403, "gateway.serve: pinned")

	e.get("http://new.example.org"+path).want(t, 404, "nothing is served here")
	e.reload(func(o *Options) { o.Serve, o.Hosts = ServeAny, []Host{{"New.example.org", false}} })
	e.get("http://new.example.org"+path).want(t, 200, "body{}")
	e.reload(func(o *Options) { o.Hosts = []Host{{"new.example.org", true}} })
	e.get("http://new.example.org"+path).want(t, 301, "")
	e.get("http://"+root.String()+".ipfs.new.example.org/css/site.css").want(t, 200, "body{}")
	e.reload(func(o *Options) { o.Serve, o.Hosts = ServeSites, nil })
	e.get("http://"+root.String()+".ipfs.new.example.org/css/site.css").want(t, 404, "nothing is served here")
}

func TestReloadChangesWhomToBelieve(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	e.reload(func(o *Options) {
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
		o.Serve = ServeSites
	})
	ask := func(status int) {
		t.Helper()
		e.get("http://10.1.2.3/css/site.css", "X-Forwarded-Host: www.example.org").want(t, status, "")
	}
	for range 2 {
		ask(404)
	}
	e.reload(func(o *Options) { o.TrustedProxies = []string{"192.0.2.0/24"} }) // httptest's own address
	for range 2 {
		ask(200)
	}
	e.reload(func(o *Options) { o.TrustedProxies = nil })
	ask(404)
}

// What was asked before stays in memory, unless the new options may answer otherwise.
func TestReloadKeepsWhatItCan(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	e.reload(func(o *Options) { o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}} })
	warm := func() {
		t.Helper()
		e.get("http://www.example.org/css/site.css").want(t, 200, "body{}")
		if e.kept() != 1 {
			t.Fatalf("%d routes", e.kept())
		}
	}
	warm()
	e.reload(func(o *Options) {
		o.MaxRequests, o.RetrievalTimeout, o.DrainTimeout, o.HotBytes = 7, time.Second, time.Minute, 1<<20
	})
	e.reload(func(o *Options) { o.Sites = []Site{{"WWW.example.org", "/ipfs/" + root.String()}} })
	if e.kept() != 1 {
		t.Error("limits ended what was kept")
	}
	for _, step := range []struct {
		name   string
		change func(*Options)
	}{
		{"another site", func(o *Options) {
			o.Sites = []Site{o.Sites[0], {"b.example.org", "/ipfs/" + root.String()}}
		}},
		{"a site less", func(o *Options) { o.Sites = o.Sites[:1] }},
		{"another host", func(o *Options) { o.Hosts = append(slices.Clone(o.Hosts), Host{"gw2.example.org", false}) }},
		{"subdomains", func(o *Options) { o.Hosts = []Host{{"localhost", false}} }},
		{"another policy", func(o *Options) { o.Serve = ServeSites }},
		{"a proxy", func(o *Options) { o.TrustedProxies = []string{"10.0.0.0/8"} }},
		{"no bodies", func(o *Options) { o.HotBodies = false }},
		{"no room", func(o *Options) { o.HotBytes = 1 }},
	} {
		if e.reload(step.change); e.kept() != 0 {
			t.Errorf("%s: %d routes stay", step.name, e.kept())
		}
		e.reload(func(o *Options) { o.HotBodies, o.HotBytes = true, 1<<20 })
		warm()
	}
}

func TestReloadOfWhatIsWrongChangesNothing(t *testing.T) {
	e := newEdge(t, nil)
	before := e.sites.Load()
	for want, change := range map[string]func(*Options){
		"gateway.serve":              func(o *Options) { o.Serve = "all" },
		"sites[0].content":           func(o *Options) { o.Sites = []Site{{"a.example.org", "x"}} },
		"gateway.hosts[0].host":      func(o *Options) { o.Hosts = []Host{{"a b", true}} },
		"gateway.trusted_proxies[0]": func(o *Options) { o.TrustedProxies = []string{"x"} },
		"gateway.max_requests":       func(o *Options) { o.MaxRequests = 0 },
		"gateway.hot_bytes":          func(o *Options) { o.HotBytes = 0 },
	} {
		opts := before.opts
		change(&opts)
		if _, err := e.Prepare(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if e.sites.Load() != before {
		t.Error("something changed")
	}
}

// A request keeps the rules that it came in with, and what it brings is not kept for
// those that come under the new ones.
func TestReloadDuringARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		root := website(t, e.shelf)
		release := make(chan struct{})
		e.shelf.hook(func(context.Context, cid.Cid) error { <-release; return nil })
		url := "http://gw.example.org/ipfs/" + root.String() + "/css/site.css"
		var waiting sync.WaitGroup
		waiting.Go(func() { e.get(url).want(t, 200, "body{}") })
		synctest.Wait()
		e.reload(func(o *Options) { o.Serve, o.Hosts = ServePinned, nil })
		close(release)
		waiting.Wait()
		e.get(url).want(t, 404, "nothing is served here")
		if e.kept() != 0 {
			t.Error("an answer under the old rules was kept")
		}
	})
}

func TestReloadChangesLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(o *Options, _ *edge) { o.MaxRequests = 1 })
		cold := e.shelf.tree(t, map[string]string{"index.html": "cold"})
		e.shelf.put(cold, e.shelf.blocks[string(cold.Hash())].data, block.Origin)
		e.shelf.hook(func(ctx context.Context, _ cid.Cid) error { <-ctx.Done(); return context.Cause(ctx) })
		url := "http://127.0.0.1/ipfs/" + cold.String() + "/"
		var waiting sync.WaitGroup
		slow := func() { waiting.Go(func() { e.get(url).want(t, 504, "") }); synctest.Wait() }
		slow()
		e.get(url).want(t, 503, "")
		e.reload(func(o *Options) { o.MaxRequests = 2 })
		slow()
		e.reload(func(o *Options) { o.MaxRequests = 1 })
		e.get(url).want(t, 503, "")
		waiting.Wait()
		e.reload(func(o *Options) { o.RetrievalTimeout = time.Second })
		start := time.Now()
		e.get(url).want(t, 504, "")
		if took := time.Since(start); took != time.Second {
			t.Errorf("waited %s", took)
		}
	})
}

// Nothing that is served before and after a reload fails during it.
func TestReloadUnderLoad(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Serve = ServeSites })
	root := website(t, e.shelf)
	sites := []Site{{"www.example.org", "/ipfs/" + root.String()}}
	e.reload(func(o *Options) { o.Sites = sites })
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for range 4 {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := e.get("http://www.example.org/css/site.css"); a.StatusCode != http.StatusOK || a.body != "body{}" {
					t.Errorf("got %d %q", a.StatusCode, a.body)
					return
				}
			}
		})
	}
	for i := range 200 {
		e.reload(func(o *Options) {
			o.Sites = append([]Site{{fmt.Sprintf("s%d.example.org", i), "/ipfs/" + root.String()}}, sites...)
			o.Hosts = []Host{{fmt.Sprintf("gw%d.example.org", i), i%2 == 0}}
			o.MaxRequests = 100 + i
		})
	}
	close(stop)
	crowd.Wait()
}

// With no content in memory there are no encoded forms of it either, whatever was so
// at the start.
func TestReloadOfBodiesIsOneOfForms(t *testing.T) {
	for _, first := range []bool{true, false} {
		e := newEdge(t, func(o *Options, _ *edge) { o.HotBodies = first })
		text := strings.Repeat("all work and no play makes a dull page. ", 200)
		root := e.shelf.tree(t, map[string]string{"index.html": text})
		ask := func(bodies bool) {
			t.Helper()
			for range 3 {
				a := e.get("http://127.0.0.1/ipfs/"+root.String()+"/index.html", "Accept-Encoding: gzip")
				if a.StatusCode != http.StatusOK || a.Header.Get("Content-Encoding") != "gzip" {
					t.Fatalf("got %d %v", a.StatusCode, a.Header)
				}
			}
			if bytes, _ := e.hot.Size(); !bodies && bytes > int64(len(text)) {
				t.Errorf("%d bytes are kept", bytes)
			}
			forms := 0
			for _, entry := range e.hot.All() {
				if _, ok := entry.Value.(*coding.Form); ok {
					forms++
				}
			}
			if (forms > 0) != bodies {
				t.Errorf("first %t, now %t: %d forms are kept", first, bodies, forms)
			}
		}
		ask(first)
		e.reload(func(o *Options) { o.HotBodies = !first })
		ask(!first)
	}
}
