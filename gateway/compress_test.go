package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/shoal-cdn/shoal/block"
)

// noise is text that does not get smaller.
func noise(n int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// decoded takes a coding off a body.
func decoded(t testing.TB, coding, body string) string {
	t.Helper()
	var r io.Reader
	var err error
	switch coding {
	case "br":
		r = brotli.NewReader(strings.NewReader(body))
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(strings.NewReader(body), zstd.WithDecoderMaxWindow(8<<20)); err == nil {
			defer z.Close()
		}
		r = z
	case "gzip":
		r, err = gzip.NewReader(strings.NewReader(body))
	case "":
		return body
	default:
		t.Fatalf("coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		t.Fatalf("decode %s: %v", coding, err)
	}
	return b.String()
}

// pages is a site of content that is encoded, and some that is not.
func (e *edge) pages(t testing.TB) string {
	t.Helper()
	return e.shelf.tree(t, map[string]string{
		"page.html": "<html>" + lines(500), "small.html": "<html>" + lines(30), "noise.txt": noise(5000), "image.png": "\x89PNG\r\n\x1a\n" + lines(500),
		"icon.svg": "<svg xmlns=\"http://www.w3.org/2000/svg\">" + lines(200), "index.html": "<h1>home</h1>" + lines(100),
		"dir/a.txt": "a", "dir/" + strings.Repeat("b", 200): "b", "404.html": "<h1>lost</h1>" + lines(100),
		"_redirects": "/shown /page.html 200\n/gone /404.html 410\n/away /page.html 301\n/* /404.html 404\n",
	}).String()
}

// in asks for a coding, and decodes the answer.
func (e *edge) in(coding, method, url string, headers ...string) response {
	e.t.Helper()
	a := e.do(method, url, append(headers, "Accept-Encoding: "+coding)...)
	if method == http.MethodGet {
		if n := a.Header.Get("Content-Length"); n != "" && n != strconv.Itoa(len(a.body)) {
			e.t.Errorf("%s: %d bytes, Content-Length: %s", url, len(a.body), n)
		}
		a.body = decoded(e.t, a.Header.Get("Content-Encoding"), a.body)
	}
	return a
}

func TestWhatIsEncoded(t *testing.T) {
	e := newEdge(t, nil)
	root := e.pages(t)
	cbor := e.shelf.raw(t, 0x71, append([]byte("\xa1\x61a\x79\x10\x00"), strings.Repeat("x", 4096)...))
	base, site := "http://127.0.0.1/ipfs/"+root, "http://"+root+".ipfs.localhost"
	for _, c := range []struct {
		url, text     string
		status        int
		encoded, vary bool
	}{
		{base + "/page.html", "line 000499", 200, true, true},
		{base + "/", "<h1>home</h1>", 200, true, true},
		{site + "/page.html", "line 000499", 200, true, true},
		{site + "/icon.svg", "<svg", 200, true, true},
		{site + "/shown", "line 000499", 200, true, true},
		{site + "/gone", "<h1>lost</h1>", 410, true, true},
		{site + "/nowhere", "<h1>lost</h1>", 404, true, true},
		{site + "/dir/", "bbb", 200, true, true},
		{site + "/dir", "", 301, false, false},
		{base + "/page.html?filename=x.html&download=true", "line 000499", 200, true, true},
		{base + "/noise.txt", "", 200, false, true},
		{base + "/small.html", "line", 200, false, false},
		{base + "/image.png", "PNG", 200, false, false},
		{site + "/away", "", 301, false, false},
		{base + "/none", "no link", 404, false, false},
		{base + "/page.html?format=raw", "", 200, false, false},
		{base + "/page.html?format=car", "", 200, false, false},
		{base + "/page.html?format=tar", "", 200, false, false},
		{"http://127.0.0.1/ipfs/" + cbor.String() + "?format=dag-cbor", "", 200, false, false},
		{"http://127.0.0.1/ipfs/" + cbor.String(), "", 200, false, false},
	} {
		for _, name := range []string{"br", "zstd", "gzip"} {
			for range 2 {
				a := e.in(name, "GET", c.url).want(t, c.status, c.text)
				got := a.Header.Get("Content-Encoding")
				if c.encoded != (got == name) || !c.encoded && got != "" || c.vary != strings.HasSuffix(a.Header.Get("Vary"), "Accept-Encoding") {
					t.Errorf("%s in %s: %v", c.url, name, a.Header)
				}
				if tag := a.Header.Get("Etag"); strings.HasPrefix(tag, "W/") != c.encoded && !strings.HasSuffix(tag, name+`"`) && !strings.Contains(c.url, "tar") && !strings.Contains(c.url, "car") {
					t.Errorf("%s in %s has Etag %s", c.url, name, a.Header.Get("Etag"))
				}
			}
		}
		e.get(c.url).want(t, c.status, c.text).header(t, "Content-Encoding", "")
	}
}

// One file has one form for each coding, however it is asked for, and whatever for.
func TestFormsAreKept(t *testing.T) {
	e := newEdge(t, nil)
	root := e.pages(t)
	base := "http://127.0.0.1/ipfs/" + root
	for _, url := range []string{base + "/page.html", "http://" + root + ".ipfs.localhost/page.html", base + "/page.html?x", "http://" + root + ".ipfs.localhost/shown"} {
		for range 2 {
			e.in("gzip, br", "GET", url).want(t, 200, "line 000499").header(t, "Content-Encoding", "br")
		}
	}
	if n := e.series(t)["shoal_http_compressions_total{coding=br,effort=quick}"]; n != 1 {
		t.Errorf("encoded %v times", n)
	}
	strong := e.get(base + "/page.html").Header.Get("Etag")
	page := e.in("br", "GET", base+"/page.html").header(t, "Etag", "W/"+strong)
	head := e.in("br", "HEAD", base+"/page.html").want(t, 200, "")
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Vary", "Content-Type"} {
		head.header(t, name, page.Header.Get(name))
	}
	n := e.reads(func() {
		for _, h := range []string{strong, "W/" + strong} {
			e.in("br", "GET", base+"/page.html", "If-None-Match: "+h).want(t, 304, "").header(t, "Etag", h).header(t, "Vary", "Accept, Accept-Encoding").header(t, "Content-Encoding", "")
		}
	})
	e.in("br", "GET", base+"/page.html", "Cache-Control: no-transform").want(t, 200, "line").header(t, "Content-Encoding", "").header(t, "Etag", strong)
	e.in("br", "GET", base+"/page.html", "Range: bytes=0-5").want(t, 206, "<html>").header(t, "Content-Encoding", "").header(t, "Etag", strong).header(t, "Vary", "Accept, Accept-Encoding")
	if n != 0 {
		t.Errorf("%d blocks were read for answers that are kept", n)
	}
	e.in("br", "GET", base+"/page.html", `If-None-Match: "x", W/`+strong).want(t, 304, "").header(t, "Etag", "W/"+strong).header(t, "Vary", "Accept, Accept-Encoding")
	// A weak tag cannot say that the ranges of two answers fit together.
	e.in("br", "GET", base+"/page.html", "Range: bytes=0-5", "If-Range: "+strong).want(t, 206, "<html>").header(t, "Content-Encoding", "")
	e.in("br", "GET", base+"/page.html", "Range: bytes=0-5", "If-Range: W/"+strong).want(t, 200, "line 000499").header(t, "Content-Encoding", "br")
	e.in("br", "GET", base+"/page.html", "If-Match: W/"+strong).want(t, 412, "")

	e.Forget()
	if bytes, n := e.hot.Size(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d entries are left", bytes, n)
	}
}

func TestSitesEndForms(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Serve = ServeSites })
	for i := range 4 {
		root := e.shelf.tree(t, map[string]string{"index.html": fmt.Sprintf("edition %d", i) + lines(100)})
		if err := e.SetSites([]Site{{"www.example.org", "/ipfs/" + root.String()}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			e.in("zstd", "GET", "http://www.example.org/").want(t, 200, fmt.Sprintf("edition %d", i)).header(t, "Content-Encoding", "zstd")
		}
	}
}

