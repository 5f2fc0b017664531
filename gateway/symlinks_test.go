package gateway

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
)

// link is a symbolic link.
func (s *shelf) link(t testing.TB, target string) cid.Cid {
	t.Helper()
	return s.handmade(t, handmade{kind: unixfs.TSymlink, content: target, noSize: true, noSizes: true})
}

// folder is a folder of what is given: texts are files, texts behind "->" links, and CIDs
// what they lead to.
func (s *shelf) folder(t testing.TB, entries map[string]any) cid.Cid {
	t.Helper()
	h := handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true}
	for name, entry := range entries {
		l := handmadeLink{name: name, tsize: 1}
		switch v := entry.(type) {
		case cid.Cid:
			l.cid = v
		case string:
			if target, ok := strings.CutPrefix(v, "->"); ok {
				l.cid = s.link(t, target)
			} else {
				l.cid = s.raw(t, cid.Raw, []byte(v))
			}
		case map[string]any:
			l.cid = s.folder(t, v)
		}
		h.links = append(h.links, l)
	}
	slices.SortFunc(h.links, func(x, y handmadeLink) int { return strings.Compare(x.name, y.name) })
	return s.handmade(t, h)
}

// linked is a site with links of every kind. Above it lies what is none of its own.
func linked(t testing.TB, s *shelf, rules string) (above, site cid.Cid) {
	t.Helper()
	entries := map[string]any{
		"index.html": "->pages/home.html", "hello.txt": "hello", "style": "->css/site.css",
		"pages": map[string]any{"home.html": "<h1>home</h1>", "up": "->../hello.txt", "out": "->../../secret.txt", "around": "->../css/../pages/./home.html", "self": "->."},
		"css":   map[string]any{"site.css": "body{}"}, "look": "->css", "look2": "->look", "file": "->hello.txt", "file2": "->file", "slash": "->css/",
		"through": "->look2/site.css", "loop": "->loop", "ping": "->pong", "pong": "->ping", "none": "->nowhere", "below": "->hello.txt/x",
		"out": "->../secret.txt", "up": "->..", "further": "->../../../etc/passwd", "back": "->../dist/hello.txt", "absolute": "->/hello.txt", "rooted": "->/",
		"link0": "->hello.txt",
	}
	for i := range 41 {
		entries[fmt.Sprintf("link%d", i+1)] = fmt.Sprintf("->link%d", i)
	}
	if rules != "" {
		entries["lost.html"], entries["_redirects"] = "<h1>lost</h1>", rules
	}
	site = s.folder(t, entries)
	return s.folder(t, map[string]any{"dist": site, "secret.txt": "secret", "hello.txt": "another hello", "_redirects": "/* /secret.txt 200\n"}), site
}

var linkTable = []struct {
	path   string
	status int
	text   string
}{
	{"/", 200, "<h1>home</h1>"}, // an index.html that is a link
	{"/index.html", 200, "<h1>home</h1>"},
	{"/file", 200, "hello"}, {"/file2", 200, "hello"},
	{"/style", 200, "body{}"}, {"/through", 200, "body{}"},
	{"/look", 301, ""}, {"/look/", 200, "site.css"}, {"/look2/", 200, "site.css"}, {"/slash/", 200, "site.css"},
	{"/look/site.css", 200, "body{}"}, {"/look2/site.css", 200, "body{}"}, {"/slash/site.css", 200, "body{}"},
	{"/pages/up", 200, "hello"}, {"/pages/around", 200, "home"}, {"/pages/self/self/up", 200, "hello"},
	{"/link39", 200, "hello"}, // behind it are 40 links
	{"/link40", 422, "symbolic links"}, {"/link41", 422, "symbolic links"},
	{"/loop", 422, "symbolic links"}, {"/ping", 422, "symbolic links"}, {"/loop/x", 422, "symbolic links"},
	{"/none", 404, ""}, {"/below", 404, ""}, {"/file/x", 404, ""},
	{"/out", 404, ""}, {"/pages/out", 404, ""}, {"/up", 404, ""}, {"/up/secret.txt", 404, ""}, {"/further", 404, ""},
	{"/back", 404, ""}, // out and in again: what lies outside has no name in the site
	{"/absolute", 404, ""}, {"/rooted", 404, ""}, {"/rooted/hello.txt", 404, ""},
}

