package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// headerBytes is what an answer's header takes in HTTP/1.1, with the status line, and with
// Date and Content-Length, which net/http adds.
func (a response) headerBytes() int {
	n := len("HTTP/1.1 \r\nDate: Fri, 27 Nov 2026 17:00:00 GMT\r\nContent-Length: 1000000\r\n\r\n") + len(a.Status)
	for name, values := range a.Header {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// Proxies have room for 4 KiB of header (nginx: proxy_buffer_size): what is longer is a 502
// to their visitors, whatever it was.
func TestHeadersFitIntoProxies(t *testing.T) {
	names := map[string]string{
		"plain": strings.Repeat("n", 200), "spaces": strings.Repeat("n ", 60), "letters": strings.Repeat("ä", 100), "short": "ab",
	}
	for kind, name := range names {
		for _, depth := range []int{4, 7, 40} {
			e := newEdge(t, nil)
			c := e.shelf.folder(t, map[string]any{"f.txt": big[:2000], name: big[:500], "v": e.shelf.raw(t, cid.DagJSON, []byte(`{"a":1}`)), "l": map[string]any{"x": "y"}})
			path := ""
			for range depth {
				if len(path) < 2300-len(name) {
					c, path = e.shelf.folder(t, map[string]any{name: c, "_redirects": "/lost/* /f.txt 404\n"}), path+"/"+name
				}
			}
			path = (&urlPath{path}).String()
			e.names.set("linked.example.net", "/ipfs/"+c.String())
			for _, at := range []string{"http://127.0.0.1/ipfs/" + c.String(), "http://linked.example.net"} {
				for _, tail := range []string{"/f.txt", "/", "/l/", "/v/", "/v", "/none", "/" + (&urlPath{name}).String(), "/f.txt?filename=" + strings.Repeat("%C3%BC", 120), "/f.txt?download=true", "/" + (&urlPath{name}).String() + "?download=true",
					"/" + (&urlPath{name}).String() + "?format=car", "/l?format=tar", "/l/?format=car", "/v?format=dag-json", "/none?format=car"} {
					for _, headers := range [][]string{nil, {"Accept: application/vnd.ipld.raw"}, {"Accept: application/vnd.ipld.car; version=1; order=dfs; dups=y"}, {"Accept: text/html"}, {"Range: bytes=1-2"}, {"If-None-Match: *"}, {"Accept-Encoding: br"}} {
						a := e.get(at+path+tail, headers...)
						n := a.headerBytes() - len(a.Header.Get("Location")) // which a redirect cannot do without
						if n > 4096 || a.StatusCode >= 500 {
							t.Errorf("%s, %d deep: %s %v: %d with a header of %d bytes", kind, depth, tail, headers, a.StatusCode, n)
						}
					}
				}
			}
		}
	}
}

// urlPath is a path that is to be percent-encoded.
type urlPath struct{ path string }

func (u *urlPath) String() string {
	return strings.NewReplacer(" ", "%20", "ä", "%C3%A4").Replace(u.path)
}

// A path that leads nowhere may be as long as requests are.
func TestALongPathThatLeadsNowhere(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = website(t, e.shelf)
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	for _, path := range []string{strings.Repeat("/x", 1250), "/" + strings.Repeat("x", 2500), strings.Repeat("/%C3%A4%22", 280), strings.Repeat("/x", 15_000)} {
		for _, at := range []string{"http://127.0.0.1/ipfs/" + root.String(), "http://www.example.org", "http://" + root.String() + ".ipfs.localhost", "http://unknown.example.net"} {
			for _, method := range []string{"GET", "HEAD"} {
				a := e.do(method, at+path).want(t, 404, "")
				if n := a.headerBytes(); n > 4096 || len(a.body) > 600 {
					t.Errorf("%s %s: %d bytes of header, %d of body", method, at, n, len(a.body))
				}
			}
		}
	}
}

// variesBy reports whether Vary names a field (RFC 9110, section 12.5.5).
func (a response) variesBy(name string) bool {
	for _, element := range strings.Split(strings.Join(a.Header["Vary"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(element), name) {
			return true
		}
	}
	return false
}

// Accept is in Vary where another Accept would get another format, so that caches in front keep
// them apart, and not where the query names it (path gateway specification, "Format"), nor on
// a website's own host.
func TestVaryOfNegotiatedFormats(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf).String()
	doc, plain := e.shelf.raw(t, cid.DagJSON, []byte(`{"a":1}`)).String(), e.shelf.raw(t, 0x0200, []byte(`{"a":1}`)).String()
	name, record := ipnsRecord(t, "/ipfs/"+root)
	e.names.set(name.String(), "/ipfs/"+root)
	e.names.records[name.String()] = record
	const html, raw, car, tar = "Accept: text/html,*/*;q=0.8", "Accept: application/vnd.ipld.raw", "Accept: application/vnd.ipld.car", "Accept: application/x-tar"
	for _, tc := range []struct {
		path, accept string
		status       int
		varies       bool
	}{
		{"/ipfs/" + root + "/css/site.css", "", 200, true}, {"/ipfs/" + root + "/css/site.css", html, 200, true}, {"/ipfs/" + root + "/css/site.css", "Accept: image/png", 200, true},
		{"/ipfs/" + root + "/css/site.css", raw, 200, true}, {"/ipfs/" + root + "/css/site.css?format=raw", "", 200, false}, {"/ipfs/" + root + "/css/site.css?format=raw", raw, 200, false},
		{"/ipfs/" + root + "/css/site.css?format=raw", car, 200, false},
		{"/ipfs/" + root + "/", html, 200, true}, {"/ipfs/" + root + "/docs/guide/", html, 200, true}, {"/ipfs/" + root + "/docs", html, 301, false},
		{"/ipfs/" + root, car, 200, true}, {"/ipfs/" + root + "?format=car", "", 200, false}, {"/ipfs/" + root + "?format=car", car, 200, false},
		{"/ipfs/" + root, tar, 200, true}, {"/ipfs/" + root + "?format=tar", "", 200, false},
		// A browser gets a page of a value, or is led to it; all others get the value.
		{"/ipfs/" + doc, "", 200, true}, {"/ipfs/" + doc, html, 301, true}, {"/ipfs/" + doc + "/", html, 200, true}, {"/ipfs/" + doc + "/", "", 200, true},
		{"/ipfs/" + doc, "Accept: application/json", 200, true}, {"/ipfs/" + doc, "Accept: application/vnd.ipld.dag-json", 200, true},
		{"/ipfs/" + doc + "?format=dag-json", html, 200, false}, {"/ipfs/" + doc + "?format=json", "", 200, false}, {"/ipfs/" + doc + "?format=raw", "", 200, false},
		{"/ipfs/" + plain, "", 200, true}, {"/ipfs/" + plain, html, 200, true}, {"/ipfs/" + plain, "Accept: application/json", 200, true},
		{"/ipns/" + name.String(), "Accept: application/vnd.ipfs.ipns-record", 200, true}, {"/ipns/" + name.String() + "?format=ipns-record", "", 200, false},
	} {
		var headers []string
		if tc.accept != "" {
			headers = append(headers, tc.accept)
		}
		for range 2 {
			a := e.get("http://127.0.0.1"+tc.path, headers...).want(t, tc.status, "")
			if a.variesBy("Accept") != tc.varies {
				t.Errorf("%s, %s: Vary: %q", tc.path, tc.accept, a.Header["Vary"])
			}
			if etag := a.Header.Get("Etag"); etag != "" {
				again := e.get("http://127.0.0.1"+tc.path, append(slices.Clone(headers), "If-None-Match: "+etag)...).want(t, 304, "")
				if again.variesBy("Accept") != tc.varies { // section 15.4.5
					t.Errorf("%s, %s: 304 with Vary: %q", tc.path, tc.accept, again.Header["Vary"])
				}
			}
		}
	}
	if err := e.SetSites([]Site{{"www.example.org", "/ipfs/" + root}}); err != nil {
		t.Fatal(err)
	}
	if a := e.get("http://www.example.org/css/site.css", html).want(t, 200, ""); a.variesBy("Accept") {
		t.Errorf("on a website: Vary: %q", a.Header["Vary"])
	}
}

// Directives are case-insensitive (RFC 9111, section 5.2), in any line and place.
func TestDirectives(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"page.html": "<html>" + lines(500)})
	url := "http://127.0.0.1/ipfs/" + root.String() + "/page.html"
	for _, h := range [][]string{{"no-transform"}, {"No-Transform"}, {"max-age=0, NO-TRANSFORM"}, {"max-age=0", "No-transform"}, {"no-transform,no-cache"}} {
		headers := []string{"Accept-Encoding: gzip"}
		for _, v := range h {
			headers = append(headers, "Cache-Control: "+v)
		}
		e.get(url, "Accept-Encoding: gzip").want(t, 200, "").header(t, "Content-Encoding", "gzip")
		e.get(url, headers...).want(t, 200, "line").header(t, "Content-Encoding", "")
	}
	e.Forget()
	e.shelf.from(block.Origin)
	for _, h := range [][]string{{"only-if-cached"}, {"Only-If-Cached"}, {"max-age=0 , ONLY-IF-CACHED"}, {"max-age=0", "Only-if-cached"}, {"only-if-cached,no-cache"}} {
		var headers []string
		for _, v := range h {
			headers = append(headers, "Cache-Control: "+v)
		}
		for _, method := range []string{"GET", "HEAD"} {
			e.do(method, url, headers...).want(t, 412, "")
		}
	}
	if e.shelf.gets() == 0 {
		t.Fatal("the fixture read nothing")
	}
	for _, other := range []string{"only-if-cachedx", "x-only-if-cached", `x="y only-if-cached"`} {
		e.get(url, "Cache-Control: "+other).want(t, 200, "line")
	}
}

