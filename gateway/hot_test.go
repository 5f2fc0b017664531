package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// hits says how many blocks a request reads; a kept answer reads none.
func (e *edge) reads(f func()) int {
	before := e.shelf.gets()
	f()
	return e.shelf.gets() - before
}

func TestKeptAnswers(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"x.txt": "0123456789"})
	url := "http://127.0.0.1/ipfs/" + root.String() + "/x.txt"
	first := e.get(url).want(t, 200, "0123456789")
	n := e.reads(func() {
		etag := first.Header.Get("Etag")
		e.get(url).want(t, 200, "0123456789").header(t, "Cache-Status", "shoal; hit")
		e.do("HEAD", url).want(t, 200, "").header(t, "Content-Length", "10")
		e.get(url, "Range: bytes=2-4").want(t, 206, "234").header(t, "Content-Range", "bytes 2-4/10").header(t, "Content-Length", "3")
		e.get(url, "If-None-Match: "+etag).want(t, 304, "").header(t, "Etag", etag)
		e.get(url, "Range: pages=1", "If-Modified-Since: x").want(t, 200, "0123456789")
	})
	if n != 0 {
		t.Errorf("%d blocks were read for answers that are kept", n)
	}
	for _, h := range []string{"Accept: application/vnd.ipld.raw", "Cache-Control: only-if-cached"} {
		if e.reads(func() { e.get(url, h) }) == 0 {
			t.Errorf("%s was answered from what is kept", h)
		}
	}
	if e.reads(func() { e.get(url + "?x") }) == 0 {
		t.Error("a query was answered from what is kept")
	}
}

func TestForget(t *testing.T) {
	e := newEdge(t, nil)
	c := e.shelf.raw(t, 0x55, []byte("purged"))
	url := "http://127.0.0.1/ipfs/" + c.String()
	e.get(url).want(t, 200, "purged")
	e.shelf.drop(c)
	e.get(url).want(t, 200, "purged")
	e.Forget()
	e.get(url).want(t, 404, "")
	if bytes, n := e.hot.Size(); bytes != 0 || n != 0 {
		t.Errorf("%d routes of %d bytes are left", n, bytes)
	}
}

func TestASiteChangesAtOnce(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Serve = ServeSites })
	roots := make([]string, 2)
	for i := range roots {
		roots[i] = e.shelf.tree(t, map[string]string{"index.html": fmt.Sprintf("edition %d", i)}).String()
	}
	for i := range 6 {
		if err := e.SetSites([]Site{{"www.example.org", "/ipfs/" + roots[i%2]}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			e.get("http://www.example.org/").want(t, 200, fmt.Sprintf("edition %d", i%2))
			e.get("http://127.0.0.1/ipfs/"+roots[i%2]+"/").want(t, 200, fmt.Sprintf("edition %d", i%2))
			e.get("http://127.0.0.1/ipfs/"+roots[1-i%2]+"/").want(t, 403, "")
		}
	}
}

func TestANameMovesAtOnce(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) {
		o.Serve = ServeSites
		o.Sites = []Site{{"www.example.org", ContentDNSLink}}
	})
	for i := range 4 {
		root := e.shelf.tree(t, map[string]string{"index.html": fmt.Sprintf("edition %d", i)})
		e.names.set("www.example.org", "/ipfs/"+root.String())
		for range 2 {
			a := e.get("http://www.example.org/").want(t, 200, fmt.Sprintf("edition %d", i))
			a.header(t, "Cache-Control", "public, max-age=90").header(t, "Last-Modified", "")
		}
	}
}

func TestPolicyOfKeptAnswers(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Serve = ServePinned })
	c := e.shelf.raw(t, 0x55, []byte("pinned"))
	url := "http://127.0.0.1/ipfs/" + c.String()
	for range 3 {
		e.get(url).want(t, 403, "")
		e.pins[c] = true
		e.get(url).want(t, 200, "pinned")
		e.get(url).want(t, 200, "pinned")
		delete(e.pins, c)
	}
}