// A site's symbolic links are followed where they stay inside (web gateways: the site is
// the root, as of a file system that is changed into, chroot(2)), whatever names it: a CID,
// a path below one, a DNSLink to either.
func TestSymbolicLinksOfASite(t *testing.T) {
	for _, rules := range []string{"", "/* /lost.html 404\n"} {
		var above, site cid.Cid
		e := newEdge(t, func(o *Options, e *edge) {
			above, site = linked(t, e.shelf, rules)
			o.Sites = []Site{
				{"root.example.org", "/ipfs/" + site.String()}, {"below.example.org", "/ipfs/" + above.String() + "/dist"},
				{"dns.example.org", ContentDNSLink}, {"dnsbelow.example.org", ContentDNSLink},
			}
			e.names.set("dns.example.org", "/ipfs/"+site.String())
			e.names.set("dnsbelow.example.org", "/ipfs/"+above.String()+"/dist")
			e.names.set("linked.example.net", "/ipfs/"+above.String()+"/dist")
		})
		for _, host := range []string{
			"root.example.org", "below.example.org", "dns.example.org", "dnsbelow.example.org", "linked.example.net",
			site.String() + ".ipfs.localhost", "linked-example-net.ipns.localhost",
		} {
			for _, tc := range linkTable {
				for range 2 { // the second time by steps that are known
					a := e.get("http://" + host + tc.path)
					text := tc.text
					if rules != "" && tc.status == 404 {
						text = "<h1>lost</h1>" // _redirects apply
					}
					if a.StatusCode != tc.status || !strings.Contains(a.body, text) || strings.Contains(a.body, "secret") && tc.status < 300 {
						t.Errorf("%s%s: %d %.200q, want %d %q", host, tc.path, a.StatusCode, a.body, tc.status, text)
					}
				}
			}
			if a := e.get("http://" + host + "/look"); a.Header.Get("Location") != "/look/" {
				t.Errorf("%s: %v", host, a.Header)
			}
		}
	}
}

// Paths show a link for what it is, as the conformance suite demands: its text, of the type
// inode/symlink. What sites have found out about it changes nothing.
func TestSymbolicLinksByPath(t *testing.T) {
	var above, site cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		above, site = linked(t, e.shelf, "")
		o.Sites = []Site{{"www.example.org", "/ipfs/" + site.String()}}
	})
	base := "http://127.0.0.1/ipfs/" + site.String()
	for range 2 {
		for path, target := range map[string]string{"/file": "hello.txt", "/look": "css", "/out": "../secret.txt", "/loop": "loop", "/absolute": "/hello.txt", "/pages/up": "../hello.txt"} {
			for _, at := range []string{base, "http://127.0.0.1/ipfs/" + above.String() + "/dist", "http://127.0.0.1/ipns/www.example.org"} {
				a := e.get(at + path)
				if a.StatusCode != 200 || a.body != target || a.Header.Get("Content-Type") != "inode/symlink" {
					t.Errorf("%s%s: %d %q %s", at, path, a.StatusCode, a.body, a.Header.Get("Content-Type"))
				}
			}
		}
		e.get(base+"/look/site.css").want(t, 404, "")
		e.get(base+"/").want(t, 200, "hello.txt") // its index.html is none here, so it is listed
		for _, tc := range linkTable {
			e.get("http://www.example.org" + tc.path)
		}
	}
}

