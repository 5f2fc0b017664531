package gateway

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/multicodec"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"

	"github.com/shoal-cdn/shoal/block/blocktest"
)

// FuzzRequest sends odd hosts, paths, queries and headers: none may panic, be
// answered with 500, be sent to another host, or get at what the policy does not serve.
func FuzzRequest(f *testing.F) {
	e := newEdge(f, func(o *Options, e *edge) {
		root := website(f, e.shelf)
		o.Serve = ServeSites
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	open := newEdge(f, func(_ *Options, e *edge) {
		e.names.set("linked.example.net", "/ipfs/"+website(f, e.shelf).String())
	})
	hidden := e.shelf.tree(f, map[string]string{"index.html": "hidden content"})
	site, _ := e.sites.Load().lookup("www.example.org")
	root := site.root.RootCid().String()
	for _, seed := range [][4]string{
		{"www.example.org", "/", "", ""},
		{"www.example.org", "/../../ipfs/" + hidden.String() + "/", "format=car", "bytes=0-"},
		{"localhost", "/ipfs/" + hidden.String(), "", ""},
		{"linked.example.net", "/app/x", "format=dag-cbor", ""},
		{"linked-example-net.ipns.localhost", "/old/x", "", ""},
		{"127.0.0.1", "/ipfs/" + root + "/\x00/%", "format=raw&uri=x", "bytes=-1"},
		{"127.0.0.1:99999", "/ipfs/ipns/" + root, "format=ipns-record", ""},
		{hidden.String() + ".ipfs.localhost", "/index.html", "", ""},
		{"[::1", "//ipfs//" + root + "//index.html", "dag-scope=entity&entity-bytes=0:*&format=car", ""},
		{"a-b--c.ipns.localhost", "/%2e%2e/", "filename=\r\n", ""},
		{"127.0.0.1", "/ipfs/" + root + "/big.txt", "format=tar", "bytes=5-1,9-"},
		{"127.0.0.1", "/ipns/www.example.org/none", "format=json", "bytes=0-0"},
		{"localhost", "/ipns/other.host?/", "uri=x", "bytes=-9,1-"},
		{"www.example.org", "//other.host/../docs", "a=%zz", "BYTES=-99999999999999999999"},
		{"www.example.org", "/old/\\other.host/\t", "", "bytes=-0"},
		{strings.Repeat("x.", 200), "/ipfs/bafkqaaa", "download=true", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, host, path, query, rng string) {
		send := func(e *edge) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = host
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
			r.URL = &url.URL{Path: path, RawQuery: query}
			r.RequestURI = r.URL.RequestURI()
			if _, err := url.ParseRequestURI(r.RequestURI); err != nil {
				t.Skip() // net/http answers that with 400 itself
			}
			if rng != "" {
				r.Header.Set("Range", rng)
			}
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if w.Code == http.StatusInternalServerError {
				t.Errorf("500: %s", w.Body.String())
			}
			if l := w.Header().Get("Location"); l != "" {
				wantURI(t, l)
				if to, _ := browse(t, "here", l); to != "here" && !strings.Contains(to, ".ipfs.localhost") && !strings.Contains(to, ".ipns.localhost") {
					t.Errorf("Location %q", l)
				}
			}
			return w
		}
		send(open)
		if w := send(e); strings.Contains(w.Body.String(), "hidden content") {
			t.Errorf("served what is not served here")
		}
	})
}

// FuzzNodes reads blocks that anybody may have made. Where the IPFS libraries decode a
// block, the links and the bytes of a file are the same.
func FuzzNodes(f *testing.F) {
	s := newShelf()
	for _, n := range []handmade{
		{kind: unixfs.TFile, content: "abc", size: 3}, {kind: unixfs.TDirectory, noSize: true, noSizes: true},
		{kind: unixfs.TFile, size: 4, links: []handmadeLink{{cid: inline(f, cid.Raw, []byte("leaf")), size: 4, name: "x", tsize: 9}}},
		{kind: unixfs.THAMTShard, fanout: 256, noSize: true},
	} {
		f.Add(n.bytes(), uint64(cid.DagProtobuf))
	}
	f.Add([]byte(`{"a":{"/":"bafkqaaa"},"b":[1,{"/":{"bytes":"YQ"}}]}`), uint64(cid.DagJSON))
	f.Add([]byte("\xa2\x61a\xd8\x2a\x45\x00\x01\x55\x00\x00\x61b\x82\x01\xf6"), uint64(cid.DagCBOR))
	f.Add(s.file(f, []byte(lines(100))).RawData(), uint64(cid.DagProtobuf))
	f.Fuzz(func(t *testing.T, data []byte, codec uint64) {
		b := blocktest.MadeUp(cid.NewCidV1(codec, inline(t, cid.Raw, nil).Hash()), data)
		n, err := readNode(codec, data)
		if err == nil && n.isFile() {
			sum, empty := int64(len(n.content)), 0
			for range n.sizes.count {
				size := n.sizes.next()
				if sum += size; size == 0 {
					empty++
				}
			}
			if sum != n.size || empty != n.empty {
				t.Errorf("%d bytes and %d empty links, not %d and %d", sum, empty, n.size, n.empty)
			}
		}
		decode, err := multicodec.LookupDecoder(codec)
		if err != nil {
			return
		}
		nb := basicnode.Prototype.Any.NewBuilder()
		if decode(nb, bytes.NewReader(data)) != nil {
			_ = links(b) // which must not panic
			return
		}
		found, err := traversal.SelectLinks(nb.Build())
		if err != nil {
			return
		}
		got := links(b)
		if len(got) != len(found) {
			t.Fatalf("%d links, not %d", len(got), len(found))
		}
		for i, l := range found {
			if cl, ok := l.(cidlink.Link); !ok || cl.Cid != got[i] {
				t.Errorf("link %d is %s, not %s", i, got[i], l)
			}
		}
	})
}

// links returns what a block links to, as far as it can be read.
func links(b blocks.Block) (out []cid.Cid) {
	next, err := linksOf(b)
	for err == nil {
		var c cid.Cid
		if c, err = next(); !c.Defined() {
			break
		}
		out = append(out, c)
	}
	return out
}
