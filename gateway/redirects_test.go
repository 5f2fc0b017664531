package gateway

import (
	"net/url"
	"strings"
	"testing"
)

// browse returns the host and path that a browser goes to. Browsers drop TAB and line
// ends, and take a backslash for a slash (https://url.spec.whatwg.org/#url-parsing).
func browse(t testing.TB, host, location string) (string, string) {
	t.Helper()
	location = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(location)
	ref, _, _ := strings.Cut(location, "?")
	u, err := url.Parse(strings.ReplaceAll(ref, `\`, "/"))
	if err != nil {
		t.Fatalf("Location %q: %v", location, err)
	}
	to := (&url.URL{Scheme: "http", Host: host, Path: "/"}).ResolveReference(u)
	return to.Host, to.Path
}

// wantURI checks that s has only characters of a URI reference (RFC 3986, section 2).
func wantURI(t testing.TB, s string) {
	t.Helper()
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			t.Fatalf("%q has the byte %#x", s, s[i])
		}
	}
}

// Ways to write a folder that some take for another host.
var strangePaths = []string{
	"//other.host/..%2fdocs/guide",
	"//other.host/%2e%2e/docs/guide",
	"//other.host/../docs/guide",
	"///other.host/..%2Fdocs/guide",
	"/%2fother.host/..%2fdocs/guide",
	"/%2f%2fother.host/..%2fdocs/guide",
	"/%5cother.host/..%2fdocs/guide",
	"/%5c%5cother.host/..%2fdocs/guide",
	`/\other.host/..%2fdocs/guide`,
	"/%09/other.host/..%2f..%2fdocs/guide",
	"/%0d%0aother.host/..%2fdocs/guide",
	"/%20/other.host/..%2f..%2fdocs/guide",
	"/.//other.host/..%2fdocs/guide",
	"/docs/..//other.host/..%2fdocs/guide",
	"/docs/%2e/guide",
}

func TestNoRedirectLeavesTheSite(t *testing.T) {
	var root string
	e := newEdge(t, func(o *Options, e *edge) {
		c := website(t, e.shelf)
		root = c.String()
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root}}
		e.names.set("linked.example.net", "/ipfs/"+root)
		o.TrustedProxies = []string{"192.0.2.0/24"} // the peer of httptest
	})
	for _, door := range []struct{ host, forwarded, base, folder string }{
		{"www.example.org", "", "", "/docs/guide/"},
		{"www.example.org:8080", "", "", "/docs/guide/"},
		{"10.0.0.7", "www.example.org", "", "/docs/guide/"},
		{"linked.example.net", "", "", "/docs/guide/"},
		{root + ".ipfs.localhost:8080", "", "", "/docs/guide/"},
		{"linked-example-net.ipns.localhost", "", "", "/docs/guide/"},
		{"127.0.0.1", "", "/ipfs/" + root, "/ipfs/" + root + "/docs/guide/"},
		{"gw.example.org", "", "/ipfs/" + root, "/ipfs/" + root + "/docs/guide/"},
	} {
		for _, strange := range strangePaths {
			const query = "?a=1&a=%2f%20b&uri=//other.host/&c=d;e&%zz"
			headers := []string{"Host: " + door.host}
			host := door.host
			if door.forwarded != "" {
				host = door.forwarded
				headers = append(headers, "X-Forwarded-Host: "+host, "X-Forwarded-Proto: https")
			}
			a := e.get("http://x"+door.base+strange+query, headers...).want(t, 301, "")
			location := a.Header.Get("Location")
			if want := door.folder + query; location != want {
				t.Errorf("%s%s: Location %q, want %q", door.host, strange, location, want)
			}
			if to, _ := browse(t, host, location); to != host {
				t.Errorf("%s%s: Location %q leads to %s", door.host, strange, location, to)
			}
			if strings.Contains(a.body, "//other.host/..") || !strings.Contains(a.body, `href="`+door.folder) {
				t.Errorf("%s%s: the note says %q", door.host, strange, a.body)
			}
			// The page of the folder has links, too.
			listing := e.get("http://x"+door.base+strange+"/", headers...).want(t, 200, "a.txt")
			if strings.Contains(listing.body, "other.host") {
				t.Errorf("%s%s/: the page links to another host", door.host, strange)
			}
		}
	}
}

func TestSubdomainRedirectsStayOurs(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.TrustedProxies = []string{"192.0.2.0/24"} })
	root := website(t, e.shelf).String()
	at := "http://" + root + ".ipfs.localhost:8080"
	for path, want := range map[string]string{
		"/docs?uri=a%20b&x=%2f&y=a+b":       at + "/docs?uri=a%20b&x=%2f&y=a+b",
		"//other.host/..%2fdocs":            at + "/docs",
		"/%2f%2fother.host/a":               at + "/other.host/a",
		"/%5c%5cother.host/a":               at + "/%5C%5Cother.host/a",
		"/a%09b%20c%0d%0ax%3Fy%23z%25":      at + "/a%09b%20c%0D%0Ax%3Fy%23z%25",
		"/../../ipns/other.host":            at + "/ipns/other.host",
		"/a(1)!$&'*+,;=:@-._~/%28%C4%85%29": at + "/a(1)!$&'*+,;=:@-._~/(%C4%85)",
	} {
		e.get("http://localhost:8080/ipfs/"+root+path).want(t, 301, "").header(t, "Location", want)
		e.get("http://x/ipfs/"+root+path, "X-Forwarded-Host: localhost:8080", "X-Forwarded-Proto: https").
			want(t, 301, "").header(t, "Location", strings.Replace(want, "http", "https", 1))
	}
	// A name with a ? or # in it would make a URL of another host.
	for _, name := range []string{"other.host%3f", "other.host%23", "other.host%3fx/y", "other.host:80%3f", "x@other.host%3f", "other.host%5c", "x@y"} {
		a := e.get("http://localhost/ipns/"+name+"/").want(t, 400, "")
		if location := a.Header.Get("Location"); location != "" {
			t.Errorf("%s: Location %q", name, location)
		}
	}
}

