package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// converse sends bytes on a connection of their own and returns the answers, each as its
// status, and whether the connection was closed behind them.
func converse(t *testing.T, addr, requests string, most int) (statuses []int, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, requests); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	for len(statuses) < most {
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			return statuses, true
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		statuses = append(statuses, resp.StatusCode)
		if resp.StatusCode == http.StatusMethodNotAllowed && (!resp.Close || resp.Header.Get("Allow") == "") {
			t.Errorf("405 without Connection: close or Allow: %v", resp.Header)
		}
	}
	return statuses, false
}

func TestNoProxyUnlessToldSo(t *testing.T) {
	for _, connect := range []bool{false, true} {
		for _, serve := range []ServePolicy{ServeSites, ServeAny} {
			t.Run(fmt.Sprint(connect, serve), func(t *testing.T) {
				e := newEdge(t, func(o *Options, e *edge) {
					o.Serve, o.Connect = serve, connect
					root := website(t, e.shelf).String()
					o.Sites = []Site{{"www.example.org", "/ipfs/" + root}}
					e.names.set("linked.example.net", "/ipfs/"+root)
				})
				addr, _, _ := e.serve()
				const hot = "GET /about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
				// The page is in memory: what follows could be answered below net/http.
				if got, _ := converse(t, addr, hot+hot, 2); fmt.Sprint(got) != "[200 200]" {
					t.Fatal(got)
				}
				local, _, _ := net.SplitHostPort(addr)
				foreign := []string{
					"CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n",
					"CONNECT other.host:25 HTTP/1.1\r\nHost: other.host:25\r\n\r\n",
					"CONNECT " + addr + " HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
					"CONNECT /about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
					"GET http://other.host/about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
					"GET http://linked.example.net/about/ HTTP/1.1\r\nHost: linked.example.net\r\n\r\n",
					"GET http://192.0.2.1/about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
					"GET ftp://www.example.org/about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
				}
				for _, request := range foreign {
					got, closed := converse(t, addr, request+hot, 2)
					if !connect && (fmt.Sprint(got) != "[405]" || !closed) {
						t.Errorf("%.60q: %v, closed: %v", request, got, closed)
					}
					if connect && (len(got) != 2 || got[1] != 200 || got[0] == 405) {
						t.Errorf("%.60q: %v", request, got)
					}
				}
				// RFC 9112, section 3.2.2: a server takes the absolute form for what is its own,
				// and goes by its host, whatever the Host header says.
				for _, ours := range []string{"http://www.example.org", "HTTPS://WWW.example.org:443", "http://u:p@www.example.org:1"} {
					got, _ := converse(t, addr, "GET "+ours+"/about/ HTTP/1.1\r\nHost: other.host\r\n\r\n"+hot, 2)
					if fmt.Sprint(got) != "[200 200]" {
						t.Errorf("%s: %v", ours, got)
					}
				}
				got, _ := converse(t, addr, "GET http://"+local+" HTTP/1.1\r\nHost: x\r\n\r\nGET http://www.example.org?x HTTP/1.1\r\nHost: x\r\n\r\n", 2)
				if fmt.Sprint(got) != "[404 200]" {
					t.Errorf("without a path: %v", got)
				}
				for odd, want := range map[string]string{"*": "[400]", "mailto:x": "[405]", "http:about/": "[405]"} {
					if connect {
						want = "[400]"
					}
					got, _ := converse(t, addr, "GET "+odd+" HTTP/1.1\r\nHost: www.example.org\r\n\r\n", 1)
					if fmt.Sprint(got) != want {
						t.Errorf("%s: %v, want %s", odd, got, want)
					}
				}
			})
		}
	}
}

func TestAProxyInFrontGetsNoTunnel(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		o.Sites = []Site{{"www.example.org", "/ipfs/" + website(t, e.shelf).String()}}
		o.TrustedProxies = []string{"127.0.0.0/8"}
	})
	addr, _, _ := e.serve()
	for _, forwarded := range []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: www.example.org", "Forwarded: host=www.example.org"} {
		for _, request := range []string{"CONNECT other.host:443", "GET http://other.host/about/"} {
			got, closed := converse(t, addr, request+" HTTP/1.1\r\nHost: other.host\r\n"+forwarded+"\r\n\r\nGET /about/ HTTP/1.1\r\nHost: www.example.org\r\n\r\n", 2)
			if fmt.Sprint(got) != "[405]" || !closed {
				t.Errorf("%s with %s: %v, closed: %v", request, forwarded, got, closed)
			}
		}
	}
}

func TestConnectOverHTTP2(t *testing.T) {
	e := newEdge(t, nil)
	addr, _, _ := e.serve()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(&http.Request{
		Method: http.MethodConnect, URL: mustURL(t, "http://"+addr), Host: "other.host:443", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

func TestReloadChangesWhoIsAProxy(t *testing.T) {
	e := newEdge(t, nil)
	e.do("CONNECT", "http://other.host/").want(t, 405, "no proxy").header(t, "Connection", "close")
	if !strings.Contains(e.log.String(), "client=192.0.2.1 ") {
		t.Errorf("the log does not say who it was: %s", e.log.String())
	}
	e.reload(func(o *Options) { o.Connect = true })
	e.do("CONNECT", "http://other.host/").want(t, 200, "")
	e.reload(func(o *Options) { o.Connect = false })
	e.do("CONNECT", "http://other.host/").want(t, 405, "no proxy")
}

func TestBadPorts(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		o.Sites = []Site{{"www.example.org", "/ipfs/" + website(t, e.shelf).String()}}
	})
	for port, status := range map[string]int{"": 200, "80": 200, "65535": 200, "65536": 400, "x": 400, "-1": 400, "+1": 400, "80x": 400} {
		e.get("http://x/about/", "Host: www.example.org:"+port).want(t, status, "")
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
