package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	unixfspb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

// handmade is a dag-pb node of UnixFS as no importer makes it.
type handmade struct {
	kind    unixfspb.Data_DataType
	content string
	size    uint64 // stated; with noSize, not at all
	noSize  bool
	links   []handmadeLink
	noSizes bool // no blocksizes
	fanout  uint64
	more    string // further fields
}

type handmadeLink struct {
	cid   cid.Cid
	name  string
	size  uint64 // beside the link, in a file
	tsize uint64
}

// bytes encodes the node.
func (h handmade) bytes() []byte {
	data := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(h.kind))
	data = protowire.AppendString(protowire.AppendTag(data, 2, protowire.BytesType), h.content)
	if !h.noSize {
		data = protowire.AppendVarint(protowire.AppendTag(data, 3, protowire.VarintType), h.size)
	}
	var links []byte
	for _, l := range h.links {
		if !h.noSizes {
			data = protowire.AppendVarint(protowire.AppendTag(data, 4, protowire.VarintType), l.size)
		}
		link := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), l.cid.Bytes())
		link = protowire.AppendString(protowire.AppendTag(link, 2, protowire.BytesType), l.name)
		link = protowire.AppendVarint(protowire.AppendTag(link, 3, protowire.VarintType), l.tsize)
		links = protowire.AppendBytes(protowire.AppendTag(links, 2, protowire.BytesType), link)
	}
	if h.fanout > 0 {
		data = protowire.AppendVarint(protowire.AppendTag(data, 5, protowire.VarintType), multihash.MURMUR3X64_64)
		data = protowire.AppendVarint(protowire.AppendTag(data, 6, protowire.VarintType), h.fanout)
	}
	data = append(data, h.more...)
	return append(links, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), data)...)
}

func (s *shelf) handmade(t testing.TB, h handmade) cid.Cid {
	return s.raw(t, cid.DagProtobuf, h.bytes())
}

// inline is a CID that has its content in itself.
func inline(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(codec, mh)
}

func times(n int, l handmadeLink) []handmadeLink {
	links := make([]handmadeLink, n)
	for i := range links {
		links[i] = l
	}
	return links
}

// lies are files that are not what they say they are (https://specs.ipfs.tech/unixfs/:
// filesize is the sum of the file's own bytes and its blocksizes, of which there is one
// for each link), or that cost far more than they bring.
func lies(t testing.TB, s *shelf) map[string]cid.Cid {
	leaf := s.raw(t, cid.Raw, []byte("leaf"))
	empty := inline(t, cid.Raw, nil)
	file := func(size uint64, links ...handmadeLink) cid.Cid {
		return s.handmade(t, handmade{kind: unixfs.TFile, size: size, links: links})
	}
	chain := func(c cid.Cid, size uint64, n int) cid.Cid {
		for range n {
			c = file(size, handmadeLink{cid: c, size: size})
		}
		return c
	}
	fat := s.handmade(t, handmade{kind: unixfs.TFile, content: "x", size: 1, more: strings.Repeat("\x78\x00", 1_000_000)})
	return map[string]cid.Cid{
		"nothing, 20 000 times":                   file(0, times(20_000, handmadeLink{cid: empty})...),
		"nothing, 20 000 times, without sizes":    s.handmade(t, handmade{kind: unixfs.TFile, links: times(20_000, handmadeLink{cid: empty}), noSizes: true}),
		"nothing, and a byte":                     file(4, append(times(20_000, handmadeLink{cid: empty}), handmadeLink{cid: leaf, size: 4})...),
		"a chain of 5000 nodes":                   chain(leaf, 4, 5000),
		"dear: twenty chains of 400":              file(80, times(20, handmadeLink{cid: chain(leaf, 4, 400), size: 4})...),
		"dear: 2 MiB for a byte, a hundred times": file(100, times(100, handmadeLink{cid: fat, size: 1})...),
		"dear: wide and deep":                     s.deepAndWide(t, leaf),
		"half of what it says":                    file(8, handmadeLink{cid: leaf, size: 4}),
		"twice what it says":                      file(4, handmadeLink{cid: leaf, size: 4}, handmadeLink{cid: leaf, size: 4}),
		"a leaf shorter than its size":            file(5, handmadeLink{cid: leaf, size: 5}),
		"a leaf longer than its size":             file(3, handmadeLink{cid: leaf, size: 3}),
		"a node that is not its size":             file(5, handmadeLink{cid: file(4, handmadeLink{cid: leaf, size: 4}), size: 5}),
		"a negative size":                         s.handmade(t, handmade{kind: unixfs.TFile, size: math.MaxUint64}),
		"negative sizes below":                    file(8, handmadeLink{cid: leaf, size: math.MaxUint64 - 3}, handmadeLink{cid: leaf, size: 12}),
		"an overflow":                             file(0, times(4, handmadeLink{cid: leaf, size: 1 << 62})...),
		"a folder inside a file":                  file(4, handmadeLink{cid: s.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true}), size: 4}),
		"no dag-pb inside a file":                 file(2, handmadeLink{cid: s.raw(t, cid.DagCBOR, []byte{0x41, 0}), size: 2}),
		"metadata":                                s.handmade(t, handmade{kind: unixfs.TMetadata, noSize: true, links: []handmadeLink{{cid: leaf}}}),
	}
}

