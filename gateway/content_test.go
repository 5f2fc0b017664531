package gateway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
)

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %06d of a file\n", i)
	}
	return b.String()
}

var big = lines(2000) // 46 KB, 46 leaves

func website(t testing.TB, s *shelf) cid.Cid {
	return s.tree(t, map[string]string{
		"index.html":        "<h1>home</h1>",
		"about/index.html":  "<h1>about</h1>",
		"css/site.css":      "body{}",
		"404.html":          "<h1>lost</h1>",
		"docs/guide/a.txt":  "a guide",
		"docs/guide/b c.md": "spaces",
		"big.txt":           big,
		"_redirects": "/old/* /about/:splat 301\n" +
			"/moved /about/ 302\n" +
			"/app/* /index.html 200\n" +
			"/gone /404.html 410\n" +
			"/* /404.html 404\n",
	})
}

func TestPathGateway(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	base := "http://127.0.0.1:8080/ipfs/" + root.String()

	e.get(base+"/").want(t, 200, "<h1>home</h1>").
		header(t, "Content-Type", "text/html").
		header(t, "X-Ipfs-Path", "/ipfs/"+root.String()+"/").
		header(t, "X-Ipfs-Roots", root.String())
	css := e.shelf.child(t, root, "css", "site.css")
	e.get(base+"/css/site.css").want(t, 200, "body{}").
		header(t, "Content-Type", "text/css; charset=utf-8").
		header(t, "Etag", `"`+css.String()+`"`).
		header(t, "Cache-Control", "public, max-age=29030400, immutable").
		header(t, "Content-Length", "6")
	e.get(base+"/docs/guide/b%20c.md").want(t, 200, "spaces")
	e.get(base+"/docs").want(t, 301, "").header(t, "Location", "/ipfs/"+root.String()+"/docs/")
	listing := e.get(base+"/docs/guide/").want(t, 200, "a.txt")
	if !strings.HasPrefix(listing.Header.Get("Etag"), `"DirIndex-`) {
		t.Errorf("listing has Etag %s", listing.Header.Get("Etag"))
	}
	// No origin isolation under a path, so no redirects from the content.
	e.get(base+"/old/x").want(t, 404, `no link named "old"`)
	e.get(base+"/big.txt").want(t, 200, big)
	e.get(base+"/css/site.css?filename=x.css&download=true").header(t, "Content-Disposition", `attachment; filename="x.css"; filename*=UTF-8''x.css`)
}

func TestRanges(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	url := "http://127.0.0.1/ipfs/" + root.String() + "/big.txt"
	size := len(big)
	for _, tc := range []struct {
		header, body, contentRange string
		status                     int
	}{
		{"bytes=0-9", big[:10], fmt.Sprintf("bytes 0-9/%d", size), 206},
		{"bytes=20000-20009", big[20000:20010], fmt.Sprintf("bytes 20000-20009/%d", size), 206},
		{"bytes=-5", big[size-5:], fmt.Sprintf("bytes %d-%d/%d", size-5, size-1, size), 206},
		{fmt.Sprintf("bytes=%d-", size-3), big[size-3:], fmt.Sprintf("bytes %d-%d/%d", size-3, size-1, size), 206},
	} {
		a := e.get(url, "Range: "+tc.header).want(t, tc.status, tc.body)
		if tc.status == 206 {
			if a.body != tc.body {
				t.Errorf("%s: got %d bytes", tc.header, len(a.body))
			}
			a.header(t, "Content-Range", tc.contentRange)
		}
	}
	past := e.get(url, fmt.Sprintf("Range: bytes=%d-", size+10))
	if past.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("past the end: %d", past.StatusCode)
	}
}

func TestRangeReadsOnlyWhatItNeeds(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	before := e.shelf.gets()
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/big.txt", "Range: bytes=40000-40009").want(t, 206, big[40000:40010])
	if n := e.shelf.gets() - before; n > 20 {
		t.Errorf("a range of 10 bytes read %d of 50 blocks", n)
	}
}

func TestConditionalRequests(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	url := "http://127.0.0.1/ipfs/" + root.String() + "/css/site.css"
	etag := e.get(url).Header.Get("Etag")
	for _, h := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
		e.get(url, "If-None-Match: "+h).want(t, 304, "").header(t, "Etag", etag)
	}
	e.get(url, `If-None-Match: "other"`).want(t, 200, "body{}")
	head := e.do("HEAD", url).want(t, 200, "").header(t, "Content-Length", "6").header(t, "Etag", etag)
	if head.body != "" {
		t.Error("HEAD has a body")
	}
}

func TestOnlyIfCached(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	url := "http://127.0.0.1/ipfs/" + root.String() + "/css/site.css"
	const h = "Cache-Control: only-if-cached"
	e.get(url, h).want(t, 200, "body{}")
	e.do("HEAD", url, h).want(t, 200, "")
	e.shelf.from(block.Origin)
	before := e.shelf.gets()
	e.get(url, h).want(t, 412, "")
	e.do("HEAD", url, h).want(t, 412, "")
	e.get("http://127.0.0.1/ipns/unknown.example.net/", h).want(t, 412, "")
	if e.shelf.gets() != before {
		t.Error("only-if-cached fetched")
	}
}

