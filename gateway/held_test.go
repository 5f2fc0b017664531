package gateway

import (
	"net/http"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// When answers hold as much as they may, large blocks are sent step by step: the same
// bytes under the same header, from memory and from the disk, whole and in parts.
func TestLargeBlocksThatAreNotHeld(t *testing.T) {
	e := newEdge(t, nil)
	leaf := randomBytes(200<<10 + 7)
	file := e.shelf.repeated(t, leaf, 3)
	single := e.shelf.raw(t, cid.Raw, leaf)
	var urls []string
	for _, path := range []string{single.String(), single.String() + "?format=raw", file.String()} {
		urls = append(urls, "http://127.0.0.1/ipfs/"+path)
	}
	headers := [][]string{nil, {"Range: bytes=5-204807"}, {"Range: bytes=-70000"}, {"Range: bytes=0-9"}, {"If-None-Match: *"}, {"Accept-Encoding: gzip"}}
	for _, src := range []block.Source{block.Memory, block.Disk} {
		e.shelf.from(src)
		e.Forget()
		var held []response
		ask := func(f func(response)) {
			for _, url := range urls {
				for _, h := range headers {
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						f(e.do(method, url, h...))
					}
				}
			}
		}
		ask(func(r response) { held = append(held, r) })
		taken := int64(0)
		for e.source.Hold(1 << 10) {
			taken += 1 << 10
		}
		for range 2 { // with what is kept, and without
			i := 0
			ask(func(r response) {
				want := held[i]
				if i++; r.StatusCode != want.StatusCode || r.body != want.body {
					t.Errorf("%v, answer %d: %d and %d bytes, want %d and %d", src, i, r.StatusCode, len(r.body), want.StatusCode, len(want.body))
				}
				for _, name := range []string{"Etag", "Content-Length", "Content-Range", "Content-Type", "Cache-Control", "Vary"} {
					r.header(t, name, want.Header.Get(name))
				}
			})
			e.Forget()
		}
		e.get(urls[0]+"?format=car").want(t, 503, "").header(t, "Cache-Control", "no-store")
		e.source.Release(taken)
		if n := e.Sending(); n != 0 {
			t.Errorf("%d bytes are held by nobody", n)
		}
	}
}