// deepAndWide is a file of four nodes above a leaf, of 1.9 MiB each.
func (s *shelf) deepAndWide(t testing.TB, leaf cid.Cid) cid.Cid {
	c, size := leaf, uint64(4)
	for range 4 {
		links := times(38_000, handmadeLink{cid: leaf, size: 4})
		links[0] = handmadeLink{cid: c, size: size}
		size += 4 * uint64(len(links)-1)
		c = s.handmade(t, handmade{kind: unixfs.TFile, size: size, links: links})
	}
	return c
}

// Content that is there and lies about itself is 422 (RFC 9110, section 15.5.21), never
// 500; and whoever asks for it does not keep the edge busy.
func TestLyingFiles(t *testing.T) {
	e := newEdge(t, nil)
	all := lies(t, e.shelf)
	for name, c := range all {
		url := "http://127.0.0.1/ipfs/" + c.String()
		for _, ask := range []struct{ method, query, headers string }{
			{"GET", "", ""}, {"HEAD", "", ""}, {"GET", "", "Range: bytes=0-0"}, {"GET", "?format=car&dag-scope=entity", ""}, {"GET", "?format=tar", ""},
		} {
			before := e.shelf.gets()
			status, whole := e.ends(ask.method, url+ask.query, ask.headers)
			n := e.shelf.gets() - before
			switch {
			case status == http.StatusUnprocessableEntity:
			case strings.HasPrefix(name, "dear:") && (ask.headers != "" || ask.method == "HEAD" || strings.Contains(ask.query, "car")):
				// A part of it, and each of its blocks once, cost what they are worth.
			case ask.query == "" || status != http.StatusOK || whole && name != "metadata":
				t.Errorf("%s: %s%s %s: %d, whole %v", name, ask.method, ask.query, ask.headers, status, whole)
			}
			if n > 2*1024+8 {
				t.Errorf("%s: %s%s %s read %d blocks", name, ask.method, ask.query, ask.headers, n)
			}
		}
	}
}

// ends returns an answer's status, and whether it came to its end.
func (e *edge) ends(method, url string, headers ...string) (status int, whole bool) {
	r := newRequest(method, url)
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			r.Header.Set(name, value)
		}
	}
	w := &discardWriter{header: http.Header{}}
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		} else if p != nil {
			status, whole = w.status, false
		}
	}()
	e.ServeHTTP(w, r)
	return w.status, true
}

// Honest files stay readable: by one byte in a leaf, with bytes beside links, trickled,
// with leaves of dag-pb, without filesize.
func TestUnusualFiles(t *testing.T) {
	e := newEdge(t, nil)
	s := e.shelf
	text := "the quick brown fox jumps over the lazy dog"
	var single []handmadeLink
	for i := range len(text) {
		single = append(single, handmadeLink{cid: s.raw(t, cid.Raw, []byte(text[i:i+1])), size: 1})
	}
	n := uint64(len(text))
	wrapped := func(h handmade) cid.Cid { return s.handmade(t, h) }
	leaf := func(text string) cid.Cid {
		return wrapped(handmade{kind: unixfs.TRaw, content: text, size: uint64(len(text))})
	}
	trickle := wrapped(handmade{kind: unixfs.TFile, size: n - 4, links: []handmadeLink{
		{cid: leaf(text[4:10]), size: 6},
		{cid: wrapped(handmade{kind: unixfs.TFile, size: n - 10, links: []handmadeLink{{cid: leaf(text[10:20]), size: 10}, {cid: leaf(text[20:]), size: n - 20}}}), size: n - 10},
	}})
	for name, c := range map[string]cid.Cid{
		"a byte in a leaf":   wrapped(handmade{kind: unixfs.TFile, size: n, links: single}),
		"without filesize":   wrapped(handmade{kind: unixfs.TFile, noSize: true, links: single}),
		"bytes beside links": wrapped(handmade{kind: unixfs.TFile, size: n, content: text[:4], links: []handmadeLink{{cid: trickle, size: n - 4}}}),
		"a few empty links":  wrapped(handmade{kind: unixfs.TFile, size: n, links: append(times(3, handmadeLink{cid: inline(t, cid.Raw, nil)}), single...)}),
		"inline leaves":      wrapped(handmade{kind: unixfs.TFile, size: n, links: []handmadeLink{{cid: inline(t, cid.Raw, []byte(text)), size: n}}}),
		"one block":          wrapped(handmade{kind: unixfs.TFile, size: n, content: text}),
		"a long chain":       s.chained(t, []byte(text), 500),
	} {
		url := "http://127.0.0.1/ipfs/" + c.String()
		for range 2 {
			if got := e.get(url).want(t, 200, "").body; got != text {
				t.Errorf("%s: %q", name, got)
			}
			for from := range len(text) {
				to := min(from+7, len(text)-1)
				a := e.get(url, fmt.Sprintf("Range: bytes=%d-%d", from, to)).want(t, 206, "")
				if a.body != text[from:to+1] {
					t.Errorf("%s: %d-%d: %q", name, from, to, a.body)
				}
			}
			if tar := e.get(url+"?format=tar").want(t, 200, "").body; !strings.Contains(tar, text) {
				t.Errorf("%s: not in the TAR", name)
			}
		}
	}
}

