package page

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"golang.org/x/net/html"

	"github.com/shoal-cdn/shoal/printable"
)

// pageCase is what a folder's page must and must not have at a place. {names} stand for
// what is in the map of conform.
type pageCase struct {
	name      string
	place     Place
	entries   []Entry
	want, not []string
}

// deep is a folder's path below the content root.
const deep = "/ñ/ü/"

// conform checks what the gateway conformance suite demands of the pages of folders, word
// for word; the names are others.
func conform(t *testing.T, cases []pageCase) {
	root, file := named(t, cid.DagProtobuf, "root"), named(t, cid.Raw, "file")
	values := map[string]string{"cid": root.String(), "file": file.String(), "host": "gateway.example:8080", "site": "site.example"}
	for _, c := range cases {
		if c.entries == nil {
			c.entries = []Entry{{Name: "datei-ß.txt"}}
		}
		for i := range c.entries {
			c.entries[i].CID = file
		}
		t.Run(c.name, func(t *testing.T) {
			f := &Folder{Place: placeOf(c.place, values), CID: root, Entries: c.entries}
			shows(t, f.HTML(), values, c.want, c.not)
		})
	}
}

func TestConformanceOnPathGateway(t *testing.T) {
	conform(t, []pageCase{{
		name: "a content root on a path gateway", place: Place{URL: "/ipfs/{cid}/", Path: "/ipfs/{cid}/"},
		want: []string{"Index of"},
		not:  []string{`<a href="/ipfs/{cid}/">..</a>`, `>..</a>`},
	}, {
		name: "a folder on a path gateway", place: Place{URL: "/ipfs/{cid}" + deep, Path: "/ipfs/{cid}" + deep},
		want: []string{
			"Index of",
			`/ipfs/<a href="/ipfs/{cid}">{cid}</a>/<a href="/ipfs/{cid}/%C3%B1">ñ</a>/<a href="/ipfs/{cid}/%C3%B1/%C3%BC">ü</a>`,
			`<a href="/ipfs/{cid}/%C3%B1/%C3%BC/..">..</a>`,
			`<a href="/ipfs/{cid}/%C3%B1/%C3%BC/datei-%C3%9F.txt">datei-ß.txt</a>`,
			`<a class="ipfs-hash" translate="no" href="/ipfs/{file}?filename=datei-%25C3%259F.txt">`,
		},
	}, {
		name: "symlinks are names like others", place: Place{URL: "/ipfs/{cid}/", Path: "/ipfs/{cid}/"},
		entries: []Entry{{Name: "here"}, {Name: "there"}},
		want:    []string{">here<", ">there<"},
	}})
}

func TestConformanceOnSubdomain(t *testing.T) {
	conform(t, []pageCase{{
		name: "a content root on its subdomain", place: Place{URL: "/", Path: "/ipfs/{cid}/", Gateway: "//{host}"},
		want: []string{"Index of", `/ipfs/<a href="//{host}/ipfs/{cid}">{cid}</a>`, `<a href="/datei-%C3%9F.txt">datei-ß.txt</a>`},
		not:  []string{`<a href="/">..</a>`, `>..</a>`},
	}, {
		name: "a folder on a subdomain", place: Place{URL: deep, Path: "/ipfs/{cid}" + deep, Gateway: "//{host}"},
		want: []string{
			"Index of",
			`<a href="/%C3%B1/%C3%BC/..">..</a>`,
			`/ipfs/<a href="//{host}/ipfs/{cid}">{cid}</a>/<a href="//{host}/ipfs/{cid}/%C3%B1">ñ</a>/<a href="//{host}/ipfs/{cid}/%C3%B1/%C3%BC">ü</a>`,
			`<a href="/%C3%B1/%C3%BC/datei-%C3%9F.txt">datei-ß.txt</a>`,
			`<a class="ipfs-hash" translate="no" href="//{host}/ipfs/{file}?filename=datei-%25C3%259F.txt">`,
		},
	}, {
		name: "folders that are called as namespaces are", place: Place{URL: "/ipfs/ipns/", Path: "/ipfs/{cid}/ipfs/ipns/", Gateway: "//{host}"},
		entries: []Entry{{Name: "x"}},
		want: []string{
			`<a href="/ipfs/ipns/..">..</a>`, `<a href="/ipfs/ipns/x">x</a>`,
			`/ipfs/<a href="//{host}/ipfs/{cid}">{cid}</a>/<a href="//{host}/ipfs/{cid}/ipfs">ipfs</a>/<a href="//{host}/ipfs/{cid}/ipfs/ipns">ipns</a>`,
		},
	}})
}