// A large file is read by its map: no index block, and of a range only what it
// touches.
func TestLargeFilesAreReadByTheirMap(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBodies = false })
	var text strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&text, "%09d\n", i)
	}
	file := e.shelf.file(t, []byte(text.String())).Cid() // leaves of 1 KiB, 8 links each
	url := "http://127.0.0.1/ipfs/" + file.String()
	e.get(url).want(t, 200, text.String())
	if n := e.reads(func() { e.get(url).want(t, 200, text.String()) }); n != (text.Len()+1023)/1024 {
		t.Errorf("%d blocks were read, want the leaves alone", n)
	}
	n := e.reads(func() {
		a := e.get(url, "Range: bytes=200000-200009").want(t, 206, "000020000\n")
		a.header(t, "Content-Range", fmt.Sprintf("bytes 200000-200009/%d", text.Len()))
	})
	if n != 1 {
		t.Errorf("%d blocks were read for a range in one leaf", n)
	}
	if n := e.reads(func() { e.do("HEAD", url).want(t, 200, "") }); n != 0 {
		t.Errorf("%d blocks were read for HEAD", n)
	}
	e.shelf.from(block.Disk)
	n = e.reads(func() {
		a := e.get(url, "Range: bytes=200000-200009").want(t, 206, "000020000\n")
		a.header(t, "Cache-Status", "shoal; fwd=uri-miss; detail=disk")
	})
	if n != 0 {
		t.Errorf("%d whole blocks were read for a range in one leaf", n)
	}
	e.get(url, "Range: bytes=1000-1999").want(t, 206, text.String()[1000:2000]).header(t, "Cache-Status", "shoal; fwd=uri-miss; detail=disk")
}

// Blocks that are not held are asked for ahead; when one cannot be had, the answer
// is an error, or is cut.
func TestLargeFilesFromAfar(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBodies = false })
	data := make([]byte, 100<<10)
	for i := range data {
		data[i] = byte(i >> 10) // no two leaves are the same
	}
	file := e.shelf.file(t, data).Cid()
	url := "http://127.0.0.1/ipfs/" + file.String()
	e.get(url).want(t, 200, string(data))
	e.shelf.from(block.Origin)
	e.get(url).want(t, 200, string(data)).header(t, "Cache-Status", "shoal; fwd=uri-miss; detail=origin")
	if n := e.reads(func() { e.get(url, "Range: bytes=5000-5001").want(t, 206, "") }); n != 1 {
		t.Errorf("%d blocks were fetched for two bytes", n)
	}
	leaf := mapOf(t, e).leaf(51_300)
	e.shelf.drop(leaf)
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("the answer was not cut: %v", p)
			}
		}()
		e.get(url)
	}()
	e.get(url, "Range: bytes=51300-51400").want(t, 404, "block "+leaf.String())
}

// A connection carries kept answers, others, and errors, one after the other.
func TestOneConnectionForAll(t *testing.T) {
	e := newEdge(t, nil)
	big := strings.Repeat("x", 300_000)
	root := e.shelf.tree(t, map[string]string{"s.txt": "small", "b.txt": big})
	s := serveTwin(t, e)
	base := "/ipfs/" + root.String()
	for i := range 30 {
		for path, want := range map[string]string{base + "/s.txt": "small", base + "/b.txt": big, base + "/none": "no link", base + "/s.txt?x": "small"} {
			conn := s.conn
			a := s.ask(t, "GET", []byte("GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
			if !strings.Contains(a.body, want) {
				t.Fatalf("%s: %d %.200q", path, a.status, a.body)
			}
			if conn != nil && s.conn != conn {
				t.Fatalf("round %d: %s: the connection was closed", i, path)
			}
		}
	}
	// Two requests in one segment are answered in order.
	get := "GET " + base + "/s.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	if _, err := io.WriteString(s.conn, strings.Repeat(get, 5)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if a, err := s.read("GET"); err != nil || a.body != "small" {
			t.Fatalf("%v, %q", err, a.body)
		}
	}
	a := s.ask(t, "GET", []byte("GET "+base+"/s.txt HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"))
	if a.body != "small" {
		t.Errorf("HTTP/1.0: %d %q", a.status, a.body)
	}
}

// mapped is the map of the file that was kept last.
type mapped struct{ *unixfs.Map }

func mapOf(t *testing.T, e *edge) mapped {
	t.Helper()
	for _, entry := range e.hot.All() {
		if p, ok := entry.Value.(*hotPage); ok && p.File != nil {
			return mapped{p.File.Map}
		}
	}
	t.Fatal("no file is kept by its map")
	return mapped{}
}

func (m mapped) leaf(at int64) cid.Cid {
	c, _, _ := m.Only(unixfs.Span{From: at, To: at + 1})
	return c
}