// An error says nothing of the content, and cannot be taken for it (RFC 9111, section 3: it
// is not to be stored; RFC 9110, section 10.2.3: Retry-After).
func TestErrorsAreBare(t *testing.T) {
	var root, other cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = website(t, e.shelf)
		other = e.shelf.tree(t, map[string]string{"a/b.txt": "not served", "busy/x.txt": "busy", "slow/x.txt": "slow", "sick/x.txt": "sick", "large.txt": lines(5000)})
		wrong := e.shelf.tree(t, map[string]string{"_redirects": "a b c d e\n", "x": "y"})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}, {"wrong.example.org", "/ipfs/" + wrong.String()}}
		o.MaxResponseSize = 60_000
	})
	fails := map[cid.Cid]error{
		e.shelf.child(t, other, "busy", "x.txt"): &block.UnavailableError{From: secretAddress, RetryAfter: 3 * time.Second, Err: errors.New("429")},
		e.shelf.child(t, other, "sick", "x.txt"): &block.UnavailableError{From: secretAddress, Err: errors.New("500")},
		e.shelf.child(t, other, "slow", "x.txt"): context.DeadlineExceeded,
	}
	e.shelf.hook(func(_ context.Context, c cid.Cid) error { return fails[c] })
	lie, doc := e.shelf.handmade(t, handmade{kind: 2, size: 9, content: "x"}), e.shelf.raw(t, cid.DagJSON, []byte(`{"a":1}`))
	at, site := "http://127.0.0.1/ipfs/"+root.String(), "http://127.0.0.1/ipfs/"+other.String()
	for _, tc := range []struct {
		url     string
		headers []string
		status  int
	}{
		{"http://127.0.0.1/ipfs/nonsense", nil, 400}, {at + "?format=car&dag-scope=x", nil, 400}, {at, []string{"Accept: application/vnd.ipld.unknown"}, 400}, {at, []string{"Host: 127.0.0.1:x"}, 400},
		{at + "/none", nil, 404}, {"http://127.0.0.1/", nil, 404}, {"http://127.0.0.1/ipns/none.example.net/", nil, 404}, {"http://unknown.example.net/", nil, 404}, {at + "/none?format=raw", nil, 404},
		{at + "?format=dag-json", nil, 406}, {"http://127.0.0.1/ipfs/" + doc.String() + "?format=dag-cbor", nil, 406},
		{site + "/large.txt", nil, 410}, {site + "/large.txt?format=car", nil, 410},
		{at + "/css/site.css", []string{`If-Match: "x"`}, 412}, {at + "/css/site.css?format=raw", []string{`If-Match: "x"`}, 412},
		{at + "/css/site.css", []string{"Range: bytes=99-"}, 416}, {at + "/css/site.css?format=raw", []string{"Range: bytes=99-"}, 416},
		{"http://127.0.0.1/ipfs/" + lie.String(), nil, 422}, {"http://127.0.0.1/ipfs/" + lie.String() + "?format=tar&download=true", nil, 422},
		{"http://wrong.example.org/none", nil, 500}, {"http://127.0.0.1/ipfs/" + doc.String() + "/a", nil, 501},
		{site + "/sick/x.txt", nil, 502}, {site + "/sick/x.txt?format=raw", nil, 502}, {site + "/sick/x.txt?format=car", nil, 502}, {site + "/sick/x.txt?format=tar", nil, 502},
		{site + "/busy/x.txt", nil, 503}, {site + "/busy/x.txt?format=car", nil, 503}, {site + "/busy/x.txt?download=true&filename=x", nil, 503},
		{site + "/slow/x.txt", nil, 504}, {site + "/slow/x.txt?format=tar", nil, 504}, {site + "/slow/x.txt", []string{"Accept: application/vnd.ipld.car"}, 504},
	} {
		for _, method := range []string{"GET", "HEAD", "GET"} {
			if tc.status == 416 && method == "HEAD" {
				continue // which has no ranges
			}
			a := e.do(method, tc.url, tc.headers...).want(t, tc.status, "")
			for _, name := range []string{"Etag", "Last-Modified", "Content-Disposition", "X-Ipfs-Path", "X-Ipfs-Roots", "Ipfs-Uri", "Content-Location", "Content-Encoding", "Accept-Ranges", "Expires"} {
				a.header(t, name, "")
			}
			a.header(t, "Cache-Control", "no-store").header(t, "Content-Type", "text/plain; charset=utf-8")
			if waits := a.Header.Get("Retry-After") != ""; waits != (tc.status >= 502 && tc.status <= 504) {
				t.Errorf("%d with Retry-After: %q", tc.status, a.Header.Get("Retry-After"))
			}
			if strings.Contains(fmt.Sprint(a.Header), root.String()) {
				t.Errorf("%s: the header repeats the URL: %v", tc.url, a.Header)
			}
		}
	}
	for _, method := range []string{"POST", "DELETE"} {
		e.do(method, at).want(t, http.StatusMethodNotAllowed, "").header(t, "Etag", "").header(t, "Cache-Control", "no-store")
	}
	// The site's own page is content, with a status that says what it is about.
	e.get("http://www.example.org/none").want(t, 404, "lost").header(t, "Etag", `"`+e.shelf.child(t, root, "404.html").String()+`"`).header(t, "Content-Type", "text/html")
}
