package edge_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/pin/record"
)

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %s", what)
		}
	}
}

// pinned waits until what the edge holds is so many pins and sites.
func (r *running) pinned(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d roots held by %s", n, r.Stats().Name), func() bool { return len(r.Held()) == n })
}

func (r *running) pin(target string, replicas int) admin.Pin {
	r.t.Helper()
	c := r.client()
	defer c.Close()
	p, err := c.AddPin(r.t.Context(), target, admin.PinParams{Replicas: replicas}, func(admin.Pin) {})
	if err != nil || p.Status != "pinned" {
		r.t.Fatalf("pin %s: %+v, %v", target, p, err)
	}
	return p
}

func (r *running) pinStatus(idOrCID string) admin.Pin {
	r.t.Helper()
	c := r.client()
	defer c.Close()
	list, err := c.PinStatus(r.t.Context(), idOrCID)
	if err != nil {
		r.t.Fatal(err)
	}
	return list[0]
}

// whole returns the edges that hold a pin whole and are there.
func whole(p admin.Pin) (names []string) {
	for _, e := range p.Edges {
		if e.Present && e.Status == "pinned" {
			names = append(names, e.Edge)
		}
	}
	slices.Sort(names)
	return names
}

// What is pinned at one edge is held by as many as it says, whatever edge is asked; when
// one of them is gone for good, the next takes its place, with the origin off.
func TestPinsOfAFleet(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "pinned"
	origin := run(t, cfg)
	content := library(12)
	root := origin.add(content)
	edges := fleet(t, 3, origin, func(c *config.Config) {
		c.Gateway.Serve = "pinned"
		c.Pin.Grace = config.Duration(300 * time.Millisecond)
	})
	p := edges[0].pin("/ipfs/"+root, 2)
	origin.stop()
	for _, e := range edges {
		until(t, "the same pin on every edge", func() bool {
			c := e.client()
			defer c.Close()
			list, err := c.PinStatus(t.Context(), root)
			return err == nil && len(list) == 1 && list[0].ID == p.ID && len(whole(list[0])) == 2
		})
		// It is served by CID everywhere, because the fleet pins it.
		for name, want := range content {
			if code, _, body := e.get("127.0.0.1", "/ipfs/"+root+"/"+name); code != http.StatusOK || body != want {
				t.Errorf("%s: %s: status %d", e.Stats().Name, name, code)
			}
		}
	}
	holders := whole(edges[0].pinStatus(p.ID))
	left := []*running{}
	for _, e := range edges {
		if e.Stats().Name == holders[0] {
			e.stop()
		} else {
			left = append(left, e)
		}
	}
	until(t, "two replicas again", func() bool {
		now := whole(left[0].pinStatus(p.ID))
		return len(now) == 2 && !slices.Contains(now, holders[0])
	})
	c := left[0].client()
	defer c.Close()
	found, err := c.VerifyPin(t.Context(), p.ID, nil)
	if err != nil || len(found) != 2 || found[0].Error != "" || found[1].Error != "" || found[0].Blocks == 0 || found[0].Blocks != found[1].Blocks {
		t.Errorf("verified %+v, %v", found, err)
	}
	removed, err := c.RemovePin(t.Context(), root)
	if err != nil || len(removed) != 1 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	for _, e := range left {
		e.pinned(0)
		if code, _, _ := e.get("127.0.0.1", "/ipfs/"+root+"/index.html"); code != http.StatusForbidden {
			t.Errorf("unpinned, but status %d", code)
		}
	}
}

