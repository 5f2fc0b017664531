//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const local = "Host: 127.0.0.1\r\n"

// sentMessage is a request that no client library sends, what may be answered, and what
// becomes of the connection.
type sentMessage struct {
	rule    string // section, and what it asks for
	request string // PAGE is the path of a page
	status  []int
	closes  bool // the connection must end; otherwise it may only when the answer says so
}

func messages() []sentMessage {
	get, ok, bad := "GET PAGE HTTP/1.1\r\n", []int{200}, []int{400}
	either := []int{200, 400}
	body := strings.Repeat("x", 100)
	return []sentMessage{
		{"RFC 9112, 3.2: no Host", get + "\r\n", bad, true},
		{"RFC 9112, 3.2: two Hosts", get + local + "Host: www.example.org\r\n\r\n", bad, true},
		{"RFC 9112, 3.2: the same Host twice", get + local + local + "\r\n", bad, true},
		{"RFC 9112, 3.2: a Host that is none", get + "Host: a b\r\n\r\n", bad, false},
		{"RFC 3986, 3.2.3: a port that is no number", get + "Host: 127.0.0.1:8o\r\n\r\n", bad, false},
		{"RFC 3986, 3.2.3: a port that there is not", get + "Host: 127.0.0.1:65536\r\n\r\n", bad, false},
		{"RFC 9112, 3: two spaces", "GET  PAGE HTTP/1.1\r\n" + local + "\r\n", bad, true},
		{"RFC 9112, 3: control characters in the target", "GET /\x01\x7f HTTP/1.1\r\n" + local + "\r\n", bad, true},
		{"RFC 9112, 2.3: no version", "GET PAGE\r\n" + local + "\r\n", bad, true},
		{"RFC 9112, 2.3: a version in lower case", "GET PAGE http/1.1\r\n" + local + "\r\n", bad, true},
		{"RFC 9110, 15.6.6: a version that there is not", "GET PAGE HTTP/7.0\r\n" + local + "\r\n", []int{400, 505}, true},
		{"RFC 9110, 9.1: a method that is no token", "G(T PAGE HTTP/1.1\r\n" + local + "\r\n", bad, true},
		{"RFC 9110, 15.5.6: a method that is not allowed", "POST PAGE HTTP/1.1\r\n" + local + "\r\n", []int{405}, false},
		{"RFC 9112, 5.1: a space before the colon", get + local + "X-A : 1\r\n\r\n", bad, true},
		{"RFC 9112, 5.1: a space in a name", get + local + "X A: 1\r\n\r\n", bad, true},
		{"RFC 9110, 5.1: NUL in a name", get + local + "X\x00A: 1\r\n\r\n", bad, true},
		{"RFC 9110, 5.5: NUL in a value", get + local + "X-A: \x00\r\n\r\n", bad, true},
		{"RFC 9112, 2.2: a bare CR in a value", get + local + "X-A: 1\rX-B: 2\r\n\r\n", bad, true},
		{"RFC 9112, 2.2: a bare CR as the end of a line", get + local + "X-A: 1\r\r\n\r\n", either, false},
		{"RFC 9112, 2.2: space before the first field", get + " X-A: 1\r\n" + local + "\r\n", bad, true},
		{"RFC 9112, 5.2: a folded line", get + local + "X-A: 1\r\n 2\r\n\r\n", either, false},
		{"RFC 9112, 5: a line without a colon", get + local + "nothing\r\n\r\n", bad, true},
		{"RFC 9112, 6.1: Content-Length and Transfer-Encoding", get + local + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", either, true},
		{"RFC 9112, 6.1: the same in HTTP/1.0", "GET PAGE HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", either, true},
		{"RFC 9112, 6.1: a coding that there is not", get + local + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", []int{400, 501}, true},
		{"RFC 9112, 6.3: chunked is not the last coding", get + local + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", []int{400, 501}, true},
		{"RFC 9112, 6.3: two different Content-Length", get + local + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", bad, true},
		{"RFC 9112, 6.3: a list of different Content-Length", get + local + "Content-Length: 3, 4\r\n\r\nabcd", bad, true},
		{"RFC 9110, 8.6: a sign in Content-Length", get + local + "Content-Length: +3\r\n\r\nabc", bad, true},
		{"RFC 9110, 8.6: a negative Content-Length", get + local + "Content-Length: -3\r\n\r\n", bad, true},
		{"RFC 9112, 7.1: a chunk whose size is no number", get + local + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", either, true},
		{"RFC 9110, 9.3.1: content with GET", get + local + "Content-Length: 100\r\n\r\n" + body, either, false},
		{"RFC 9110, 9.3.1: chunked content with GET", get + local + "Transfer-Encoding: chunked\r\n\r\n64\r\n" + body + "\r\n0\r\n\r\n", either, false},
		{"RFC 9110, 10.1.1: content that waits to be asked for", get + local + "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n", either, true},
		{"RFC 9110, 10.1.1: an unknown expectation", get + local + "Expect: more\r\n\r\n", []int{200, 417}, false},
		{"RFC 9112, 9.3: HTTP/1.0", "GET PAGE HTTP/1.0\r\n\r\n", ok, true},
		{"RFC 9112, C.2.2: HTTP/1.0, kept open", "GET PAGE HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ok, false},
		{"RFC 9112, 9.6: close", get + local + "Connection: close\r\n\r\n", ok, true},
		{"RFC 6585, 5: a header of 40 000 bytes", get + local + "X-A: " + strings.Repeat("x", 40_000) + "\r\n\r\n", []int{431}, true},
		{"RFC 6585, 5: a thousand fields", get + local + strings.Repeat("X-A: 1\r\n", 1000) + "\r\n", []int{200, 431}, false},
		{"RFC 9110, 15.5.15: a target of 40 000 bytes", "GET /" + strings.Repeat("x", 40_000) + " HTTP/1.1\r\n" + local + "\r\n", []int{414, 431}, true},
		{"RFC 9112, 2.2: an empty line before", "\r\n" + get + local + "\r\n", either, false},
		{"RFC 9112, 3.2.4: * as the target of GET", "GET * HTTP/1.1\r\n" + local + "\r\n", bad, false},
	}
}

// malformed sends messages. What follows one whose connection ends is never answered: it
// may have been smuggled in.
func (a *attacked) malformed(t *testing.T) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, m := range messages() {
		all.Go(func() {
			said, more, err := a.hear(strings.ReplaceAll(m.request, "PAGE", a.page))
			switch {
			case err != nil:
				t.Errorf("%s: %v", m.rule, err)
			case !slices.Contains(m.status, said.StatusCode):
				t.Errorf("%s: %d, want one of %d", m.rule, said.StatusCode, m.status)
			case m.closes && more:
				t.Errorf("%s: %d, and what follows is answered", m.rule, said.StatusCode)
			case !more && !said.Close:
				t.Errorf("%s: %d, and the connection ends without Connection: close", m.rule, said.StatusCode)
			}
		})
	}
}

// hear sends a message and a request behind it, and returns the first answer that is final
// and whether there is another.
func (a *attacked) hear(message string) (said *http.Response, more bool, err error) {
	c, err := net.Dial("tcp", a.Gateway)
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience / 3))
	if _, err = io.WriteString(c, message+"GET "+a.page+" HTTP/1.1\r\n"+local+"\r\n"); err != nil {
		return nil, false, err
	}
	from := bufio.NewReader(c)
	for said == nil || said.StatusCode < 200 {
		if said, err = http.ReadResponse(from, nil); err != nil {
			return nil, false, err
		}
		// A refusal may end with a reset when more was sent than was read.
		if _, err = io.Copy(io.Discard, said.Body); err != nil && (said.StatusCode < 400 || !errors.Is(err, syscall.ECONNRESET)) {
			return nil, false, err
		}
	}
	_, err = http.ReadResponse(from, nil)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return nil, false, fmt.Errorf("%d, and then nothing, and no end: %w", said.StatusCode, err)
	}
	return said, err == nil, nil
}

// pipelined sends 2000 requests in one piece (RFC 9112, section 9.3.2).
func (a *attacked) pipelined(t *testing.T) {
	c, err := net.Dial("tcp", a.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience / 2))
	var all strings.Builder
	paths := []string{a.page, "/ipfs/none", a.page + "?x=1", a.page + "/below"}
	status := []int{200, 400, 200, 404}
	for i := range 2000 {
		method := "GET "
		if i%7 == 6 {
			method = "HEAD "
		}
		all.WriteString(method + paths[i%4] + " HTTP/1.1\r\n" + local + fmt.Sprintf("Range: bytes=%d-%d\r\n", i, i+9) + "\r\n")
	}
	go func() { _, _ = io.WriteString(c, all.String()) }()
	from := bufio.NewReader(c)
	for i := range 2000 {
		method, want := http.MethodGet, string(a.body[i:i+10])
		if i%7 == 6 {
			method, want = http.MethodHead, ""
		}
		said, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		got, _ := io.ReadAll(said.Body)
		if said.StatusCode != status[i%4] && (i%2 == 1 || said.StatusCode != 206) {
			t.Fatalf("answer %d: %d", i, said.StatusCode)
		}
		if i%2 == 0 && string(got) != want {
			t.Fatalf("answer %d: %q, want %q", i, got, want)
		}
	}
}

// unsent sends the beginnings of messages and waits: for a header that does not come to
// an end, and for content that never comes. Each has an answer or an end soon.
func (a *attacked) unsent(t *testing.T) {
	for _, message := range []string{
		"", "GET", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
		"GET " + a.page + " HTTP/1.1\r\n" + local + "Content-Length: 100\r\n\r\nx",
		"GET " + a.page + " HTTP/1.1\r\n" + local + "Transfer-Encoding: chunked\r\n\r\n64\r\nx",
		"GET " + a.page + "/below HTTP/1.1\r\n" + local + "Content-Length: 100\r\n\r\nx",
		"POST " + a.page + " HTTP/1.1\r\n" + local + "Transfer-Encoding: chunked\r\n\r\n64\r\nx",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04",
	} {
		c, err := net.Dial("tcp", a.Gateway)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, message)
		a.ends.Go(func() {
			_ = c.SetDeadline(time.Now().Add(patience / 3))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: the connection is open after %v", message, patience/3)
			}
		})
	}
}
