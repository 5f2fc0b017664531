package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

const subRules = "/app/* /index.html 200\n" +
	"/user/:id/profile/ /people/:id.txt 200\n" +
	"/swap/:a/:ab /people/:ab-:a.txt 200\n" +
	"/media/* /files/:splat 200\n" +
	"/old/ /new/ 301\n" +
	"/see/:what/ /new/?of=:what 302\n" +
	"/out/* /../secret.txt 200\n" +
	"/climb/* /files/:splat/../../../secret.txt 200\n" +
	"/missing/* /not-there.html 200\n" +
	"/bare /files 200\n" +
	"/gone/* /lost.html 410\n" +
	"/* /lost.html 404\n"

// nested is a root with a site in the folder dist, which has rules of its own.
func nested(t testing.TB, s *shelf) cid.Cid {
	return s.tree(t, map[string]string{
		"index.html": "secret root", "secret.txt": "secret", "404.html": "secret page", "_redirects": "/* /secret.txt 200\n", "other/index.html": "secret other",
		"dist/index.html": "<h1>home</h1>", "dist/lost.html": "<h1>lost</h1>", "dist/people/ann.txt": "Ann", "dist/people/b-a.txt": "swapped",
		"dist/files/data.json": `{"a":1}`, "dist/files/big.txt": big, "dist/sub/index.html": "<h1>sub</h1>", "dist/_redirects": subRules,
	})
}

// nestedEdge serves that site in every way that there is for it.
func nestedEdge(t *testing.T, change func(*Options)) (e *edge, root cid.Cid, hosts []string) {
	t.Helper()
	e = newEdge(t, func(o *Options, e *edge) {
		root = nested(t, e.shelf)
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String() + "/dist"}, {"slash.example.org", "/ipfs/" + root.String() + "/dist/"},
			{"dns.example.org", ContentDNSLink}, {"named.example.org", "/ipns/key.example.net/dist"}}
		e.names.set("dns.example.org", "/ipfs/"+root.String()+"/dist")
		e.names.set("key.example.net", "/ipfs/"+root.String())
		if change != nil {
			change(o)
		}
	})
	return e, root, []string{"www.example.org", "slash.example.org", "dns.example.org", "named.example.org", "dns-example-org.ipns.localhost"}
}

