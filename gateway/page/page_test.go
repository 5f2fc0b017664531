package page

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"golang.org/x/net/html"
)

// named returns a CID of some content.
func named(t testing.TB, codec uint64, content string) cid.Cid {
	t.Helper()
	hash, err := multihash.Sum([]byte(content), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(codec, hash)
}

// fill puts values in the place of {their names}.
func fill(s string, values map[string]string) string {
	for name, value := range values {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

// shows checks what a page contains, and what it does not.
func shows(t *testing.T, page []byte, values map[string]string, want, not []string) {
	t.Helper()
	for _, w := range want {
		if w = fill(w, values); !strings.Contains(string(page), w) {
			t.Errorf("the page lacks %s", w)
		}
	}
	for _, n := range not {
		if n = fill(n, values); strings.Contains(string(page), n) {
			t.Errorf("the page has %s", n)
		}
	}
	if t.Failed() {
		t.Logf("%s", page[max(0, strings.Index(string(page), "<header>")):])
	}
}

// element is one of a page, with its attributes and the text right in it.
type element struct {
	name, text string
	attr       map[string]string
}

// elements parses a page as a browser does.
func elements(t testing.TB, page []byte) []element {
	t.Helper()
	root, err := html.Parse(strings.NewReader(string(page)))
	if err != nil {
		t.Fatal(err)
	}
	var found []element
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		e := element{name: n.Data, attr: map[string]string{}}
		for _, a := range n.Attr {
			e.attr[a.Key] = a.Val
		}
		for c := range n.ChildNodes() {
			if c.Type == html.TextNode {
				e.text += c.Data
			}
		}
		found = append(found, e)
	}
	return found
}

// The policy lets run what is in the pages, and nothing in a page needs more than that.
func TestPolicy(t *testing.T) {
	for _, page := range samples() {
		for _, e := range elements(t, page) {
			switch e.name {
			case "style", "script":
				sum := sha256.Sum256([]byte(e.text))
				allowed := e.name + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
				if !strings.Contains(Policy(), allowed+";") || len(e.attr) > 0 {
					t.Errorf("%s %v is not allowed by %s", allowed, e.attr, Policy())
				}
			case "link":
				if e.attr["rel"] != "icon" || e.attr["href"] != "data:," {
					t.Errorf("the page loads %v", e.attr)
				}
			case "img", "iframe", "object", "form", "base", "source", "video", "audio", "embed":
				t.Errorf("the page has %s", e.name)
			}
			for name := range e.attr {
				if name == "style" || name == "src" || strings.HasPrefix(name, "on") {
					t.Errorf("<%s> has %s", e.name, name)
				}
			}
		}
	}
	for _, part := range []string{"default-src 'none';", "base-uri 'none'", "form-action 'none'"} {
		if !strings.Contains(Policy(), part) {
			t.Errorf("the policy is %s", Policy())
		}
	}
	if strings.Contains(style+script, "url(") || strings.Contains(style+script, "//") && strings.Contains(style+script, "http") {
		t.Error("the style or the script names another host")
	}
}

// The version is that of what the pages look like, so the samples show everything.
func TestVersion(t *testing.T) {
	if v := Version(); !regexp.MustCompile(`^[0-9a-z]{8,13}$`).MatchString(v) || v != makeVersion() {
		t.Errorf("the version is %q and %q", v, makeVersion())
	}
	all := fmt.Sprintf("%s", samples())
	for _, part := range []string{
		style, script, `rel="next"`, "First page", "Nothing is in this folder", explorer, "cannot be shown", "in all", "nested deeper",
		"null", "<q>", "1.5", "-7", "true", "3 bytes", "<details open>", "<dt>After", "On this page", "//gateway.example/ipfs/", "//site.example/", `\n`, "1.0 PiB",
	} {
		if !strings.Contains(all, part) {
			t.Errorf("no sample has %s", part)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 100 << 10: "100 KiB", 102348: "99.9 KiB", 102400 - 1: "100 KiB",
		1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := string(appendSize(nil, n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"home page.html":          "home page.html",
		"ü 日本":                    "ü 日本",
		`<b>&amp;"'`:              "&lt;b&gt;&amp;amp;&#34;&#39;",
		"two\nlines\x00":          `two\nlines\x00`,
		"gpj.\u202eexe":           `gpj.\u202eexe`,
		"<\u2028>":                `&lt;\u2028&gt;`,
		"broken \xff<":            `broken \xff&lt;`,
		"</title><script>x":       "&lt;/title&gt;&lt;script&gt;x",
		"javascript:alert(1)//`a": "javascript:alert(1)//`a",
	} {
		if got := string(appendText(nil, in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// What is encoded is what was meant, and nothing in it ends a segment or an attribute.
func TestEncoding(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for _, keep := range []class{unreserved, inSegment} {
		once := string(appendEncoded(nil, string(all), keep))
		if back, err := url.PathUnescape(once); err != nil || back != string(all) {
			t.Errorf("%s is %q (%v)", once, back, err)
		}
		if strings.ContainsAny(once, "/?#\\\"'<>& \n[]") {
			t.Errorf("not everything is encoded: %s", once)
		}
	}
	twice := string(appendTwiceEncoded(nil, string(all)))
	if back, err := url.QueryUnescape(twice); err != nil || back != string(appendEncoded(nil, string(all), unreserved)) {
		t.Errorf("%s is %q (%v)", twice, back, err)
	}
	if host := string(appendEncoded(nil, "a@b/c?[::1]:80", inHost)); host != "a%40b%2Fc%3F[::1]:80" {
		t.Errorf("a host became %s", host)
	}
	if plus := string(appendEncoded(nil, "a+b", unreserved)); plus != "a%2Bb" {
		t.Errorf("a plus in a query became %s", plus)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aüb", 2, "a"}, {"aüb", 3, "aü"}, {"👩👩", 7, "👩"}, {"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"}} {
		if got, more := cut(c.in, c.most); got != c.want || more != (got != c.in) {
			t.Errorf("%q at %d: %q, %v", c.in, c.most, got, more)
		}
	}
}
