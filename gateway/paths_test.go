package gateway

import (
	"strings"
	"testing"
)

// Once a path was walked, only what lies at its end is read.
func TestAKnownPathIsNotWalkedAgain(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"a/b/c/d/x.txt": "deep", "a/b/y.txt": "less deep"})
	url := "http://127.0.0.1/ipfs/" + root.String()
	first := e.get(url+"/a/b/c/d/x.txt").want(t, 200, "deep")
	before := e.shelf.gets()
	again := e.get(url+"/a/b/c/d/x.txt?x").want(t, 200, "deep")
	if n := e.shelf.gets() - before; n != 1 {
		t.Errorf("%d blocks were read, want the file alone", n)
	}
	if a, b := first.Header.Get("X-Ipfs-Roots"), again.Header.Get("X-Ipfs-Roots"); a != b || strings.Count(a, ",") != 5 {
		t.Errorf("X-Ipfs-Roots: %q, then %q", a, b)
	}
	before = e.shelf.gets()
	e.get(url+"/a/b/y.txt?x").want(t, 200, "less deep")
	if n := e.shelf.gets() - before; n != 2 { // the folder b, and the file
		t.Errorf("%d blocks were read for a sibling of a known folder", n)
	}
}

// What leads nowhere does so again, known steps or not.
func TestPathsWithoutAnEnd(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	root := e.shelf.tree(t, map[string]string{"a/b/x.txt": "deep"})
	url := "http://127.0.0.1/ipfs/" + root.String()
	for range 2 {
		e.get(url+"/a/b/none").want(t, 404, `no link named "none"`)
		e.get(url+"/a/none/x.txt").want(t, 404, `no link named "none"`)
		e.get(url+"/a/b/x.txt/y").want(t, 404, "")
		e.get(url+"/a/b/x.txt").want(t, 200, "deep")
	}
	gone := e.shelf.child(t, root, "a", "b", "x.txt")
	e.shelf.drop(gone)
	e.get(url+"/a/b/x.txt").want(t, 404, "block "+gone.String())
}
