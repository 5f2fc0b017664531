package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipns"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
)

// The record of a name is content with a strong entity tag (RFC 9110, section 8.8.3: in
// quotes), and answers conditions and HEAD as such (trustless gateway specification, "IPNS
// Record").
func TestRecordsOfNames(t *testing.T) {
	e := newEdge(t, nil)
	name, record := ipnsRecord(t, "/ipfs/bafkqaaa")
	other, another := ipnsRecord(t, "/ipfs/bafkqaaa")
	e.names.records[name.String()], e.names.records[other.String()] = record, another
	tag := ""
	for _, ask := range []struct{ query, header string }{{"?format=ipns-record", "X: y"}, {"", "Accept: application/vnd.ipfs.ipns-record"}} {
		url := "http://127.0.0.1/ipns/" + name.String() + ask.query
		a := e.get(url, ask.header).want(t, 200, string(record)).
			header(t, "Content-Type", "application/vnd.ipfs.ipns-record").header(t, "Content-Length", fmt.Sprint(len(record))).
			header(t, "Content-Disposition", fmt.Sprintf(`attachment; filename="%[1]s.ipns-record"; filename*=UTF-8''%[1]s.ipns-record`, name.String()))
		tag = a.Header.Get("Etag")
		if len(tag) < 3 || tag[0] != '"' || tag[len(tag)-1] != '"' {
			t.Errorf("Etag: %s", tag)
		}
		control := a.Header.Get("Cache-Control")
		if !strings.HasPrefix(control, "public, max-age=") || strings.Contains(control, "immutable") {
			t.Errorf("Cache-Control: %s", control)
		}
		head := e.do("HEAD", url, ask.header).want(t, 200, "").header(t, "Etag", tag).header(t, "Content-Length", fmt.Sprint(len(record)))
		if head.body != "" {
			t.Error("HEAD has a body")
		}
		for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			for _, method := range []string{"GET", "HEAD"} {
				e.do(method, url, ask.header, "If-None-Match: "+known).want(t, 304, "").header(t, "Etag", tag)
			}
		}
		e.get(url, ask.header, `If-None-Match: "x"`).want(t, 200, string(record))
		e.get(url, ask.header, "If-None-Match: "+strings.Trim(tag, `"`)).want(t, 200, string(record))
		e.get(url, ask.header, `If-Match: "x"`).want(t, 412, "")
		e.get(url, ask.header, "Range: bytes=0-3").want(t, 206, string(record[:4]))
	}
	if got := e.get("http://127.0.0.1/ipns/" + other.String() + "?format=ipns-record").Header.Get("Etag"); got == tag {
		t.Error("two records have one tag")
	}
	e.get("http://127.0.0.1/ipns/"+name.String()+"/x?format=ipns-record").want(t, 400, "")
	e.get("http://127.0.0.1/ipns/example.net?format=ipns-record").want(t, 400, "")
}

// arrive follows redirects, within the edge that answers, until there are none.
func (e *edge) arrive(url string) (a response, at string, hops int) {
	e.t.Helper()
	for ; hops < 10; hops++ {
		a = e.get(url)
		to := a.Header.Get("Location")
		if to == "" {
			return a, url, hops
		}
		if strings.HasPrefix(to, "/") {
			host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
			to = "http://" + host + to
		}
		url = to
	}
	e.t.Errorf("redirects go in a circle: %s", url)
	return a, url, hops
}

// A key has one form in hosts, base36 of a CIDv1 of a libp2p key (subdomain gateway
// specification, "Host (request header)"), to which every other leads at once.
func TestKeysAsHosts(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	ed25519, _ := ipnsRecord(t, "/ipfs/"+root.String())
	digest, err := multihash.Sum([]byte("an RSA key"), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	for kind, name := range map[string]ipns.Name{"12D3Koo": ed25519, "Qm": ipns.NameFromPeer(peer.ID(digest))} {
		key, id := name.String(), name.Peer().String()
		if !strings.HasPrefix(id, kind) {
			t.Fatalf("the fixture is %s", id)
		}
		e.names.set(key, "/ipfs/"+root.String())
		c := peer.ToCid(name.Peer())
		base32, _ := c.StringOfBase(multibase.Base32)
		base58, _ := c.StringOfBase(multibase.Base58BTC)
		const rest = "/docs/guide/a.txt?x=%2F&y=1"
		home := "http://" + key + ".ipns.localhost:8080" + rest
		for _, form := range []string{id, base32, base58, strings.ToUpper(base32)} {
			for _, url := range []string{"http://localhost:8080/ipns/" + form + rest, "http://" + form + ".ipns.localhost:8080" + rest} {
				if len(form) > 63 && !strings.Contains(url, "/ipns/") {
					continue // no label of a host
				}
				a, at, hops := e.arrive(url)
				if a.want(t, 200, "a guide"); at != home || hops != 1 {
					t.Errorf("%s leads to %s after %d redirects", url, at, hops)
				}
			}
			a, at, hops := e.arrive("http://127.0.0.1/ipns/" + form + rest)
			if a.want(t, 200, "a guide"); at != "http://127.0.0.1/ipns/"+key+rest || hops != 1 {
				t.Errorf("%s by path leads to %s after %d redirects", form, at, hops)
			}
		}
		for _, url := range []string{home, "http://127.0.0.1/ipns/" + key + rest, "http://gw.example.org/ipns/" + key + rest} {
			if a, at, hops := e.arrive(url); a.StatusCode != 200 || hops != 0 {
				t.Errorf("%s: %d at %s after %d redirects", url, a.StatusCode, at, hops)
			}
		}
		// Browsers write hosts in lower case, which is another name, or none.
		if a, _, _ := e.arrive("http://" + strings.ToLower(id) + ".ipns.localhost/"); a.StatusCode < 400 {
			t.Errorf("%s in lower case: %d", id, a.StatusCode)
		}
	}
}

// download=true makes an attachment of whatever is sent, by itself (path gateway
// specification, "download").
func TestDownloads(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	css, doc := e.shelf.child(t, root, "css", "site.css").String(), e.shelf.raw(t, 0x0129, []byte(`{"a":1}`)).String()
	base := "http://127.0.0.1/ipfs/"
	for url, name := range map[string]string{
		base + root.String() + "/css/site.css?download=true": "site.css", base + css + "?download=true": css, base + root.String() + "/?download=true": "index.html",
		base + root.String() + "/big.txt?download=true": "big.txt", base + root.String() + "/docs/guide/b%20c.md?download=true": "b%20c.md",
		base + css + "?download=true&filename=x.txt": "x.txt", base + css + "?format=raw&download=true": css + ".bin", base + doc + "?download=true": doc + ".json",
		base + root.String() + "/css?format=car&download=true": root.String() + "_css.car", base + css + "?format=tar&download=true": css + ".tar",
	} {
		want := `attachment; filename="` + name + `"; filename*=UTF-8''` + name
		for _, method := range []string{"GET", "HEAD"} {
			e.do(method, url, "Accept: text/html").want(t, 200, "").header(t, "Content-Disposition", want)
		}
	}
	for _, query := range []string{"", "?download=false", "?download=", "?download=1"} {
		e.get(base+root.String()+"/css/site.css"+query).want(t, 200, "body").header(t, "Content-Disposition", "")
	}
	e.get(base+css+"?filename=x.txt").want(t, 200, "body").header(t, "Content-Disposition", `inline; filename="x.txt"; filename*=UTF-8''x.txt`).header(t, "Content-Type", "text/plain; charset=utf-8")
}
