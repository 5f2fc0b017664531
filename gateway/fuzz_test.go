package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
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
