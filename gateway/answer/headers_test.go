package answer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const headersFile = `# for everyone
/*
  X-Frame-Options: DENY
  x-one: a
  ! Access-Control-Allow-Origin

/secure/*
	Content-Security-Policy: default-src 'self'; img-src *
  X-One: b
/blog/:year/:slug
  Link: </css/:slug.css>; rel=preload, </:year>; rel=up
/files/*.html
  X-Splat: :splat
/open/*
  ! X-Frame-Options
  Access-Control-Allow-Origin: https://example.org
/exact
  Cache-Control: no-store
`

func show(fields []Field) string {
	var all []string
	for _, f := range fields {
		if f.Value == nil {
			all = append(all, "!"+f.Name)
		} else {
			all = append(all, f.Name+"="+f.Value[0])
		}
	}
	slices.Sort(all)
	return strings.Join(all, "|")
}

func TestHeaderRules(t *testing.T) {
	rules, problems := ParseHeaders([]byte(headersFile))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const all = "!Access-Control-Allow-Origin|X-Frame-Options=DENY|X-One=a"
	for path, want := range map[string]string{
		"/": all, "/x/y": all, "/blog/2025": all, "/blog/2025/a/b": all, "/blog/2025//": all, "/exact/": all, "/secure": all, "/files/a.htm": all,
		"/secure/":           "!Access-Control-Allow-Origin|Content-Security-Policy=default-src 'self'; img-src *|X-Frame-Options=DENY|X-One=a, b",
		"/blog/2025/a b\r\n": "!Access-Control-Allow-Origin|Link=</css/a%20b%0D%0A.css>; rel=preload, </2025>; rel=up|X-Frame-Options=DENY|X-One=a",
		"/files/a/b.html":    "!Access-Control-Allow-Origin|X-Frame-Options=DENY|X-One=a|X-Splat=a/b",
		"/open/x":            "!X-Frame-Options|Access-Control-Allow-Origin=https://example.org|X-One=a",
		"/exact":             "!Access-Control-Allow-Origin|Cache-Control=no-store|X-Frame-Options=DENY|X-One=a",
	} {
		if got := show(rules.Match(path)); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

func TestHeaderProblems(t *testing.T) {
	for line, want := range map[string]string{
		"x":                          "line 2: the path \"x\" does not begin",
		"https://example.org/x":      "does not begin with a slash",
		"/*/*":                       "more than one *",
		"  no field":                 "is no field",
		"  a b: c":                   "is no field name",
		"  : c":                      "is no field name",
		"  !":                        "is no field name",
		"  X:":                       "is empty",
		"  X: \x00":                  "characters that no field may have",
		"  X: ü":                     "characters that no field may have",
		"  Set-Cookie: a=b":          "Set-Cookie is the edge's to say",
		"  content-length: 5":        "Content-Length is the edge's to say",
		"  Transfer-Encoding: x":     "Transfer-Encoding is the edge's to say",
		"  connection: close":        "Connection is the edge's to say",
		"  ! ETag":                   "Etag is the edge's to say",
		"  X-Ipfs-Path: /ipfs/other": "X-Ipfs-Path is the edge's to say",
	} {
		rules, problems := ParseHeaders([]byte("/a\n" + line + "\n  Y: z\n"))
		if len(problems) < 1 || !strings.Contains(problems[0].Error(), want) || problems[0].Line != 2 {
			t.Errorf("%q: %v, want %q", line, problems, want)
		}
		if line[0] == ' ' && show(rules.Match("/a")) != "Y=z" {
			t.Errorf("%q: %v", line, show(rules.Match("/a")))
		}
	}
	if _, problems := ParseHeaders([]byte("  X: y\n")); len(problems) != 1 || !strings.Contains(problems[0].Text, "without a path") {
		t.Errorf("%v", problems)
	}
}

// No site makes a header that proxies refuse, or one that takes long to make.
func TestHeadersAreBounded(t *testing.T) {
	var file strings.Builder
	for i := range 300 {
		fmt.Fprintf(&file, "/*\n  X-%d: %s\n", i%3, strings.Repeat(":splat", 20))
	}
	rules, _ := ParseHeaders([]byte(file.String()))
	size := 0
	for _, f := range rules.Match("/" + strings.Repeat("x", 200)) {
		size += len(f.Value[0])
	}
	if size > maxCustom+1000 {
		t.Errorf("%d bytes of header", size)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(headersFile, "/blog/2025/x")
	f.Add("/*\n X: :splat\n ! Y\n/:a/:ab\n X: :ab:a\n", "/b/c")
	f.Fuzz(func(t *testing.T, file, path string) {
		rules, problems := ParseHeaders([]byte(file))
		for _, p := range problems {
			if p.Line < 1 || p.Text == "" {
				t.Errorf("%+v", p)
			}
		}
		for _, field := range rules.Match(path) {
			if field.Name != http.CanonicalHeaderKey(field.Name) || slices.Contains(reservedFields, field.Name) {
				t.Errorf("a field %q", field.Name)
			}
			if field.Value != nil && (!isFieldValue(field.Value[0]) || len(field.Value[0]) > 2*maxCustom) {
				t.Errorf("%s: %q", field.Name, field.Value[0])
			}
		}
	})
}