func TestConformanceOnWebsite(t *testing.T) {
	conform(t, []pageCase{{
		name: "the root of a website", place: Place{URL: "/", Path: "/ipns/{site}/", Website: true},
		want: []string{"Index of", `/ipns/<a href="//{site}/">{site}</a>`},
		not:  []string{`<a href="/">..</a>`, `>..</a>`},
	}, {
		name: "a folder of a website", place: Place{URL: deep, Path: "/ipns/{site}" + deep, Website: true},
		want: []string{
			"Index of",
			`<a href="/%C3%B1/%C3%BC/..">..</a>`,
			`/ipns/<a href="//{site}/">{site}</a>/<a href="//{site}/%C3%B1">ñ</a>/<a href="//{site}/%C3%B1/%C3%BC">ü</a>`,
			`<a href="/%C3%B1/%C3%BC/datei-%C3%9F.txt">datei-ß.txt</a>`,
			`<a class="ipfs-hash" translate="no" href="https://cid.ipfs.tech/#{file}" target="_blank" rel="noreferrer noopener">`,
		},
	}})
}

func placeOf(p Place, values map[string]string) Place {
	p.URL, p.Path, p.Gateway, p.Host = fill(p.URL, values), fill(p.Path, values), fill(p.Gateway, values), fill(p.Host, values)
	return p
}

func TestFolderOfWebsite(t *testing.T) {
	file := named(t, cid.Raw, "file")
	values := map[string]string{"file": file.String()}
	f := &Folder{CID: file, Entries: []Entry{{Name: "a", CID: file}}}
	f.Place = Place{URL: "/d/", Path: "/ipns/site.example/d/", Website: true, Host: "site.example:8080"}
	shows(t, f.HTML(), values, []string{`<a href="//site.example:8080/">site.example</a>/<a href="//site.example:8080/d">d</a>`, `<code translate="no">{file}</code>`}, nil)
	f.Gateway = "//gateway.example"
	shows(t, f.HTML(), values, []string{`<a href="//site.example:8080/d">d</a>`, `href="//gateway.example/ipfs/{file}?filename=a">`}, []string{explorer})
}

func TestFolderPages(t *testing.T) {
	f := &Folder{Place: Place{URL: "/ipfs/x/", Path: "/ipfs/x/"}, Next: `50% "a"&b+c#d?.txt`}
	next := `<a rel="next" href="?after=50%25%20%22a%22%26b%2Bc%23d%3F.txt">Next page</a>`
	shows(t, f.HTML(), nil, []string{next, "On this page"}, []string{"First page"})
	f.After = "<m>"
	shows(t, f.HTML(), nil, []string{next, `<a href="/ipfs/x/">First page</a>`, "&lt;m&gt;"}, nil)
	f.Next = ""
	shows(t, f.HTML(), nil, []string{"First page"}, []string{"Next page"})
	f.After = ""
	shows(t, f.HTML(), nil, []string{"Entries"}, []string{"First page", "Next page", "<nav"})
}

// oddNames are names that might do something if they were not escaped.
var oddNames = []string{
	"plain.txt", "a b", "a+b", "50%", "%2e%2e", "%2F", "q?x=1", "#top", "a&b;c", `"quoted"`, "it's", "<script>alert(1)</script>", "</a></td>", "-->", "two\nlines", "\r\n\t", "\x00",
	"gpj.\u202eexe", "\u2066x", "\u2028", "\xff\xfe", `\`, `..\..`, `\\evil.example\x`, "javascript:alert(1)", "http:", "data:text/html,x", "@evil.example", "~", "...", " ", " ..", ".. ",
	"日本", "👩‍💻", strings.Repeat("long ", 300), ";p=1", "index.html", "[::1]", "{cid}", "`", "^|",
	"", ".", "..", "/", "//evil.example", "a/b", "../x", "/etc",
}

// A name never leaves its folder, is shown without doing anything, and comes back from the
// link as it was.
func TestOddNames(t *testing.T) {
	file := named(t, cid.Raw, "file")
	for _, at := range []Place{
		{URL: "/", Path: "/ipfs/x/", Gateway: "//gateway.example"},
		{URL: "/ipfs/x/a?b#c%2f<d>/", Path: "/ipfs/x/a?b#c%2f<d>/"},
		{URL: "//evil.example/d/", Path: "/ipfs/x/d/", Gateway: "//gateway.example"},
		{URL: `/\evil.example/"d"/`, Path: "/ipns/site.example/d/", Website: true},
	} {
		for _, name := range oddNames {
			checkName(t, at, name, file)
		}
	}
}

func checkName(t testing.TB, at Place, name string, file cid.Cid) {
	t.Helper()
	base, err := url.Parse("http://visited.example/")
	if err != nil {
		t.Fatal(err)
	}
	base.Path = at.URL
	page := (&Folder{Place: at, CID: file, Entries: []Entry{{Name: name, CID: file}}, After: name, Next: name}).HTML()
	found := elements(t, page)
	links := 0
	for i, e := range found {
		if e.name != "td" || i+1 == len(found) || found[i+1].name != "a" || found[i+1].text == ".." || found[i+1].attr["class"] != "" {
			continue
		}
		links++
		a := found[i+1]
		to, err := base.Parse(a.attr["href"])
		if err != nil || to.Host != base.Host || to.Path != at.URL+name && to.Path != "/."+at.URL+name || to.RawQuery != "" || to.Fragment != "" || strings.HasPrefix(a.attr["href"], "//") {
			t.Errorf("%q leads from %q to %q: %v (%v)", name, at.URL, a.attr["href"], to, err)
		}
		if shown, _ := cut(name, maxName); strings.TrimSuffix(a.text, "…") != printable.Escape(shown) && name != "…" {
			t.Errorf("%q is shown as %q", name, a.text)
		}
	}
	if want := isSegment(name); want != (links == 1) || links > 1 {
		t.Errorf("%q has %d links", name, links)
	}
	checkOrder(t, name, at, found, file)
	if text := string(page); strings.ContainsFunc(text[strings.Index(text, "<header>"):strings.Index(text, "<script>")], func(r rune) bool {
		return r != '\n' && printable.Check(string(r)) != nil
	}) {
		t.Errorf("%q is on the page as it is", name)
	}
}

