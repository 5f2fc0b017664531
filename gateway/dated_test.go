package gateway

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	ft "github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
)

// waysToContent are the ways to one website, by every kind of name and in every format.
var waysToContent = []string{
	"http://127.0.0.1/ipfs/%", "http://www.example.org/", "http://named.example.org/", "http://dns.example.org/",
	"http://127.0.0.1/ipns/named.example.org/", "http://127.0.0.1/ipns/elsewhere.example.org/", "http://elsewhere.example.org/",
	"http://named.example.org/?format=raw", "http://named.example.org/?format=car", "http://named.example.org/?format=tar",
	"http://json.example.org/?format=dag-json", "http://elsewhere.example.org/docs/", "http://named.example.org/docs/guide/",
	"http://named.example.org/none", "http://www.example.org/about/",
}

// The same content is answered alike by every edge and after every restart (RFC 9110,
// section 8.8.2.1: a Last-Modified is consistently determined, or there is none): two
// edges that were built at other times say the same, cold and hot.
func TestNothingDatesFromTheEdge(t *testing.T) {
	var root cid.Cid
	name, _ := ipnsRecord(t, "/ipfs/bafkqaaa")
	build := func() *edge {
		return newEdge(t, func(o *Options, e *edge) {
			root = website(t, e.shelf)
			o.Serve = ServeAny
			o.Sites = []Site{
				{"www.example.org", "/ipfs/" + root.String()}, {"named.example.org", "/ipns/key.example.net"}, {"dns.example.org", ContentDNSLink},
			}
			for _, name := range []string{"key.example.net", "dns.example.org", "elsewhere.example.org"} {
				e.names.set(name, "/ipfs/"+root.String())
			}
			e.names.set("json.example.org", "/ipfs/"+e.shelf.raw(t, cid.DagJSON, []byte(`{"a":1}`)).String())
			// A record with an empty map for its data, and so without a TTL.
			e.names.records[name.String()] = []byte{9<<3 | 2, 1, 0xa0}
		})
	}
	one, other := build(), build()
	ways := append(slices.Clone(waysToContent), "http://127.0.0.1/ipns/"+name.String()+"?format=ipns-record")
	for _, way := range ways {
		if way[len(way)-1] == '%' {
			way = way[:len(way)-1] + root.String() + "/"
		}
		var first response
		for i, e := range []*edge{one, one, other, other} {
			a := e.get(way)
			if a.StatusCode >= 400 && a.StatusCode != http.StatusNotFound {
				t.Fatalf("%s: %d %s", way, a.StatusCode, a.body)
			}
			if a.header(t, "Last-Modified", ""); i == 0 {
				first = a
			}
			a.header(t, "Etag", first.Header.Get("Etag")).header(t, "Cache-Control", first.Header.Get("Cache-Control"))
			// Without a date of its own, the content is neither newer nor older than one.
			e.get(way, "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT").want(t, first.StatusCode, "")
		}
	}
}

// A file that has a date in itself (UnixFS 1.5) is sent with it, by every name.
func TestContentThatIsDated(t *testing.T) {
	changed := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	node := ft.NewFSNode(ft.TFile)
	node.SetData([]byte("since 2024"))
	node.SetModTime(changed)
	data, err := node.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	var file cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		file = e.shelf.raw(t, cid.DagProtobuf, merkledag.NodeWithData(data).RawData())
		o.Serve = ServeAny
		o.Sites = []Site{{"www.example.org", "/ipfs/" + file.String()}, {"dns.example.org", ContentDNSLink}}
		e.names.set("dns.example.org", "/ipfs/"+file.String())
	})
	for _, way := range []string{"http://127.0.0.1/ipfs/" + file.String(), "http://www.example.org/", "http://dns.example.org/"} {
		for range 3 {
			e.get(way).want(t, 200, "since 2024").header(t, "Last-Modified", changed.Format(http.TimeFormat))
		}
		e.get(way, "If-Modified-Since: "+changed.Format(http.TimeFormat)).want(t, http.StatusNotModified, "")
		e.get(way, "If-Modified-Since: "+changed.Add(-time.Second).Format(http.TimeFormat)).want(t, 200, "since 2024")
	}
}