// Many who ask for the same form at once cause one to be made.
func TestAFormIsMadeOnce(t *testing.T) {
	e := newEdge(t, nil)
	url := "http://127.0.0.1/ipfs/" + e.pages(t) + "/page.html"
	e.get(url).want(t, 200, "line")
	answers := make(chan response)
	for range 16 {
		go func() { answers <- e.do("GET", url, "Accept-Encoding: br, identity;q=0") }()
		go func() { answers <- e.do("GET", url, "Accept-Encoding: br") }()
	}
	encoded := 0
	for range 32 {
		a := <-answers
		if a.Header.Get("Content-Encoding") == "br" {
			encoded++
		}
		if a.StatusCode != 200 || !strings.Contains(decoded(t, a.Header.Get("Content-Encoding"), a.body), "line 000499") {
			t.Errorf("got %d %v", a.StatusCode, a.Header)
		}
	}
	if encoded < 16 {
		t.Errorf("%d answers were encoded, 16 had to be", encoded)
	}
	if n := e.series(t)["shoal_http_compressions_total{coding=br,effort=quick}"]; n != 1 {
		t.Errorf("encoded %v times", n)
	}
}

// What is sent often gets a smaller form; the content and the tag stay.
func TestTheBestForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		url := "http://127.0.0.1/ipfs/" + e.shelf.tree(t, map[string]string{"page.html": prose(60_000)}).String() + "/page.html"
		first := e.in("br", "GET", url).want(t, 200, "")
		for range 65 {
			e.in("br", "GET", url).want(t, 200, "")
		}
		synctest.Wait()
		last := e.in("br", "GET", url).want(t, 200, prose(60_000)).header(t, "Etag", first.Header.Get("Etag"))
		if a, b := length(t, first), length(t, last); b >= a {
			t.Errorf("%d bytes after %d", b, a)
		}
		for range 3 * 64 {
			e.in("br", "GET", url).want(t, 200, "")
		}
		if n := e.series(t)["shoal_http_compressions_total{coding=br,effort=best}"]; n != 1 {
			t.Errorf("the best form was made %v times", n)
		}
		if err := e.Close(); err != nil { // synctest sees that nothing goes on
			t.Error(err)
		}
	})
}

