package demo

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	redirects "github.com/ipfs/go-ipfs-redirects-file"
	"golang.org/x/net/html"
)

func bundledSite(t *testing.T) (*content, map[string]bool) {
	t.Helper()
	c, err := openContent("")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	for _, f := range c.files {
		exists[f.name] = true
	}
	return c, exists
}

// The site is there to show things: each must be in it, and it must stay small
// enough to be embedded.
func TestSiteHasWhatADemoNeeds(t *testing.T) {
	c, exists := bundledSite(t)
	for _, name := range []string{"index.html", "404.html", "_redirects", "favicon.ico", "favicon.svg", "assets/style.css"} {
		if !exists[name] {
			t.Errorf("%s is missing", name)
		}
	}
	kinds := map[string]int{}
	deepest, largest := 0, int64(0)
	for _, f := range c.files {
		kinds[path.Ext(f.name)]++
		deepest = max(deepest, strings.Count(f.name, "/"))
		largest = max(largest, f.size)
	}
	for _, ext := range []string{".html", ".css", ".js", ".json", ".svg", ".webp", ".jpg", ".png", ".mp3"} {
		if kinds[ext] == 0 {
			t.Errorf("no %s file", ext)
		}
	}
	if deepest < 4 {
		t.Errorf("the deepest file is %d folders down, want at least 4", deepest)
	}
	if largest > 512<<10 || c.bytes > 2<<20 {
		t.Errorf("largest file %d bytes, all %d; every edge carries them: want none over 512 KiB and all under 2 MiB", largest, c.bytes)
	}
	if c.skipped != 0 {
		t.Errorf("%d files are skipped", c.skipped)
	}
}

func TestSiteLinksResolve(t *testing.T) {
	c, exists := bundledSite(t)
	pages, links := 0, 0
	for _, f := range c.files {
		if !isPage(f.name) {
			continue
		}
		pages++
		anywhere := strings.Contains(f.name, "404") || strings.Contains(f.name, "withdrawn")
		for _, l := range c.allLinks(f) {
			u, err := url.Parse(l.ref)
			if err != nil {
				t.Errorf("%s: %v", f.name, err)
				continue
			}
			if u.Path == "" { // a place on the same page
				continue
			}
			links++
			target, ok := resolve(l.from, l.ref, exists)
			if !ok && l.ref == "./" {
				target, ok = "index.html", true
			}
			if !ok {
				t.Errorf("%s: %q leads nowhere", l.from, l.ref)
				continue
			}
			if strings.HasPrefix(l.ref, "/") != anywhere {
				t.Errorf("%s: %q: a page links relatively, unless it is shown at any path", l.from, l.ref)
			}
			if !strings.HasSuffix(u.Path, path.Base(target)) && !strings.HasSuffix(u.Path, "/") {
				t.Errorf("%s: %q names a folder without its slash, which costs a redirect", l.from, l.ref)
			}
			if u.Fragment != "" && !hasID(t, c, target, u.Fragment) {
				t.Errorf("%s: %q: no such place on that page", l.from, l.ref)
			}
		}
	}
	if pages < 8 || links < 100 {
		t.Errorf("only %d links on %d pages were checked", links, pages)
	}
}

func hasID(t *testing.T, c *content, name, id string) bool {
	data, err := fs.ReadFile(c.fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(data, []byte(`id="`+id+`"`))
}

// Every page is well-formed, and has what people who cannot see it need.
func TestSitePagesAreAccessible(t *testing.T) {
	c, _ := bundledSite(t)
	void := map[string]bool{"meta": true, "link": true, "img": true, "input": true, "source": true, "br": true}
	for _, f := range c.files {
		if !isPage(f.name) {
			continue
		}
		data, _ := fs.ReadFile(c.fsys, f.name)
		if !bytes.HasPrefix(data, []byte("<!doctype html>\n<html lang=\"en\">")) {
			t.Errorf("%s: begins with %.60q", f.name, data)
		}
		var open []string
		seen := map[string]int{}
		for z := html.NewTokenizer(bytes.NewReader(data)); ; {
			kind := z.Next()
			if kind == html.ErrorToken {
				break
			}
			tok := z.Token()
			switch {
			case kind == html.StartTagToken:
				seen[tok.Data]++
				if tok.Data == "img" && !hasAttr(tok, "alt") {
					t.Errorf("%s: %s has no alt", f.name, tok)
				}
				if tok.Data == "img" && (!hasAttr(tok, "width") || !hasAttr(tok, "height")) {
					t.Errorf("%s: %s: without its size the page jumps", f.name, tok)
				}
				if !void[tok.Data] {
					open = append(open, tok.Data)
				}
			case kind == html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != tok.Data {
					t.Fatalf("%s: </%s> closes %v", f.name, tok.Data, open)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) != 0 || seen["h1"] != 1 || seen["main"] != 1 || seen["title"] != 1 {
			t.Errorf("%s: open at the end %v, h1 %d, main %d, title %d", f.name, open, seen["h1"], seen["main"], seen["title"])
		}
	}
}

func hasAttr(tok html.Token, name string) bool {
	for _, a := range tok.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func TestSiteRedirectsParse(t *testing.T) {
	c, exists := bundledSite(t)
	data, err := fs.ReadFile(c.fsys, "_redirects")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := redirects.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, to string
		status   int
	}{
		{"/about", "/station/", 301},
		{"/visit", "/station/#visiting", 302},
		{"/blog/2024/november/three-shapes", "/notes/2024/november/three-shapes/", 301},
		{"/recordings/north-sound.mp3", "/notes/2025/october/dusk-chorus/recording/north-sound.mp3", 302},
		{"/data/soundings-2023.json", "/data/withdrawn.html", 410},
		{"/no/such/page", "/404.html", 404},
	} {
		found := false
		for i := range rules {
			if found = rules[i].MatchAndExpandPlaceholders(tc.path); found {
				if rules[i].To != tc.to || rules[i].Status != tc.status {
					t.Errorf("%s leads to %s (%d), want %s (%d)", tc.path, rules[i].To, rules[i].Status, tc.to, tc.status)
				}
				break
			}
		}
		if !found {
			t.Errorf("%s: no rule", tc.path)
		}
		if _, ok := resolve("index.html", tc.to, exists); !ok {
			t.Errorf("%s leads to %s, which is not there", tc.path, tc.to)
		}
	}
}

func TestSiteDataParses(t *testing.T) {
	c, _ := bundledSite(t)
	for _, f := range c.files {
		data, _ := fs.ReadFile(c.fsys, f.name)
		if path.Ext(f.name) == ".json" && !json.Valid(data) {
			t.Errorf("%s is not JSON", f.name)
		}
		if m := regexp.MustCompile(`https?://[^"' <)]+`).FindAll(data, -1); path.Ext(f.name) != ".mp3" {
			for _, u := range m {
				if string(u) != "http://www.w3.org/2000/svg" && !bytes.HasPrefix(u, []byte("http://www.w3.org/")) {
					t.Errorf("%s refers to %s: the site must need nothing from elsewhere", f.name, u)
				}
			}
		}
	}
}