// checkOrder checks that a page has the elements that it has with a plain name, and that
// its other links lead where they lead with that.
func checkOrder(t testing.TB, name string, at Place, found []element, file cid.Cid) {
	t.Helper()
	usual := "x"
	if !isSegment(name) {
		usual = ".."
	}
	plain := elements(t, (&Folder{Place: at, CID: file, Entries: []Entry{{Name: usual, CID: file}}, After: "x", Next: "x"}).HTML())
	if name == "" { // it is no name to go on behind, either
		plain = elements(t, (&Folder{Place: at, CID: file, Entries: []Entry{{Name: usual, CID: file}}}).HTML())
	}
	if len(found) != len(plain) {
		t.Fatalf("with %q the page has %d elements instead of %d", name, len(found), len(plain))
	}
	for i := range found {
		if found[i].name != plain[i].name || len(found[i].attr) != len(plain[i].attr) {
			t.Errorf("with %q <%s %v> became <%s %v>", name, plain[i].name, plain[i].attr, found[i].name, found[i].attr)
		}
		if query, ok := strings.CutPrefix(found[i].attr["href"], "?"); ok {
			if values, err := url.ParseQuery(query); err != nil || values.Get("after") != name || len(values) != 1 {
				t.Errorf("the page behind %q is %q (%v)", name, query, err)
			}
		}
	}
}

// Paths are bounded, too: what a path has in it stands in each link.
func TestLongPaths(t *testing.T) {
	file := named(t, cid.Raw, "file")
	long := "/ipfs/" + file.String() + strings.Repeat("/<folder>", 2000) + "/"
	f := &Folder{Place: Place{URL: long, Path: long}, CID: file, Entries: make([]Entry, 1000)}
	for i := range f.Entries {
		f.Entries[i] = Entry{Name: fmt.Sprintf("%d:%s", i, strings.Repeat("ü", 100)), CID: file}
	}
	page := f.HTML()
	if len(page) > 3<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	shows(t, page, nil, []string{`<a href="./..">..</a>`, `<a href="./7:%C3%BC%C3%BC`}, nil)
	if n := strings.Count(string(page), "<a "); n != 2000+maxCrumbs+1+1 {
		t.Errorf("there are %d links", n)
	}
}

// FuzzFolder looks for names that break out of the page or of their folder.
func FuzzFolder(f *testing.F) {
	for _, name := range oddNames {
		f.Add("/d/", name)
	}
	f.Add("//e/", "x")
	f.Add(`/"<>'&\`+"\n/", "\x1b")
	file := named(f, cid.Raw, "file")
	f.Fuzz(func(t *testing.T, path, name string) {
		path = "/" + strings.Trim(path, "/") + "/"
		if strings.Contains(path, "/./") || strings.Contains(path, "/../") || strings.Contains(path, "//") || len(path) > 100 {
			return // such paths are cleaned before
		}
		at := Place{URL: path, Path: "/ipfs/" + file.String() + path}
		checkName(t, at, name, file)
	})
}

func BenchmarkFolder(b *testing.B) {
	file := named(b, cid.Raw, "file")
	at := "/ipfs/" + file.String() + "/documents/2026/"
	f := &Folder{Place: Place{URL: at, Path: at}, CID: file, Entries: make([]Entry, 1000)}
	for i := range f.Entries {
		f.Entries[i] = Entry{Name: fmt.Sprintf("Bericht Nr. %04d für März.html", i), CID: file, Size: uint64(i) << 12}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(f.HTML())))
	}
}

// Parsing is what tells a page that is well-formed from one that is not: all that is
// opened is closed.
func TestPagesAreWellFormed(t *testing.T) {
	void := map[string]bool{"meta": true, "link": true}
	for _, page := range samples() {
		var open []string
		for z := html.NewTokenizer(strings.NewReader(string(page))); ; {
			kind := z.Next()
			if kind == html.ErrorToken {
				break
			}
			name, _ := z.TagName()
			switch {
			case kind == html.StartTagToken && !void[string(name)]:
				open = append(open, string(name))
			case kind == html.EndTagToken && (len(open) == 0 || open[len(open)-1] != string(name)):
				t.Fatalf("</%s> within %v", name, open)
			case kind == html.EndTagToken:
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Errorf("%v stay open", open)
		}
	}
}
