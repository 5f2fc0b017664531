package gateway

import (
	"net/http"
	"testing"
)

// A page in memory, by how deep it lies. No network is involved.
func BenchmarkPageInMemory(b *testing.B) {
	e := newEdge(b, nil)
	root := e.shelf.tree(b, map[string]string{"x.css": "body{}", "a/b/c/d/e/x.css": "body{}"})
	if err := e.SetSites([]Site{{"www.example.org", "/ipfs/" + root.String()}}); err != nil {
		b.Fatal(err)
	}
	for name, path := range map[string]string{"depth 1": "/x.css", "depth 6": "/a/b/c/d/e/x.css"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := newRequest("GET", "http://www.example.org"+path)
				w := &discardWriter{header: http.Header{}}
				e.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
