package gateway

import (
	"strings"
	"testing"
)

// A site's _headers go out with everything that its hosts send of it: the first time and from
// memory, with parts, and with the news that a client has it.
func TestHeadersOfASite(t *testing.T) {
	var root string
	e := newEdge(t, func(o *Options, e *edge) {
		root = e.shelf.tree(t, map[string]string{
			"index.html": "home", "404.html": "lost", "app.js": strings.Repeat("let x;", 500), "data": "{}",
			"_redirects": "/old /new 301\n/see /app.js 200\n/* /404.html 404\n",
			"_headers": "/*\n  X-Frame-Options: DENY\n  Content-Security-Policy: default-src 'self'\n  Set-Cookie: no\n" +
				"/app.js\n  Cache-Control: public, max-age=5\n  ! Access-Control-Allow-Origin\n/data\n  Content-Type: application/json\n/see\n  X-Seen: yes\n",
		}).String()
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root}}
	})
	const site = "http://www.example.org"
	for _, again := range []string{"first", "again"} {
		t.Log(again)
		for _, path := range []string{"/", "/app.js", "/data", "/nowhere", "/see"} {
			a := e.get(site+path).header(t, "X-Frame-Options", "DENY").header(t, "Content-Security-Policy", "default-src 'self'").header(t, "Set-Cookie", "")
			if path == "/nowhere" {
				a.want(t, 404, "lost")
			}
		}
		app := e.get(site+"/app.js").want(t, 200, "let x;").header(t, "Cache-Control", "public, max-age=5").header(t, "Access-Control-Allow-Origin", "")
		e.get(site+"/app.js", "If-None-Match: "+app.Header.Get("Etag")).want(t, 304, "").
			header(t, "Content-Security-Policy", "default-src 'self'").header(t, "Cache-Control", "public, max-age=5")
		e.get(site+"/app.js", "Range: bytes=0-2").want(t, 206, "let").header(t, "X-Frame-Options", "DENY")
		e.get(site+"/app.js", "Accept-Encoding: gzip").header(t, "Content-Encoding", "gzip").header(t, "X-Frame-Options", "DENY")
		e.get(site+"/data").want(t, 200, "{}").header(t, "Content-Type", "application/json").header(t, "Access-Control-Allow-Origin", "*")
		e.get(site+"/see").want(t, 200, "let x;").header(t, "X-Seen", "yes")
		e.get(site+"/old").want(t, 301, "").header(t, "X-Frame-Options", "")
	}
	// By path, others share the origin, and blocks are nobody's page.
	e.get("http://127.0.0.1/ipfs/"+root+"/app.js").want(t, 200, "").header(t, "X-Frame-Options", "")
	e.get(site+"/app.js?format=raw").want(t, 200, "").header(t, "X-Frame-Options", "")
}

func TestHeadersThatAreTooLong(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		root := e.shelf.tree(t, map[string]string{"index.html": "home", "_headers": "/*\n" + strings.Repeat("  X: y\n", 10_000)})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	e.get("http://www.example.org/").want(t, 500, "_headers")
}
