//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// say sends a request as it stands on a connection of its own, one for a page behind it,
// and returns the first answer and whether the second was given.
func (e *edge) say(request string) (first *http.Response, more bool) {
	e.t.Helper()
	c, err := net.Dial("tcp", e.Gateway)
	if err != nil {
		e.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request+"\r\n\r\nGET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"); err != nil {
		e.t.Fatal(err)
	}
	from := bufio.NewReader(c)
	first, err = http.ReadResponse(from, nil)
	if err != nil {
		e.t.Fatalf("%q: %v", request, err)
	}
	_, _ = io.Copy(io.Discard, first.Body)
	_, err = http.ReadResponse(from, nil)
	return first, err == nil
}

// What strangers send to the public door of a real process, in bytes that no client
// library would let them: no redirect leads to another host, and the edge is no proxy.
func TestThePublicDoor(t *testing.T) {
	dir, _ := website(t)
	data := t.TempDir()
	first := start(t, data)
	root := first.add(dir)
	first.stop()
	const host = " HTTP/1.1\r\nHost: www.example.org"
	for _, connect := range []string{"false", "true"} {
		e := start(t, data, "sites=[{host: www.example.org, content: /ipfs/"+root+"}]", "gateway.connect="+connect)
		for request, location := range map[string]string{
			"GET //other.host/..%2Fmedia?a=%2F&uri=x+y" + host:                                  "/media/?a=%2F&uri=x+y",
			"GET /%5Cother.host/..%2Fmedia" + host:                                              "/media/",
			"GET /%09/other.host/..%2F..%2Fmedia" + host:                                        "/media/",
			`GET /\other.host/..%2Fmedia` + host:                                                "/media/",
			"GET //other.host/..%2Fmedia HTTP/1.1\r\nHost: " + root + ".ipfs.localhost":         "/media/",
			"GET /ipns/other.host%3F/ HTTP/1.1\r\nHost: localhost":                              "",
			"GET //other.host/..%2Fipfs/" + root + "/media HTTP/1.1\r\nHost: localhost":         "",
			"GET /ipfs/" + root + "//other.host HTTP/1.1\r\nHost: localhost":                    "http://" + root + ".ipfs.localhost/other.host",
			"GET http://www.example.org//other.host/..%2Fmedia HTTP/1.1\r\nHost: other.host":    "/media/",
			"GET /old HTTP/1.1\r\nHost: www.example.org\r\nX-Forwarded-Host: other.host":        "/style.css",
			"GET //other.host/..%2Fold" + host + "\r\nX-Forwarded-Proto: https\r\nForwarded: x": "/style.css",
		} {
			a, _ := e.say(request)
			if got := a.Header.Get("Location"); got != location {
				t.Errorf("%q: %d, Location %q, want %q", request, a.StatusCode, got, location)
			}
		}
		for _, request := range []string{"CONNECT other.host:443 HTTP/1.1\r\nHost: other.host:443", "GET http://other.host/" + host} {
			a, more := e.say(request)
			if refused := a.StatusCode == http.StatusMethodNotAllowed && !more; refused == (connect == "true") {
				t.Errorf("gateway.connect: %s: %q: %d, and more: %v", connect, request, a.StatusCode, more)
			}
		}
		a, _ := e.say("GET /style.css" + host + "\r\nRange: bytes=-99999")
		if a.StatusCode != http.StatusPartialContent || a.Header.Get("Content-Range") != "bytes 0-19/20" {
			t.Errorf("a long suffix: %d, %q", a.StatusCode, a.Header.Get("Content-Range"))
		}
		e.stop()
	}
}