func (s *shelf) chained(t testing.TB, text []byte, n int) cid.Cid {
	c := s.raw(t, cid.Raw, text)
	for range n {
		c = s.handmade(t, handmade{kind: unixfs.TFile, size: uint64(len(text)), links: []handmadeLink{{cid: c, size: uint64(len(text))}}})
	}
	return c
}

// Folders lie, too: in their sizes, in the number of their entries, in their shards.
func TestLyingFolders(t *testing.T) {
	e := newEdge(t, nil)
	s := e.shelf
	leaf := s.raw(t, cid.Raw, []byte("leaf"))
	shard := func(links ...handmadeLink) handmade {
		return handmade{kind: unixfs.THAMTShard, noSize: true, noSizes: true, fanout: 256, links: links}
	}
	bare := s.handmade(t, shard())
	layers := bare
	for range 7 {
		layers = s.handmade(t, shard(times(256, handmadeLink{cid: layers, name: "00"})...))
	}
	for name, c := range map[string]cid.Cid{
		"a size larger than any":    s.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: times(2, handmadeLink{cid: leaf, name: "a", tsize: math.MaxInt64})}),
		"a negative size":           s.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: times(1, handmadeLink{cid: leaf, name: "a", tsize: math.MaxUint64})}),
		"256^7 shards and no entry": layers,
		"more links than fanout":    s.handmade(t, shard(times(300, handmadeLink{cid: bare, name: "00"})...)),
		"a name shorter than any":   s.handmade(t, shard(handmadeLink{cid: leaf, name: "0"})),
		"a file for a shard":        s.handmade(t, shard(handmadeLink{cid: leaf, name: "00"})),
	} {
		for _, q := range []string{"/", "/?format=tar", "/?format=car&dag-scope=entity"} {
			before := s.gets()
			status, whole := e.ends("GET", "http://127.0.0.1/ipfs/"+c.String()+q)
			if status == 200 && whole && !strings.Contains(q, "car") || status != 200 && status != 422 || q == "/" && status != 422 {
				t.Errorf("%s: %s: %d, whole %v", name, q, status, whole)
			}
			if n := s.gets() - before; n > 2*1024 {
				t.Errorf("%s: %s read %d blocks", name, q, n)
			}
		}
	}
}

// A refusal is not the content: no ETag, nothing immutable (RFC 9111, section 4.2.2).
func TestRefusalsAreNotKept(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	doc := e.shelf.raw(t, cid.DagJSON, []byte(`{"a":1}`))
	for url, status := range map[string]int{
		"/ipfs/" + doc.String() + "?format=dag-cbor":                 406,
		"/ipfs/" + root.String() + "?format=dag-json":                406,
		"/ipfs/" + root.String() + "?format=car&dag-scope=all-of-it": 400,
		"/ipfs/" + root.String() + "?format=car&entity-bytes=x":      400,
		"/ipfs/" + root.String() + "/none":                           404,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := e.do(method, "http://127.0.0.1"+url).want(t, status, "").header(t, "Etag", "").header(t, "Content-Disposition", "")
			if strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %s", url, a.Header.Get("Cache-Control"))
			}
		}
	}
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/big.txt", "Range: bytes=9999999-").want(t, 416, "").
		header(t, "Etag", "").header(t, "Cache-Control", "no-store").header(t, "Content-Range", fmt.Sprintf("bytes */%d", len(big)))
}