// A site's root is where its content is said to be: its rules and its page for what is not
// there are those (https://specs.ipfs.tech/http-gateways/web-redirects-file/: at the root
// of the site's content), and nothing above is served.
func TestASiteBelowAPath(t *testing.T) {
	e, root, hosts := nestedEdge(t, func(o *Options) { o.Serve = ServeSites })
	for _, host := range hosts {
		for _, tc := range []struct {
			path     string
			status   int
			text     string
			location string
		}{
			{"/", 200, "<h1>home</h1>", ""}, {"/sub", 301, "", "/sub/"}, {"/sub/", 200, "sub", ""}, {"/files/data.json", 200, `{"a":1}`, ""},
			{"/app/", 200, "home", ""}, {"/app/a/b.css", 200, "home", ""}, {"/app", 404, "<h1>lost</h1>", ""}, // has nothing that /app/ begins
			// A slash at the end of a rule or of a path makes no difference (section "From").
			{"/old", 301, "", "/new/"}, {"/old/", 301, "", "/new/"}, {"/see/x%26y%20z", 302, "", "/new/?of=x%26y%20z"}, {"/see/x/", 302, "", "/new/?of=x"},
			// Placeholders: each stands for one segment, the longest name first.
			{"/user/ann/profile", 200, "Ann", ""}, {"/user/ann/profile/", 200, "Ann", ""}, {"/swap/a/b", 200, "swapped", ""}, {"/user/none/profile", 404, "", ""},
			{"/user/ann/x/profile", 404, "<h1>lost</h1>", ""}, {"/user/..%2f..%2fsecret/profile", 400, "", ""},
			{"/media/data.json", 200, `{"a":1}`, ""}, {"/media/none", 404, "", ""},
			{"/nowhere", 404, "<h1>lost</h1>", ""}, {"/nowhere/", 404, "<h1>lost</h1>", ""}, {"/sub/none", 404, "<h1>lost</h1>", ""}, {"/gone/x", 410, "<h1>lost</h1>", ""},
			{"/secret.txt", 404, "<h1>lost</h1>", ""}, {"/404.html", 404, "<h1>lost</h1>", ""}, {"/dist/index.html", 404, "<h1>lost</h1>", ""}, {"/other/", 404, "<h1>lost</h1>", ""},
			{"/out/x", 404, "", ""}, {"/climb/x", 404, "", ""}, {"/missing/x", 404, "", ""}, {"/bare", 301, "", "/files/"},
			{"/../secret.txt", 400, "", ""}, {"/%2e%2e/secret.txt", 400, "", ""}, {"/..%2fsecret.txt", 400, "", ""}, {"/sub/../../other/", 400, "", ""},
		} {
			for _, method := range []string{"GET", "HEAD", "GET"} {
				a := e.do(method, "http://"+host+tc.path)
				if a.StatusCode != tc.status || method == "GET" && !strings.Contains(a.body, tc.text) || a.Header.Get("Location") != tc.location || strings.Contains(a.body, "secret root") ||
					strings.TrimSpace(a.body) == "secret" {
					t.Errorf("%s %s%s: %d %.100q %s", method, host, tc.path, a.StatusCode, a.body, a.Header.Get("Location"))
				}
			}
		}
	}
	// Nor does the site open what lies beside it, by any way to its root.
	for _, path := range []string{"", "/", "/other/", "/secret.txt", "/index.html", "?format=raw", "?format=car", "/other?format=tar", "/_redirects", "/dist2", "/dist/../secret.txt"} {
		for _, at := range []string{"http://127.0.0.1/ipfs/" + root.String(), "http://gw.example.org/ipfs/" + root.String(), "http://" + root.String() + ".ipfs.localhost"} {
			if a := e.get(at + path); a.StatusCode != 403 && a.StatusCode != 400 {
				t.Errorf("%s%s: %d %.100q", at, path, a.StatusCode, a.body)
			}
		}
	}
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/dist/files/data.json").want(t, 200, `{"a":1}`)
	e.get("http://"+root.String()+".ipfs.localhost/dist/files/data.json").want(t, 200, `{"a":1}`)
	e.get("http://"+root.String()+".ipfs.localhost/dist/nowhere").want(t, 404, "no link named")
	// What is in the site may be asked for by its own CID, and is then a root with rules.
	dist := e.shelf.child(t, root, "dist")
	e.get("http://"+dist.String()+".ipfs.localhost/nowhere").want(t, 404, "<h1>lost</h1>")
	e.get("http://127.0.0.1/ipfs/"+e.shelf.child(t, root, "other").String()+"/").want(t, 403, "")
}

// A rewrite is an answer with the file that is sent: its type, entity tag and parts (RFC
// 9110, sections 8.3, 8.8.3 and 14.2: they are the selected representation's).
func TestRewritesAreOfTheFileThatIsSent(t *testing.T) {
	e, root, hosts := nestedEdge(t, nil)
	data, large, home := e.shelf.child(t, root, "dist", "files", "data.json"), e.shelf.child(t, root, "dist", "files", "big.txt"), e.shelf.child(t, root, "dist", "index.html")
	for _, host := range hosts {
		for range 2 {
			for path, file := range map[string]struct {
				c          cid.Cid
				mime, body string
			}{
				"/media/data.json":  {data, "application/json", `{"a":1}`},
				"/media/big.txt":    {large, "text/plain; charset=utf-8", big},
				"/app/deep/x.css":   {home, "text/html", "<h1>home</h1>"},
				"/app/picture.webp": {home, "text/html", "<h1>home</h1>"},
			} {
				url, etag := "http://"+host+path, `"`+file.c.String()+`"`
				n := len(file.body)
				for _, a := range []response{e.get(url).want(t, 200, file.body), e.do("HEAD", url).want(t, 200, "")} {
					a.header(t, "Etag", etag).header(t, "Accept-Ranges", "bytes").header(t, "Content-Length", fmt.Sprint(n))
					if got := a.Header.Get("Content-Type"); got != file.mime {
						t.Errorf("%s: %s, want %s", url, got, file.mime)
					}
				}
				part := fmt.Sprintf("bytes 1-3/%d", n)
				e.get(url, "Range: bytes=1-3").want(t, 206, file.body[1:4]).header(t, "Content-Range", part).header(t, "Etag", etag)
				e.get(url, "Range: bytes=1-3", "If-Range: "+etag).want(t, 206, file.body[1:4]).header(t, "Content-Range", part)
				e.get(url, "Range: bytes=1-3", `If-Range: "x"`).want(t, 200, file.body)
				e.get(url, fmt.Sprintf("Range: bytes=%d-", n)).want(t, 416, "").header(t, "Content-Range", fmt.Sprintf("bytes */%d", n))
				e.get(url, "If-None-Match: "+etag).want(t, 304, "").header(t, "Etag", etag)
				e.get(url, `If-Match: "x"`).want(t, 412, "")
			}
			// The page for what is not there is one, with a status that has no parts.
			e.get("http://"+host+"/nowhere", "Range: bytes=1-3", "If-None-Match: *").want(t, 404, "<h1>lost</h1>").header(t, "Content-Range", "")
		}
	}
}

