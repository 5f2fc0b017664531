package answer

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
		rules, err := parseRules([]byte(tc.rule))
		if err != nil {
			t.Fatalf("%s: %v", tc.rule, err)
		}
		m, ok := rules.match(tc.path)
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

// FuzzReference sends whatever a redirect may be made of: it stays at the host, and
// leads to the same path.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"//other.host/../docs/guide", "/\\other.host/a", "/\t/other.host", "/ /other.host", "/.//other.host/", "/a?b#c%d", "\x80"} {
		f.Add(s, "?a=%2f")
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if query != "" {
			query = Query("?" + query)
		}
		got := Reference(path) + query
		wantURI(t, got)
		host, to := browse(t, "www.example.org", got)
		if host != "www.example.org" {
			t.Fatalf("%q became %q, which leads to %s", path, got, host)
		}
		if to != Clean(path) {
			t.Fatalf("%q became %q, which leads to %q", path, got, to)
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
		rules, err := parseRules([]byte(from + " " + to))
		if err != nil || len(rules) != 1 {
			return
		}
		m, ok := rules.match(Clean(path))
		if !ok {
			return
		}
		got, err := m.location(Query(query))
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
