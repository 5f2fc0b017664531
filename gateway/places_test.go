package gateway

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
)

// wide is a folder of n files, in one block.
func (s *shelf) wide(t testing.TB, n int) cid.Cid {
	t.Helper()
	h := handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true}
	file := s.raw(t, cid.Raw, []byte("x"))
	for i := range n {
		h.links = append(h.links, handmadeLink{cid: file, name: fmt.Sprintf("%05d", i), tsize: 1})
	}
	return s.handmade(t, h)
}

// integers is a dag-cbor list of n values.
func integers(n int) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0x9a}, uint32(n)), make([]byte, n)...)
}

// A path into a value is followed while it takes a place, and refused where it would take
// more than there is: by memory, or by the work that each name of the path costs anew.
func TestPathsIntoValues(t *testing.T) {
	e := newEdge(t, nil)
	leaf := e.shelf.raw(t, cid.Raw, []byte("at the end"))
	link := append([]byte("\xa1\x64link\xd8\x2a\x58\x25\x00"), leaf.Bytes()...)
	small := e.shelf.raw(t, cid.DagCBOR, link)
	e.get("http://127.0.0.1/ipfs/"+small.String()+"/link").want(t, 200, "at the end")
	e.get("http://127.0.0.1/ipfs/"+small.String()+"/none").want(t, 404, "")
	large := e.shelf.raw(t, cid.DagCBOR, integers(1_800_000))
	e.get("http://127.0.0.1/ipfs/"+large.String()+"/0").want(t, 501, "leads into a block")
	text := e.shelf.raw(t, cid.DagCBOR, append(append([]byte("\xa2\x64text\x7a"), binary.BigEndian.AppendUint32(nil, 1<<20)...), append([]byte(strings.Repeat("x", 1<<20)), link[1:]...)...))
	e.get("http://127.0.0.1/ipfs/"+text.String()+strings.Repeat("/text", 65)).want(t, 404, "no link named")
	e.get("http://127.0.0.1/ipfs/"+text.String()+"/link").want(t, 200, "at the end")
	if n := e.Generating(); n != 0 {
		t.Errorf("%d bytes still have a place", n)
	}
}

// Names in a folder of 40 000 are found without decoding it, and so is what it lacks.
func TestNamesInWideFolders(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	c := e.shelf.wide(t, 40_000)
	url := "http://127.0.0.1/ipfs/" + c.String()
	for name, status := range map[string]int{"/00000": 200, "/39999": 200, "/none": 404, "": 301} {
		e.get(url+name).want(t, status, "")
		used := testing.AllocsPerRun(1, func() { e.get(url+name).want(t, status, "") })
		if used > 2000 {
			t.Errorf("%q takes %.0f allocations", name, used)
		}
	}
}