// An import becomes a pin, and its blocks go to the edges that are to hold them. A purge
// with unpin ends that.
func TestAnImportBecomesAPin(t *testing.T) {
	origin := run(t, settings(t))
	edges := fleet(t, 3, origin, func(c *config.Config) { c.Pin.Replicas = 1 })
	var roots []string
	for i := range 6 {
		roots = append(roots, edges[0].add(map[string]string{"index.html": fmt.Sprint("page ", i), "a.bin": strings.Repeat(fmt.Sprint(i), 600_000)}))
	}
	for _, root := range roots {
		until(t, "one replica and no more", func() bool {
			p := edges[1].pinStatusOf(root)
			return p != nil && p.Status == "pinned" && len(whole(*p)) == 1
		})
	}
	until(t, "no import holds anything", func() bool { return len(edges[0].Stats().Imports) == 0 })
	until(t, "nothing is held twice", func() bool {
		total := 0
		for _, e := range edges {
			total += len(e.Held())
		}
		return total == len(roots)
	})
	c := edges[2].client()
	defer c.Close()
	result, err := c.Purge(t.Context(), roots[0], true, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range result.Fleet {
		if s.Error != "" {
			t.Errorf("%s: %s", s.Edge, s.Error)
		}
	}
	if list, err := c.PinStatus(t.Context(), roots[0]); err == nil {
		t.Errorf("purged, but pinned: %+v", list)
	}
}

// pinStatusOf returns the pin of a CID, or nil.
func (r *running) pinStatusOf(root string) *admin.Pin {
	c := r.client()
	defer c.Close()
	list, err := c.PinStatus(r.t.Context(), root)
	if err != nil {
		return nil
	}
	return &list[0]
}

// The pinning service is on the admin API's listener, with tokens of its own.
func TestPinningServiceAtTheDoor(t *testing.T) {
	cfg := settings(t)
	cfg.Pin.Tokens = []config.Secret{"first-token-first", "second-token-second"}
	e := run(t, cfg)
	root := e.add(pages)
	ask := func(method, path, token, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+e.AdminAddr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(answer)
	}
	if code, body := ask("POST", "/pins", "no-token", `{"cid":"`+root+`"}`); code != 401 {
		t.Errorf("no token: %d %s", code, body)
	}
	code, body := ask("POST", "/pins", "first-token-first", `{"cid":"`+root+`","name":"one"}`)
	if code != 202 || !strings.Contains(body, `/p2p/`) {
		t.Fatalf("add: %d %s", code, body)
	}
	until(t, "the pin is pinned", func() bool {
		_, body := ask("GET", "/pins", "first-token-first", "")
		return strings.Contains(body, `"count":1`) && strings.Contains(body, `"name":"one"`)
	})
	if _, body := ask("GET", "/pins?status=queued,pinning,pinned,failed", "second-token-second", ""); !strings.Contains(body, `"count":0`) {
		t.Errorf("another token sees %s", body)
	}
	// The operator sees all: the import's pin and this one.
	c := e.client()
	defer c.Close()
	var owners []string
	n, err := c.Pins(t.Context(), record.Query{}, func(p admin.Pin) { owners = append(owners, p.Owner) })
	if err != nil || n != 2 || slices.Compact(slices.Sorted(slices.Values(owners)))[0] == owners[0] && owners[0] == owners[1] {
		t.Errorf("%d pins of %v, %v", n, owners, err)
	}
	if e.Stats().Pins["pinned"] != 2 {
		t.Errorf("counted %v", e.Stats().Pins)
	}
}

// resolver answers for _dnslink.www.example.org over HTTPS' own kind of DNS.
type resolver struct {
	*httptest.Server
	mu sync.Mutex
	to string
}

func newResolver(t *testing.T) *resolver {
	r := &resolver{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.answer))
	t.Cleanup(r.Close)
	return r
}

func (r *resolver) lead(root string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = "/ipfs/" + root
}