func TestSubdomainGateway(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	host := root.String() + ".ipfs.localhost:8080"
	e.get("http://localhost:8080/ipfs/"+root.String()+"/css/site.css?x=1").want(t, 301, "").
		header(t, "Location", "http://"+host+"/css/site.css?x=1")
	e.get("http://"+host+"/").want(t, 200, "<h1>home</h1>")
	e.get("http://"+strings.ToUpper("x")+"/", "Host: "+root.String()+".IPFS.LocalHost").want(t, 200, "home")
	// Origin isolation: the content's own redirects apply.
	e.get("http://"+host+"/old/index.html").want(t, 301, "").header(t, "Location", "/about/index.html")
	e.get("http://"+host+"/nowhere").want(t, 404, "<h1>lost</h1>")
	// CIDv0 goes to a form that survives lower case.
	v0 := cid.NewCidV0(root.Hash())
	e.get("http://localhost/ipfs/"+v0.String()).want(t, 301, "").header(t, "Location", "http://"+root.String()+".ipfs.localhost/")
	// Without subdomains, a gateway host serves paths.
	e.get("http://gw.example.org/ipfs/"+root.String()+"/").want(t, 200, "home")
	e.get("http://"+root.String()+".ipfs.gw.example.org/").want(t, 404, "")
	// Inlined DNSLink.
	e.names.set("my-site.example.net", "/ipfs/"+root.String())
	e.get("http://localhost/ipns/my-site.example.net/about/").want(t, 301, "").
		header(t, "Location", "http://my--site-example-net.ipns.localhost/about/")
	e.get("http://my--site-example-net.ipns.localhost/about/").want(t, 200, "<h1>about</h1>")
}

func TestIPNSNames(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	name, record := ipnsRecord(t, "/ipfs/"+root.String())
	e.names.set(name.String(), "/ipfs/"+root.String())
	e.names.records[name.String()] = record
	e.get("http://127.0.0.1/ipns/"+name.String()+"/about/").want(t, 200, "about").
		header(t, "Cache-Control", "public, max-age=90")
	e.get("http://127.0.0.1/ipns/"+name.Peer().String()+"/").want(t, 302, "")
	e.get("http://localhost/ipns/"+name.Peer().String()+"/").want(t, 301, "").
		header(t, "Location", "http://"+name.String()+".ipns.localhost/")
	e.get("http://"+name.String()+".ipns.localhost/").want(t, 200, "home")
	got := e.get("http://127.0.0.1/ipns/"+name.String()+"?format=ipns-record").want(t, 200, "")
	if got.body != string(record) {
		t.Error("record differs")
	}
	got.header(t, "Content-Type", "application/vnd.ipfs.ipns-record")
}

func ipnsRecord(t testing.TB, target string) (ipns.Name, []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sk, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p, err := path.NewPath(target)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ipns.NewRecord(sk, p, 1, time.Now().Add(time.Hour), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ipns.MarshalRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	return ipns.NameFromPeer(id), raw
}

func TestSites(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = website(t, e.shelf)
		o.Serve = ServeSites
		o.Sites = []Site{
			{"WWW.Example.org", "/ipfs/" + root.String()},
			{"docs.example.org", "/ipfs/" + root.String() + "/docs/"},
			{"named.example.org", "/ipns/key.example.net"},
			{"dns.example.org", ContentDNSLink},
			{"intranet", "/ipfs/" + root.String()},
		}
		e.names.set("key.example.net", "/ipfs/"+root.String())
		e.names.set("dns.example.org", "/ipfs/"+root.String()+"/about")
	})
	for _, tc := range []struct {
		url      string
		status   int
		text     string
		location string
	}{
		{"http://www.example.org/", 200, "<h1>home</h1>", ""},
		{"http://WWW.EXAMPLE.ORG:8080/about/", 200, "<h1>about</h1>", ""},
		{"http://www.example.org./", 200, "home", ""},
		{"http://www.example.org/about", 301, "", "/about/"},
		{"http://www.example.org/moved", 302, "", "/about/"},
		{"http://www.example.org/app/deep/link", 200, "<h1>home</h1>", ""},
		{"http://www.example.org/gone", 410, "<h1>lost</h1>", ""},
		{"http://www.example.org/none", 404, "<h1>lost</h1>", ""},
		{"http://www.example.org/?uri=https://else.example", 200, "home", ""},
		{"http://docs.example.org/guide/a.txt", 200, "a guide", ""},
		{"http://named.example.org/", 200, "home", ""},
		{"http://dns.example.org/", 200, "about", ""},
		{"http://intranet/", 200, "home", ""},
		{"http://127.0.0.1/ipns/www.example.org/about/", 200, "about", ""},
		{"http://www-example-org.ipns.localhost/about/", 200, "about", ""},
	} {
		a := e.get(tc.url).want(t, tc.status, tc.text)
		if tc.location != "" {
			a.header(t, "Location", tc.location)
		}
	}
	e.get("http://www.example.org/").header(t, "Cache-Control", "public, max-age=60")
	e.get("http://named.example.org/").header(t, "Cache-Control", "public, max-age=90")
}