// Files that are too large to wait for are encoded in the background, from what is
// held here.
func TestLargeFilesAreEncodedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		text := lines(80_000) // 1.8 MB
		url := "http://127.0.0.1/ipfs/" + e.shelf.tree(t, map[string]string{"large.json": text}).String() + "/large.json"
		e.in("zstd", "GET", url).want(t, 200, text).header(t, "Content-Encoding", "").header(t, "Vary", "Accept, Accept-Encoding")
		synctest.Wait()
		n := e.reads(func() {
			e.in("zstd", "GET", url).want(t, 200, text).header(t, "Content-Encoding", "zstd")
			e.in("zstd", "HEAD", url).want(t, 200, "").header(t, "Content-Encoding", "zstd")
		})
		if n != 0 {
			t.Errorf("%d blocks were read for a form that is kept", n)
		}
		e.in("zstd", "GET", url, "Range: bytes=5-8").want(t, 206, text[5:9]).header(t, "Content-Encoding", "")
		e.shelf.from(block.Origin)
		e.in("gzip", "GET", url).want(t, 200, text).header(t, "Content-Encoding", "")
		synctest.Wait()
		e.in("gzip", "GET", url).want(t, 200, text).header(t, "Content-Encoding", "")
		_ = e.Close()
	})
}

// Forms are part of the budget, and none is larger than its share of it.
func TestFormsAreBounded(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 1 << 20 })
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("%d.txt", i)] = fmt.Sprint(i) + prose(20_000)
	}
	root := e.shelf.tree(t, files).String()
	for range 2 {
		for name, text := range files {
			e.in("gzip", "GET", "http://127.0.0.1/ipfs/"+root+"/"+name).want(t, 200, text).header(t, "Content-Encoding", "gzip")
		}
		if bytes, n := e.hot.Size(); bytes > 1<<20 || n < 30 {
			t.Errorf("%d bytes in %d entries", bytes, n)
		}
	}
}

func TestWithoutCompression(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Compression = false })
	url := "http://127.0.0.1/ipfs/" + e.pages(t) + "/page.html"
	for range 2 {
		e.in("br", "GET", url).want(t, 200, "line").header(t, "Content-Encoding", "").header(t, "Vary", "Accept")
	}
}

func length(t *testing.T, a response) int {
	t.Helper()
	n, err := strconv.Atoi(a.Header.Get("Content-Length"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// prose is text as it is written, about as hard to encode as that.
func prose(n int) string {
	rng := rand.New(rand.NewPCG(7, 7))
	syllables := []string{"ba", "co", "di", "fu", "ge", "ha", "ki", "lo", "mu", "ne", "pa", "ro", "si", "tu", "we", "za"}
	words := make([]string, 500)
	for i := range words {
		for range 1 + rng.IntN(4) {
			words[i] += syllables[rng.IntN(len(syllables))]
		}
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[rng.IntN(1+rng.IntN(len(words)))])
		b.WriteString(" ")
	}
	return b.String()
}