func (r *resolver) answer(w http.ResponseWriter, req *http.Request) {
	body, _ := base64.RawURLEncoding.DecodeString(req.URL.Query().Get("dns"))
	var q dns.Msg
	if err := q.Unpack(body); err != nil || len(q.Question) != 1 {
		http.Error(w, "expected one question", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var a dns.Msg
	a.SetReply(&q)
	if q.Question[0].Name == "_dnslink.www.example.org." && r.to != "" {
		a.Answer = append(a.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{"dnslink=" + r.to},
		})
	}
	packed, _ := a.Pack()
	w.Header().Set("Content-Type", "application/dns-message")
	_, _ = w.Write(packed)
}

// A site's new release is fetched whole before it is switched to. While a part of it is
// nowhere to be had, the last one is shown, also after a restart, and the statistics
// say why.
func TestASiteMovesToWholeReleases(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "any"
	publisher := run(t, cfg)
	first := publisher.add(map[string]string{"index.html": "first", "a.bin": strings.Repeat("1", 700_000)})
	names := newResolver(t)
	names.lead(first)

	// The origin has a hole: it lacks one block of the second release for a while.
	var mu sync.Mutex
	hole := true
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		lacks := hole
		mu.Unlock()
		res, err := http.Get("http://" + publisher.GatewayAddr().String() + r.URL.String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		if lacks && bytes.Equal(body, []byte("second")) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(body)
	}))
	defer origin.Close()

	cfg = settings(t)
	cfg.Name = "site"
	cfg.Sites = []config.Site{{Host: "www.example.org", Content: "dnslink"}}
	cfg.Names.Resolvers = []string{names.URL}
	cfg.Origins = []config.Origin{{Type: "gateway", URL: origin.URL}}
	e := run(t, cfg)
	shows := func(want string) bool { _, _, body := e.get("www.example.org", "/"); return body == want }
	until(t, "the first release", func() bool { return shows("first") })
	e.pinned(1)

	names.lead(publisher.add(map[string]string{"index.html": "second", "b.bin": strings.Repeat("2", 700_000)}))
	until(t, "a release that waits", func() bool { w := e.Stats().Waiting; return len(w) == 1 && w[0].Reason != "" })
	if w := e.Stats().Waiting[0]; w.Site != "www.example.org" || w.Status != "pinning" || !strings.Contains(w.Reason, "was not found") {
		t.Errorf("waiting: %+v", w)
	}
	if !shows("first") {
		t.Error("a release is shown that is not whole")
	}
	e.stop()
	e = run(t, cfg)
	if !shows("first") {
		t.Error("after a restart a release is shown that is not whole")
	}
	mu.Lock()
	hole = false
	mu.Unlock()
	until(t, "the second release", func() bool { return shows("second") })
	e.pinned(1) // the first one is let go
	if w := e.Stats().Waiting; len(w) != 0 {
		t.Errorf("waiting: %+v", w)
	}
}

// A reload takes up new tokens and sites, and lets go of what no site shows any more.
func TestReloadOfPins(t *testing.T) {
	cfg := settings(t)
	e, source := reloadable(t, cfg)
	root := e.add(pages)
	c := e.client()
	defer c.Close()
	if _, err := c.RemovePin(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	e.pinned(0)
	status := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.AdminAddr().String()+"/pins", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := status("some-token-here"); got != http.StatusUnauthorized {
		t.Errorf("before: status %d", got)
	}
	reload := func(want string, change func(*config.Config)) {
		t.Helper()
		source.set(change)
		r, err := e.reload("")
		if err != nil || keys(r.Changed) != want || len(r.NeedsRestart) != 0 {
			t.Fatalf("reload: %+v, %v", r, err)
		}
	}
	reload("sites pin.tokens", func(c *config.Config) {
		c.Pin.Tokens = []config.Secret{"some-token-here"}
		c.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	})
	e.pinned(1)
	if got := status("some-token-here"); got != http.StatusOK {
		t.Errorf("after: status %d", got)
	}
	reload("pin.sites", func(c *config.Config) { c.Pin.Sites = false })
	e.pinned(0)
	if code, _, body := e.get("www.example.org", "/"); code != http.StatusOK || body != pages["index.html"] {
		t.Errorf("not pinned any more: status %d", code)
	}
}

// A release that does not fit on the disk goes live all the same, and leaves nothing
// protected.
func TestASiteThatDoesNotFit(t *testing.T) {
	cfg := settings(t)
	cfg.Gateway.Serve = "any"
	publisher := run(t, cfg)
	names := newResolver(t)
	names.lead(publisher.add(map[string]string{"index.html": "small"}))
	cfg = settings(t)
	cfg.Name = "site"
	cfg.Cache = config.Cache{Memory: 8 << 20, Disk: 16 << 20}
	cfg.Sites = []config.Site{{Host: "www.example.org", Content: "dnslink"}}
	cfg.Names.Resolvers = []string{names.URL}
	cfg.Origins = []config.Origin{{Type: "gateway", URL: "http://" + publisher.GatewayAddr().String()}}
	e := run(t, cfg)
	shows := func(want string) bool { _, _, body := e.get("www.example.org", "/"); return body == want }
	until(t, "the small release", func() bool { return shows("small") })
	e.pinned(1)
	large := make([]byte, 24<<20)
	for i := range large {
		large[i] = byte(i>>16) ^ byte(i*7)
	}
	names.lead(publisher.add(map[string]string{"index.html": "large", "large.bin": string(large)}))
	until(t, "the large release", func() bool { return shows("large") })
	if code, _, body := e.get("www.example.org", "/large.bin"); code != http.StatusOK || body != string(large) {
		t.Errorf("the large file: status %d, %d bytes", code, len(body))
	}
	until(t, "nothing is protected", func() bool { return e.Stats().Store.PinnedBlocks == 0 })
}