// What a link outside of the site leads to is not read.
func TestLinksOutOfASiteReadNothing(t *testing.T) {
	var above cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		above, _ = linked(t, e.shelf, "")
		o.Serve = ServeSites
		o.Sites = []Site{{"www.example.org", "/ipfs/" + above.String() + "/dist"}}
	})
	secret := e.shelf.child(t, above, "secret.txt")
	e.get("http://www.example.org/out").want(t, 404, "")
	e.get("http://www.example.org/up/secret.txt").want(t, 404, "")
	for _, path := range []string{"/secret.txt", "/dist/out", "/dist/pages/out", "/dist/up/secret.txt", "/dist/nowhere", "/dist/../secret.txt", "/dist/%2e%2e/secret.txt"} {
		for _, at := range []string{"http://127.0.0.1/ipfs/" + above.String(), "http://" + above.String() + ".ipfs.localhost"} {
			if a := e.get(at + path); strings.TrimSpace(a.body) == "secret" {
				t.Errorf("%s%s: %d %q", at, path, a.StatusCode, a.body)
			}
		}
	}
	if n := e.shelf.asked[string(secret.Hash())]; n > 0 {
		t.Errorf("what lies outside was read %d times", n)
	}
}

// A target is a path, and no longer than operating systems let paths be: forty of 1 MiB in a
// row would take a gigabyte of names.
func TestLongSymbolicLinks(t *testing.T) {
	e := newEdge(t, nil)
	links := map[string]any{
		"x.txt": "inside", "long": "->" + strings.Repeat("./", 2045) + "x.txt", "longer": "->" + strings.Repeat("./", 2046) + "x.txt",
		"chain0": "->x.txt", "huge0": "->x.txt",
	}
	for i := range 39 {
		links[fmt.Sprintf("chain%d", i+1)] = "->" + strings.Repeat("./", 2040) + fmt.Sprintf("chain%d", i)
		links[fmt.Sprintf("huge%d", i+1)] = "->" + fmt.Sprintf("huge%d", i) + strings.Repeat("/.", 1<<15)
	}
	site := "http://" + e.shelf.folder(t, links).String() + ".ipfs.localhost"
	for path, status := range map[string]int{"/long": 200, "/longer": 422, "/chain39": 200, "/huge39": 422, "/huge1/x": 422} {
		for range 2 {
			e.get(site+path).want(t, status, "")
		}
	}
	if used := testing.AllocsPerRun(1, func() { e.get(site + "/huge39") }); used > 5000 {
		t.Errorf("%.0f allocations", used)
	}
}

// FuzzSymbolicLinks has links with any target in a site below a path: none leads out of it.
func FuzzSymbolicLinks(f *testing.F) {
	e := newEdge(f, nil)
	for _, target := range []string{"../../secret.txt", "a/../../dist/../secret.txt", "/secret.txt", "./b/../../../secret.txt", "l", "b/l2", "..", "", "\x00", "b/../x.txt", "//x", "b//..//..//..//secret.txt"} {
		f.Add(target, "/l", "../"+target)
	}
	f.Fuzz(func(t *testing.T, target, path, another string) {
		site := e.shelf.folder(t, map[string]any{"l": "->" + target, "x.txt": "inside", "b": map[string]any{"l2": "->" + another, "c": map[string]any{}}, "index.html": "->b/l2"})
		above := e.shelf.folder(t, map[string]any{"dist": site, "secret.txt": "a secret", "_redirects": "/* /secret.txt 200"})
		e.names.set("linked.example.net", "/ipfs/"+above.String()+"/dist")
		for _, p := range []string{"/l", "/b/l2", "/", "/l/secret.txt", "/b/l2/secret.txt", path} {
			r := newRequest("GET", "http://linked.example.net/")
			if r.URL.Path = "/" + strings.TrimLeft(p, "/"); strings.ContainsAny(p, "?#%") {
				continue
			}
			r.RequestURI = r.URL.RequestURI()
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if body := w.Body.String(); strings.Contains(body, "a secret") || strings.Contains(body, above.String()) || w.Code >= 500 {
				t.Errorf("%q, %q, %q: %d %q", target, another, p, w.Code, body)
			}
		}
	})
}
