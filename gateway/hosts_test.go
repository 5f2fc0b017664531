package gateway

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

func TestHosts(t *testing.T) {
	for _, serve := range []ServePolicy{ServeSites, ServeAny} {
		var root cid.Cid
		e := newEdge(t, func(o *Options, e *edge) {
			root = website(t, e.shelf)
			e.pins[root] = true
			o.Serve = serve
			e.names.set("linked.example.net", "/ipfs/"+root.String())
		})
		status := func(any, else_ int) int {
			if serve == ServeAny {
				return any
			}
			return else_
		}
		path := "/ipfs/" + root.String() + "/css/site.css"
		for _, tc := range []struct {
			host, path string
			status     int
			label      string
		}{
			{"127.0.0.1:8080", path, 200, labelAddress},
			{"10.1.2.3", path, 200, labelAddress},
			{"[::1]:8080", path, 200, labelAddress},
			{"[fe80::1]", path, 200, labelAddress},
			{"", path, 200, labelAddress},
			{"127.0.0.1", "/", 404, labelAddress},
			{"127.0.0.1", "/ipfs/", 400, labelAddress},
			{"127.0.0.1", "/ipld/" + root.String(), 404, labelAddress},
			{"127.0.0.1", "/version", 404, labelAddress},
			{"LOCALHOST", path, 301, "localhost"},
			{"localhost:1234", "/", 404, "localhost"},
			{root.String() + ".ipfs.localhost:8080", "/css/site.css", 200, "*.localhost"},
			{"x.localhost", path, status(200, 404), labelOther},
			{"gw.example.org", path, 200, "gw.example.org"},
			{"GW.example.org.", path, 200, "gw.example.org"},
			{"linked.example.net", "/css/site.css", status(200, 404), labelOther},
			{"nolink.example.net", "/css/site.css", 404, labelOther},
			{"nolink.example.net", path, status(200, 404), labelOther},
			{"shoal-0", path, status(200, 404), labelOther},
			{"evil.com/..", path, status(200, 404), labelOther},
			{strings.Repeat("a", 5000), path, status(200, 404), labelOther},
		} {
			a := e.get("http://x"+tc.path, "Host: "+tc.host)
			if a.StatusCode != tc.status {
				t.Errorf("%s: %.40s%s: got %d %q, want %d", serve, tc.host, tc.path, a.StatusCode, a.body, tc.status)
			}
			if len(a.body) > 1000 {
				t.Errorf("%.40s: an answer of %d bytes", tc.host, len(a.body))
			}
			host, _ := splitHost(tc.host)
			if _, label := e.sites.Load().door(&host); label != tc.label {
				t.Errorf("%s: label %q, want %q", tc.host, label, tc.label)
			}
		}
	}
}

func TestForwardedHeadersOfStrangersAreRemoved(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = website(t, e.shelf)
		o.TrustedProxies = []string{"10.0.0.0/8", "2001:db8::1"}
	})
	path := "/ipfs/" + root.String() + "/"
	for _, tc := range []struct {
		name, peer string
		headers    []string
		status     int
		location   string
		client     string
	}{
		{"stranger's host", "203.0.113.9:1", []string{"X-Forwarded-Host: localhost", "X-Forwarded-For: 1.1.1.1"}, 200, "", "203.0.113.9"},
		{"stranger's Forwarded", "203.0.113.9:1", []string{"Forwarded: for=1.1.1.1;host=localhost;proto=https"}, 200, "", "203.0.113.9"},
		{"proxy's host", "10.1.1.1:1", []string{"X-Forwarded-Host: localhost", "X-Forwarded-For: 1.1.1.1"}, 301, "http://" + root.String() + ".ipfs.localhost/", "1.1.1.1"},
		{"proxy's proto", "[2001:db8::1]:1", []string{"X-Forwarded-Host: a.example, localhost:80", "X-Forwarded-Proto: HTTPS"}, 301, "https://" + root.String() + ".ipfs.localhost:80/", "2001:db8::1"},
		{"proxy's Forwarded", "10.1.1.1:1", []string{`Forwarded: for=9.9.9.9, for="[2001:db8::2]:77";host=localhost;proto=https`}, 301, "https://" + root.String() + ".ipfs.localhost/", "2001:db8::2"},
		{"forged left part", "10.1.1.1:1", []string{"X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.2.2.2"}, 200, "", "203.0.113.7"},
		{"garbage", "10.1.1.1:1", []string{"X-Forwarded-For: 1.2.3.4, unknown", "X-Forwarded-Host: a/b", "X-Forwarded-Proto: gopher"}, 200, "", "10.1.1.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRequest("GET", "http://127.0.0.1"+path)
			r.RemoteAddr = tc.peer
			for _, h := range tc.headers {
				k, v, _ := strings.Cut(h, ": ")
				r.Header.Add(k, v)
			}
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if w.Code != tc.status || w.Header().Get("Location") != tc.location {
				t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
			}
			logged := e.log.String()
			if line := logged[strings.LastIndex(strings.TrimSpace(logged), "\n")+1:]; !strings.Contains(line, "client="+tc.client+" ") {
				t.Errorf("want client %s in %s", tc.client, line)
			}
		})
	}
}
