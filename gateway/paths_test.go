package gateway

import (
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/path"

	"github.com/shoal-cdn/shoal/block"
)

// Once a path was walked, only what lies at its end is read.
func TestAKnownPathIsNotWalkedAgain(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	root := e.shelf.tree(t, map[string]string{"a/b/c/d/x.txt": "deep", "a/b/y.txt": "less deep"})
	url := "http://127.0.0.1/ipfs/" + root.String()
	first := e.get(url+"/a/b/c/d/x.txt").want(t, 200, "deep")
	before := e.shelf.gets()
	again := e.get(url+"/a/b/c/d/x.txt").want(t, 200, "deep")
	if n := e.shelf.gets() - before; n != 1 {
		t.Errorf("%d blocks were read, want the file alone", n)
	}
	if a, b := first.Header.Get("X-Ipfs-Roots"), again.Header.Get("X-Ipfs-Roots"); a != b || strings.Count(a, ",") != 5 {
		t.Errorf("X-Ipfs-Roots: %q, then %q", a, b)
	}
	before = e.shelf.gets()
	e.get(url+"/a/b/y.txt").want(t, 200, "less deep")
	if n := e.shelf.gets() - before; n != 2 { // the folder b, and the file
		t.Errorf("%d blocks were read for a sibling of a known folder", n)
	}
}

// What leads nowhere is answered by a resolution of the whole path, known steps or not.
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

// A slash at the end and a folder's own path are the same step.
func TestShortestPath(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"a/b/x.txt": "deep"})
	for given, ends := range map[string][]string{"": nil, "/": nil, "/a": {"a"}, "/a/b/": {"a", "b"}, "/a//b/x.txt": {"a", "b", "x.txt"}} {
		p, err := path.NewPath("/ipfs/" + root.String() + given)
		if err != nil {
			t.Fatal(err)
		}
		ip, err := path.NewImmutablePath(p)
		if err != nil {
			t.Fatal(err)
		}
		short, passed, err := e.backend.paths.shortest(t.Context(), ip)
		if want := e.shelf.child(t, root, ends...); err != nil || short.RootCid() != want || len(passed) != len(ends) {
			t.Errorf("%s: %s past %v, %v; want %s", given, short, passed, err, want)
		}
	}
	// A step into a block that is no folder has no end of its own.
	c := e.shelf.raw(t, 0x71, []byte("\xa1\x61a\xa1\x61b\x01")) // {"a": {"b": 1}} in dag-cbor
	p, _ := path.NewPath("/ipfs/" + c.String() + "/a/b")
	ip, _ := path.NewImmutablePath(p)
	if short, _, err := e.backend.paths.shortest(t.Context(), ip); !errors.Is(err, errInsideBlock) {
		t.Errorf("a path into a block became %s, %v", short, err)
	}
	e.get("http://127.0.0.1"+ip.String()+"?format=dag-json").want(t, 501, "")
	empty := merkledag.NodeWithData(nil)
	e.shelf.put(empty.Cid(), empty.RawData(), block.Memory)
	e.get("http://127.0.0.1/ipfs/"+empty.Cid().String()+"/a").want(t, 404, "")
}