// Rules are read once, however many paths lead nowhere.
func TestRulesAreReadOnce(t *testing.T) {
	e, root, hosts := nestedEdge(t, nil)
	rules, above := e.shelf.child(t, root, "dist", "_redirects"), e.shelf.child(t, root, "_redirects")
	for i := range 100 {
		for _, host := range hosts {
			e.get(fmt.Sprintf("http://%s/nowhere/%d", host, i)).want(t, 404, "<h1>lost</h1>")
		}
	}
	if n := e.shelf.asked[string(rules.Hash())]; n != 1 {
		t.Errorf("_redirects were read %d times", n)
	}
	if n := e.shelf.asked[string(above.Hash())]; n != 0 {
		t.Errorf("those of the root were read %d times", n)
	}
	// The folder that lacks the name, and the page.
	before := e.shelf.gets()
	e.get("http://www.example.org/nowhere/else").want(t, 404, "<h1>lost</h1>")
	if n := e.shelf.gets() - before; n > 2 {
		t.Errorf("%d blocks were read for a path that leads nowhere", n)
	}
	e.Forget()
	e.get("http://www.example.org/nowhere").want(t, 404, "<h1>lost</h1>")
	if n := e.shelf.asked[string(rules.Hash())]; n != 2 {
		t.Errorf("_redirects were read %d times with a purge", n)
	}
}

// Whatever strangers ask for, what is kept of it stays within its bytes.
func TestManyPathsThatLeadNowhere(t *testing.T) {
	const most = 1 << 20
	e, _, _ := nestedEdge(t, func(o *Options) { o.HotBytes = most })
	e.log.discard = true
	e.get("http://www.example.org/").want(t, 200, "home")
	_, entries := e.hot.Size()
	long := strings.Repeat("x", 200)
	for i := range 10_000 {
		e.get(fmt.Sprintf("http://www.example.org/nowhere/%d/%s", i, long)).want(t, 404, "<h1>lost</h1>")
	}
	if bytes, n := e.hot.Size(); bytes > most || n > entries+8 {
		t.Errorf("%d bytes in %d entries after 404s", bytes, n)
	}
	for i := range 2_000 {
		e.get(fmt.Sprintf("http://www.example.org/app/%d/%s", i, long)).want(t, 200, "home")
		if bytes, n := e.hot.Size(); bytes > most {
			t.Fatalf("%d bytes in %d entries after %d rewrites", bytes, n, i)
		}
	}
	e.get("http://www.example.org/").want(t, 200, "home")
}

// A rule may name a placeholder as often as its file has room for it, and a request may
// make that long: what comes of it is bounded, and is no reason to make it.
func TestARuleDoesNotMultiplyARequest(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		root := e.shelf.tree(t, map[string]string{
			"index.html": "home",
			"_redirects": "/away/* /" + strings.Repeat(":splat", 5000) + " 301\n/here/* /" + strings.Repeat(":splat", 5000) + " 200\n/twice/* /to/:splat/:splat 302\n",
		})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	e.get("http://www.example.org/twice/"+strings.Repeat("x", 2000)).want(t, 302, "").header(t, "Location", "/to/"+strings.Repeat("x", 2000)+"/"+strings.Repeat("x", 2000))
	e.get("http://www.example.org/away/x").want(t, 301, "").header(t, "Location", "/"+strings.Repeat("x", 5000))
	for _, path := range []string{"/away/", "/here/"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e.get("http://www.example.org"+path+strings.Repeat("x", 20_000)).want(t, 500, "could not use _redirects")
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 8<<20 {
			t.Errorf("%s: %d bytes", path, after.TotalAlloc-before.TotalAlloc)
		}
	}
}
