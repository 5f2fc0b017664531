package demo

import (
	"bytes"
	"cmp"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// maxMarkup is the size, in bytes, up to which a page or a stylesheet is read for
// its links.
const maxMarkup = 1 << 20

// A page is something that a visitor opens.
type page struct {
	file   string
	assets []string // files that the browser loads with it
	media  []string // files that it loads when the visitor presses play or download
}

// link is a reference in a page or stylesheet to something else.
type link struct {
	ref  string
	kind linkKind
}

type linkKind uint8

const (
	toPage  linkKind = iota // an ordinary link
	toAsset                 // loaded with the page
	toMedia                 // loaded on demand
)

// pages returns what visitors may open, what they are most likely to open first:
// HTML pages by depth and name, then the files that no page refers to.
func (c *content) pages() []page {
	exists := map[string]bool{}
	for _, f := range c.files {
		exists[f.name] = true
	}
	var pages []page
	referred := map[string]bool{"_redirects": true}
	for _, f := range c.files {
		if !isPage(f.name) {
			continue
		}
		p := page{file: f.name}
		for _, l := range c.allLinks(f) {
			target, ok := resolve(l.from, l.ref, exists)
			switch {
			case !ok || target == f.name:
				continue
			case l.kind == toAsset:
				p.assets = append(p.assets, target)
			case !isPage(target):
				p.media = append(p.media, target)
			}
			referred[target] = true
		}
		p.assets, p.media = unique(p.assets), unique(p.media)
		pages = append(pages, p)
	}
	for _, f := range c.files {
		if !isPage(f.name) && !referred[f.name] {
			pages = append(pages, page{file: f.name})
		}
	}
	slices.SortStableFunc(pages, func(a, b page) int {
		return cmp.Or(
			cmp.Compare(rank(a.file), rank(b.file)),
			cmp.Compare(strings.Count(a.file, "/"), strings.Count(b.file, "/")),
			cmp.Compare(a.file, b.file))
	})
	return pages
}

// rank puts the front page first, other pages next, files last.
func rank(name string) int {
	switch {
	case name == "index.html":
		return 0
	case isPage(name):
		return 1
	}
	return 2
}

func isPage(name string) bool {
	return strings.HasSuffix(name, ".html") || strings.HasSuffix(name, ".htm")
}

type foundLink struct {
	link
	from string // the file that has it
}

// allLinks returns the links of a page and those of its stylesheets.
func (c *content) allLinks(f file) []foundLink {
	var found []foundLink
	data, ok := c.markup(f)
	if !ok {
		return nil
	}
	for _, l := range htmlLinks(data) {
		found = append(found, foundLink{l, f.name})
		if l.kind != toAsset || !strings.HasSuffix(l.ref, ".css") {
			continue
		}
		sheet := path.Join(path.Dir(f.name), l.ref)
		info, err := fs.Stat(c.fsys, sheet)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if css, ok := c.markup(file{sheet, info.Size()}); ok {
			for _, l := range cssLinks(css) {
				found = append(found, foundLink{l, sheet})
			}
		}
	}
	return found
}

func (c *content) markup(f file) ([]byte, bool) {
	if f.size > maxMarkup {
		return nil, false
	}
	data, err := fs.ReadFile(c.fsys, f.name)
	return data, err == nil
}

// htmlLinks returns what an HTML document refers to. It reads as a browser would,
// so markup that is not quite right yields what a browser would find in it.
func htmlLinks(data []byte) []link {
	var links []link
	z := html.NewTokenizer(bytes.NewReader(data))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return links
		case html.StartTagToken, html.SelfClosingTagToken:
			links = append(links, tagLinks(z.Token())...)
		}
	}
}

func tagLinks(t html.Token) []link {
	attr := map[string]string{}
	for _, a := range t.Attr {
		attr[a.Key] = a.Val
	}
	var links []link
	add := func(kind linkKind, refs ...string) {
		for _, ref := range refs {
			if ref != "" {
				links = append(links, link{ref, kind})
			}
		}
	}
	switch t.Data {
	case "a", "area":
		add(toPage, attr["href"])
	case "link":
		switch rel := attr["rel"]; rel {
		case "stylesheet", "icon", "shortcut icon", "preload", "modulepreload":
			add(toAsset, attr["href"])
		case "apple-touch-icon", "manifest", "alternate", "next", "prev":
			add(toPage, attr["href"])
		}
	case "script", "img", "embed", "iframe":
		add(toAsset, attr["src"])
	case "audio", "video":
		add(toMedia, attr["src"])
		add(toAsset, attr["poster"])
	case "source":
		add(toMedia, attr["src"])
		for candidate := range strings.SplitSeq(attr["srcset"], ",") {
			ref, _, _ := strings.Cut(strings.TrimSpace(candidate), " ")
			add(toPage, ref)
		}
	case "object":
		add(toAsset, attr["data"])
	}
	// What a script loads after the page is up, by the usual convention.
	add(toAsset, attr["data-src"])
	return links
}

var cssURL = regexp.MustCompile(`(?:url\(\s*|@import\s+)["']?([^"')\s]+)`)

func cssLinks(data []byte) []link {
	var links []link
	for _, m := range cssURL.FindAllSubmatch(data, -1) {
		links = append(links, link{string(m[1]), toAsset})
	}
	return links
}

// resolve returns the file that a reference in the file from leads to, and false
// when it leads out of the content or to nothing.
func resolve(from, ref string, exists map[string]bool) (string, bool) {
	u, err := url.Parse(ref)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path == "" {
		return "", false
	}
	name := path.Join("/", path.Dir(from), u.Path)
	if strings.HasPrefix(u.Path, "/") {
		name = path.Clean(u.Path)
	}
	name = strings.TrimPrefix(name, "/")
	if exists[name] {
		return name, true
	}
	name = path.Join(name, "index.html")
	return name, exists[name]
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// urlPath returns the path that a visitor asks for: a folder for its index.html.
func urlPath(name string) string {
	name = "/" + name
	if dir, ok := strings.CutSuffix(name, "/index.html"); ok {
		name = dir + "/"
	}
	return (&url.URL{Path: name}).EscapedPath()
}