func TestSetSitesReplacesAtOnce(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Serve = ServeSites })
	one := e.shelf.tree(t, map[string]string{"index.html": "one"})
	two := e.shelf.tree(t, map[string]string{"index.html": "two"})
	e.get("http://a.example.org/").want(t, 404, "neither a site nor one of gateway.hosts")
	for _, step := range []struct {
		content cid.Cid
		text    string
	}{{one, "one"}, {two, "two"}} {
		if err := e.SetSites([]Site{{"a.example.org", "/ipfs/" + step.content.String()}}); err != nil {
			t.Fatal(err)
		}
		e.get("http://a.example.org/").want(t, 200, step.text)
	}
	if err := e.SetSites([]Site{{"a.example.org", "ipfs"}}); err == nil {
		t.Fatal("a bad content path was taken")
	}
	e.get("http://a.example.org/").want(t, 200, "two")
}

func TestTrustlessFormats(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	base := "http://127.0.0.1/ipfs/"
	leaf := e.shelf.child(t, root, "css", "site.css")
	for _, a := range []response{
		e.get(base + leaf.String() + "?format=raw"),
		e.get(base+leaf.String(), "Accept: application/vnd.ipld.raw"),
	} {
		a.want(t, 200, "body{}").header(t, "Content-Type", "application/vnd.ipld.raw").
			header(t, "Etag", `"`+leaf.String()+`.raw"`).header(t, "X-Content-Type-Options", "nosniff")
	}
	if n := len(carBlocks(t, e.get(base+root.String()+"/css/site.css?format=car").want(t, 200, "").body)); n != 3 {
		t.Errorf("CAR of a path has %d blocks, want 3", n)
	}
	if n := len(carBlocks(t, e.get(base+root.String()+"?format=car&dag-scope=block").want(t, 200, "").body)); n != 1 {
		t.Errorf("CAR of one block has %d", n)
	}
	e.get(base+root.String()+"?format=car&dag-scope=everything").want(t, 400, "scope")
	e.get(base+root.String()+"/docs?format=tar").want(t, 200, "a guide").header(t, "Content-Type", "application/x-tar")
	e.get(base+root.String()+"?format=ipns-record").want(t, 400, "")
	e.get(base+"bafkqaaa?format=raw").want(t, 200, "") // the probe of the specification
}

func carBlocks(t *testing.T, data string) []cid.Cid {
	t.Helper()
	r, err := car.NewBlockReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var cids []cid.Cid
	for {
		b, err := r.Next()
		if err == io.EOF {
			return cids
		}
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, b.Cid())
	}
}

func TestCodecs(t *testing.T) {
	e := newEdge(t, nil)
	plain := e.shelf.raw(t, cid.DagJSON, []byte(`{"a":{"b":"c"}}`))
	cborDoc := e.shelf.raw(t, cid.DagCBOR, []byte{0xa1, 0x61, 0x61, 0x01})
	base := "http://127.0.0.1/ipfs/"
	e.get(base+plain.String()+"?format=dag-json").want(t, 200, `{"a":{"b":"c"}}`).header(t, "Content-Type", "application/vnd.ipld.dag-json")
	e.get(base+plain.String()+"?format=json").want(t, 200, `"c"`).header(t, "Content-Type", "application/json")
	got := e.get(base+cborDoc.String()+"?format=dag-cbor").want(t, 200, "")
	if !bytes.Equal([]byte(got.body), []byte{0xa1, 0x61, 0x61, 0x01}) {
		t.Errorf("dag-cbor: % x", got.body)
	}
	e.get(base+plain.String()+"?format=dag-cbor").want(t, 406, "")
	e.get(base+plain.String()+"/", "Accept: text/html").want(t, 200, "<html")
	e.do("HEAD", base+plain.String()+"/", "Accept: text/html").want(t, 200, "")
}

func TestMethodsAndCORS(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	url := "http://127.0.0.1/ipfs/" + root.String() + "/"
	o := e.do("OPTIONS", url, "Origin: https://else.example", "Access-Control-Request-Method: GET").want(t, 200, "")
	o.header(t, "Access-Control-Allow-Origin", "*")
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "BREW"} {
		e.do(m, url).want(t, 405, "read-only")
	}
	if got := fmt.Sprint(e.get(url).Header["Access-Control-Expose-Headers"]); !strings.Contains(got, "Cache-Status") {
		t.Errorf("exposed: %s", got)
	}
}