func TestOtherRedirects(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		o.Sites = []Site{{"www.example.org", "/ipfs/" + website(t, e.shelf).String()}}
	})
	root := website(t, e.shelf).String()
	name, record := ipnsRecord(t, "/ipfs/"+root)
	e.names.records[name.String()] = record
	e.names.set(name.String(), "/ipfs/"+root)
	peer := name.Peer().String()
	const query = "?b=1&a=%2F&uri=x&%zz"
	e.get("http://127.0.0.1/ipfs/ipfs/"+root+"/a%20b"+query).want(t, 301, "").header(t, "Location", "/ipfs/"+root+"/a%20b"+query)
	e.get("http://127.0.0.1/ipns/"+peer+"/%5Cx%09"+query).want(t, 302, "").header(t, "Location", "/ipns/"+name.String()+"/%5Cx%09"+query)
	// Only where no website can have the path is uri the gateway's.
	for uri, want := range map[string]string{
		"ipfs://" + root + "/a/b":                 "/ipfs/" + root + "/a/b",
		"ipfs://" + root:                          "/ipfs/" + root,
		"ipfs:///" + root:                         "/ipfs/" + root,
		"ipns://example.net/?q=%2F%20&r=a+b#frag": "/ipns/example.net/?q=%2F%20&r=a+b",
		"ipfs://" + root + `/\other.host%09/%0d`:  "/ipfs/" + root + "/%5Cother.host%09/%0D",
		"ipfs://" + root + "/../../../other.host": "",
		"ipfs://../other.host":                    "",
		"ipfs:" + root:                            "",
		"ipfs://":                                 "",
		"https://other.host/":                     "",
		"//other.host/":                           "",
	} {
		for _, at := range []string{"http://127.0.0.1/ipfs/", "http://localhost:8080/ipns/", "http://gw.example.org/ipfs"} {
			a := e.get(at + "?uri=" + url.QueryEscape(uri))
			if want == "" {
				a.want(t, 400, "uri parameter").header(t, "Location", "")
				continue
			}
			a.want(t, 301, "").header(t, "Location", want)
		}
	}
	for _, at := range []string{"www.example.org", root + ".ipfs.localhost"} {
		e.get("http://"+at+"/ipfs/?uri=ipfs://"+root).want(t, 404, "")
		e.get("http://"+at+"/docs?%75ri=x&b=1").want(t, 301, "").header(t, "Location", "/docs/?%75ri=x&b=1")
	}
}

func TestContentLocationIsOurs(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		o.Sites = []Site{{"www.example.org", "/ipfs/" + website(t, e.shelf).String()}}
	})
	for path, want := range map[string]string{
		"//other.host/..%2fdocs":   "/docs?format=raw",
		"/%5cother.host/..%2fdocs": "/docs?format=raw",
		"/docs/guide/b%20c.md":     "/docs/guide/b%20c.md?format=raw",
	} {
		e.get("http://www.example.org"+path, "Accept: application/vnd.ipld.raw").header(t, "Content-Location", want)
	}
}

func TestRulesOfASite(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		root := e.shelf.tree(t, map[string]string{
			"index.html": "home", "404.html": "lost", "with space.txt": "spaced",
			"_redirects": "/old/* /new/:splat 301\n" +
				"/at/* https://other.host/:splat 302\n" +
				"/any/* https://:splat@other.host 302\n" +
				"/see/* /:splat 200\n" +
				"/* /404.html 404\n",
		})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}, {"moved.example.org", "/ipns/name.example.net"}}
		e.names.set("name.example.net", "/ipfs/"+root.String())
	})
	for _, host := range []string{"www.example.org", "moved.example.org"} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, condition := range []string{"X: y", `If-None-Match: "x"`} {
				ask := func(path string) response { return e.do(method, "http://"+host+path, condition) }
				ask("/old/%5Cother.host?uri=a%20b&b=%2f&a").want(t, 301, "").header(t, "Location", "/new/%5Cother.host?uri=a%20b&b=%2f&a")
				ask("/old/%09%zz"[:8]+"/%20x").want(t, 301, "").header(t, "Location", "/new/%09/%20x")
				ask("//other.host/..%2fold/x").want(t, 301, "").header(t, "Location", "/new/x")
				ask("/old/50%25?q=100%").want(t, 301, "").header(t, "Location", "/new/50%25?q=100%")
				ask("/at/a%3Fb?x").want(t, 302, "").header(t, "Location", "https://other.host/a%3Fb?x")
				ask("/any/other.host").want(t, 500, "").header(t, "Location", "")
				ask("/see/with%20space.txt").want(t, 200, "")
				ask("/nowhere").want(t, 404, "")
			}
		}
		e.get("http://"+host+"/see/with%20space.txt").want(t, 200, "spaced")
		e.get("http://"+host+"/see/_redirects", "Range: bytes=1-3").want(t, 206, "old")
		e.get("http://"+host+"/_redirects").want(t, 200, "/old/*")
		e.get("http://"+host+"/any/other.host").want(t, 500, "placeholder in its host")
		e.get("http://"+host+"/nowhere").want(t, 404, "lost")
	}
}
