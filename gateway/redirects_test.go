package gateway

import (
	"net/url"
	"strings"
	"testing"

	redirects "github.com/ipfs/go-ipfs-redirects-file"
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
	// Of a name with a ? or # in it, boxo makes a URL of that host.
	for _, name := range []string{"other.host%3f", "other.host%23", "other.host%3fx/y", "other.host:80%3f", "x@other.host%3f", "other.host%5c", "x@y"} {
		a := e.get("http://localhost/ipns/"+name+"/").want(t, 400, "")
		if location := a.Header.Get("Location"); location != "" {
			t.Errorf("%s: Location %q", name, location)
		}
	}
}

func TestOtherRedirectsOfBoxo(t *testing.T) {
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

func TestRuleLocation(t *testing.T) {
	for _, tc := range []struct{ rule, path, query, want string }{
		{"/old/* /about/:splat", "/old/a/b", "", "/about/a/b"},
		{"/old/* /about/:splat", "/old/a b", "?x=%2f", "/about/a%20b?x=%2f"},
		// RFC 3986, section 2.2: what delimits in a URL is data in a path.
		{"/old/* /about/:splat", `/old/a?b#c%d\e`, "", "/about/a%3Fb%23c%25d%5Ce"},
		{"/old/* /about/:splat", "/old/ü", "", "/about/%C3%BC"},
		{"/old/* /about/:splat", "/old/%2e%2e", "", "/about/%252e%252e"},
		{"/old/* /:splat", `/old/\other.host`, "", "/%5Cother.host"},
		{"/old/* /:splat", "/old/\t/other.host", "", "/%09/other.host"},
		{"/old/* /:splat", "/old/ /other.host", "", "/%20/other.host"},
		{"/old/* /:splat", "/old/\r\nSet-Cookie:x", "", "/%0D%0ASet-Cookie:x"},
		{"/old/* /./:splat", "/old/other.host", "", "/other.host"},
		{"/old/:a/* /:a/:splat", `/old/\/other.host`, "", "/%5C/other.host"},
		{`/old/* /\:splat`, "/old/other.host", "", "/%5Cother.host"},
		{"/old/* ///other.host/:splat", "/old/x", "", "/other.host/x"},
		{"/old/:a/:ab /:ab/:a", "/old/1/2", "", "/2/1"},
		{"/old/:a/:b /:a/:b", "/old/:b/:a", "", "/:b/:a"},
		{"/q/:id /item?id=:id&x=1#s:id", "/q/a&b=c+d", "?y=a+b", "/item?id=a%26b%3Dc%2Bd&x=1&y=a+b#sa%26b%3Dc%2Bd"},
		{"/q /item?id=1", "/q", "?", "/item?id=1"},
		// The site's own rule may name a host, and only it.
		{"/old/* https://other.host/x/:splat", "/old/a?b", "?c", "https://other.host/x/a%3Fb?c"},
		{"/old/* //other.host/:splat", "/old/a", "", "//other.host/a"},
		{"/old/* ipns://example.net/:splat", "/old/a", "", "ipns://example.net/a"},
		{"/old https://other.host", "/old/", "?a", "https://other.host?a"},
		{"/old/:a https://:a@other.host/", "/old/evil.example", "", "placeholder in its host"},
		{"/old/:80 https://other.host:80/", "/old/80", "", "placeholder in its host"},
		{"/old/* https:/:splat", "/old/evil.example", "", "names no host"},
		{"/old/* https:::splat", "/old/evil.example", "", "names no host"},
	} {
		rules, err := redirects.ParseString(tc.rule)
		if err != nil {
			t.Fatalf("%s: %v", tc.rule, err)
		}
		m, ok := matchRule(rules, tc.path)
		if !ok {
			t.Errorf("%s does not match %q", tc.rule, tc.path)
			continue
		}
		got, err := m.location(tc.query)
		if got != tc.want && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s of %q: got %q, %v, want %q", tc.rule, tc.path, got, err, tc.want)
		}
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
				ask := func(path string) answer { return e.do(method, "http://"+host+path, condition) }
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

// FuzzSafeLocation sends whatever a redirect may be made of: it stays at the host, and
// leads to the same content.
func FuzzSafeLocation(f *testing.F) {
	for _, s := range strangePaths {
		f.Add(s, "?a=%2f")
	}
	f.Add("http://x.ipfs.localhost/a", "?\x80#\" ")
	f.Add("http://x@y.ipfs.localhost?/a", "")
	f.Add("https:other.host", "?")
	f.Add("http://localhost\\@other.host/", "?")
	f.Fuzz(func(t *testing.T, location, query string) {
		if query != "" {
			query = queryOf("?" + query)
		}
		ours := func(host string) bool { return strings.HasSuffix(host, ".ipfs.localhost") }
		got, ok := safeLocation(location, query, ours)
		if !ok {
			return
		}
		wantURI(t, got)
		host, path := browse(t, "www.example.org", got)
		if host != "www.example.org" && !ours(host) {
			t.Fatalf("%q became %q, which leads to %s", location, got, host)
		}
		if !strings.HasSuffix(got, query) {
			t.Fatalf("%q with %q became %q", location, query, got)
		}
		if again, ok := safeLocation(got, query, ours); !ok || again != got {
			t.Fatalf("%q became %q, and that %q", location, got, again)
		}
		if want, err := url.PathUnescape(strings.SplitN(location, "?", 2)[0]); err == nil && location[0] == '/' && cleanPath(want) != path {
			t.Fatalf("%q became %q, which leads to %q", location, got, path)
		}
	})
}

// FuzzRuleLocation has rules of a site applied to any path: what the request brings adds
// no host.
func FuzzRuleLocation(f *testing.F) {
	f.Add("/*", "/:splat", "/a", "?b")
	f.Add("/:a/*", "//:a/:splat", "/\\/a", "")
	f.Add("/:a", "https://:a.example.org/", "/x", "")
	f.Add("/:a/:aa", "/:aa?:a#:a", "/\t/%", "?#")
	f.Fuzz(func(t *testing.T, from, to, path, query string) {
		rules, err := redirects.ParseString(from + " " + to)
		if err != nil || len(rules) != 1 {
			return
		}
		m, ok := matchRule(rules, cleanPath(path))
		if !ok {
			return
		}
		got, err := m.location(queryOf(query))
		if err != nil {
			return
		}
		wantURI(t, got)
		literal, err := url.Parse(rules[0].To)
		if err != nil {
			return
		}
		if host, _ := browse(t, "www.example.org", got); host != "www.example.org" && !strings.EqualFold(host, literal.Host) && !strings.Contains(host, "%") {
			t.Fatalf("%s %s of %q: %q leads to %s", from, to, path, got, host)
		}
	})
}
