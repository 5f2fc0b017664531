package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// kept is a client's connection that is used for one request after the other.
type kept struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) *kept {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &kept{t, c, bufio.NewReader(c)}
}

func (c *kept) send(text string) *kept {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// receive reads one answer and returns its status; closes says whether it has to be the
// connection's last.
func (c *kept) receive(method string, closes bool) int {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	if res.Close != closes {
		c.t.Errorf("%s: Connection: close is %v, want %v", res.Status, res.Close, closes)
	}
	if closes {
		c.ends()
	}
	return res.StatusCode
}

// ends waits for the end of the connection.
func (c *kept) ends() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.in); len(rest) > 0 || err != nil {
		c.t.Errorf("at the end: %d bytes more, %v", len(rest), err)
	}
}

// accepted waits until so many connections are open.
func (e *edge) accepted(n int) {
	for open := 0; open < n; time.Sleep(time.Millisecond) {
		open = 0
		e.mu.Lock()
		for _, conns := range e.servers {
			open += len(conns.all())
		}
		e.mu.Unlock()
	}
}

// RFC 9112, section 9.6: a server that is about to close a connection says so in its last
// answer, and does not answer another request on it.
func TestALameDuckEndsConnectionsWithTheirNextAnswer(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"x.txt": "0123456789", "a.html": prose(4096)})
	large := e.shelf.repeated(t, make([]byte, 64<<10), 40)
	addr, _, _ := e.serve()
	page := "/ipfs/" + root.String() + "/x.txt"
	etag := e.get("http://127.0.0.1" + page).Header.Get("Etag")
	requests := map[string]struct {
		method, path, more string
		status             int
	}{
		"hit":                {"GET", page, "", 200},
		"hit's head":         {"HEAD", page, "", 200},
		"part of a hit":      {"GET", page, "Range: bytes=2-4\r\n", 206},
		"not modified":       {"GET", page, "If-None-Match: " + etag + "\r\n", 304},
		"compressed":         {"GET", "/ipfs/" + root.String() + "/a.html", "Accept-Encoding: gzip\r\n", 200},
		"streamed":           {"GET", "/ipfs/" + large.String() + "?filename=x.bin", "", 200},
		"streamed by a map":  {"GET", "/ipfs/" + large.String(), "", 200},
		"not kept in memory": {"GET", page + "?format=raw", "", 200},
		"CAR":                {"GET", page + "?format=car", "", 200},
		"not there":          {"GET", "/nothing", "", 404},
		"not allowed":        {"POST", page, "Content-Length: 0\r\n", 405},
		"preflight":          {"OPTIONS", page, "", 200},
	}
	ask := func(c *kept, name string, closes bool) {
		r := requests[name]
		c.send(r.method + " " + r.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + r.more + "\r\n")
		if status := c.receive(r.method, closes); status != r.status {
			t.Errorf("%s: status %d, want %d", name, status, r.status)
		}
	}
	conns := map[string]*kept{}
	for name := range requests {
		conns[name] = dial(t, addr)
		ask(conns[name], name, false)
		ask(conns[name], name, false)
	}
	old := dial(t, addr).send("GET " + page + " HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n")
	old.receive("GET", false)
	e.LameDuck()
	for name, c := range conns {
		ask(c, name, true)
		ask(dial(t, addr), name, true)
	}
	old.send("GET "+page+" HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n").receive("GET", true)
}

// An answer that was not begun when the edge was told to stop says it, too.
func TestALameDuckEndsConnectionsOfRequestsInFlight(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	e.shelf.hook(func(context.Context, cid.Cid) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	addr, _, _ := e.serve()
	c := dial(t, addr).send("GET /ipfs/" + root.String() + "/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	<-entered
	e.LameDuck()
	close(release)
	c.receive("GET", true)
}

// What was sent on an open connection when the listener closes is answered; a connection
// on which nothing was sent ends.
func TestDrainAnswersWhatWasSent(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	get := "GET /ipfs/" + root.String() + "/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	addr, stop, done := e.serve()
	again, silent := dial(t, addr), dial(t, addr)
	again.send(get+"\r\n").receive("GET", false)
	idle := dial(t, addr)
	idle.send(get+"\r\n").receive("GET", false)
	again.send(get)
	fresh := dial(t, addr).send(get)
	e.accepted(4)
	stop()
	idle.ends()
	silent.ends()
	select {
	case err := <-done:
		t.Fatalf("Serve returned while requests were being read: %v", err)
	default:
	}
	for _, c := range []*kept{again, fresh} {
		if status := c.send("\r\n").receive("GET", true); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// h2c is a client that shows each frame.
type h2c struct {
	*kept
	*http2.Framer
	fields *hpack.Encoder
	block  bytes.Buffer
}

func dialHTTP2(t *testing.T, addr string) *h2c {
	t.Helper()
	c := &h2c{kept: dial(t, addr)}
	c.send(http2.ClientPreface)
	c.Framer = http2.NewFramer(c.Conn, c.in)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fields = hpack.NewEncoder(&c.block)
	if err := errors.Join(c.WriteSettings(), c.WriteSettingsAck()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *h2c) ask(stream uint32, path string) {
	c.t.Helper()
	c.block.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "127.0.0.1"}, {":path", path}} {
		_ = c.fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndStream: true, EndHeaders: true})
	if err != nil {
		c.t.Fatal(err)
	}
}

// next returns what the next frame says that is about a request or the connection's end.
func (c *h2c) next() string {
	c.t.Helper()
	for {
		frame, err := c.ReadFrame()
		if errors.Is(err, io.EOF) {
			return "end"
		}
		if err != nil {
			c.t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return fmt.Sprint("header ", f.StreamID, " ", f.PseudoValue("status"))
		case *http2.DataFrame:
			if f.StreamEnded() {
				return fmt.Sprint("body ", f.StreamID)
			}
		case *http2.GoAwayFrame:
			return fmt.Sprint("go away ", f.LastStreamID, " ", f.ErrCode)
		}
	}
}

func (c *h2c) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

// RFC 9113, section 6.8: a server that stops gracefully first sends a GOAWAY with the last
// stream 2^31-1 and NO_ERROR, and later another with the last stream that it answers.
func TestHTTP2IsToldTwice(t *testing.T) {
	e := newEdge(t, nil)
	path := "/ipfs/" + website(t, e.shelf).String() + "/"
	addr, stop, done := e.serve()
	c, unasked := dialHTTP2(t, addr), dialHTTP2(t, addr)
	c.ask(1, path)
	c.expect("header 1 200", "body 1")
	e.LameDuck()
	c.expect("go away 2147483647 NO_ERROR")
	c.ask(3, path) // it was on its way
	c.expect("header 3 200", "body 3")
	// Connections that have had no answer may be for a first one.
	for _, late := range []*h2c{unasked, dialHTTP2(t, addr)} {
		late.ask(1, path)
		late.expect("header 1 200")
		rest := []string{late.next(), late.next()}
		if all := strings.Join(rest, ", "); !strings.Contains(all, "go away 2147483647 NO_ERROR") || !strings.Contains(all, "body 1") {
			t.Errorf("got %s", all)
		}
	}
	stop()
	c.expect("go away 3 NO_ERROR", "end")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A stream that is open when the edge stops is finished.
func TestHTTP2StreamsInFlightFinish(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	path := "/ipfs/" + root.String() + "/big.txt"
	addr, stop, done := e.serve()
	c := dialHTTP2(t, addr)
	c.ask(1, path) // more than the client's window
	c.expect("header 1 200")
	stop()
	if err := errors.Join(c.WriteWindowUpdate(0, 1<<20), c.WriteWindowUpdate(1, 1<<20)); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != "end" {
		seen = append(seen, c.next())
	}
	if all := strings.Join(seen, ", "); !strings.Contains(all, "body 1") || !strings.Contains(all, "go away 2147483647") {
		t.Errorf("got %s", all)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Nothing stands between the parts of a header (RFC 9113, section 6.10), or in a frame.
func TestFramesInBetween(t *testing.T) {
	var out bytes.Buffer
	w := http2.NewFramer(&out, nil)
	var ends []int // where a frame may be put in between
	end := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, out.Len())
	}
	end(w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20}))
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte("abc")})
	_ = w.WriteContinuation(1, false, nil)
	end(w.WriteContinuation(1, true, []byte("d")))
	end(w.WriteData(1, false, make([]byte, 70_000)))
	end(w.WriteData(1, true, nil))
	for _, step := range []int{1, 2, 7, 9, 1000, out.Len()} {
		var f frames
		for at := 0; at < out.Len(); {
			to := min(at+step, out.Len())
			f.pass(out.Bytes()[at:to])
			at = to
			want := false
			for _, e := range ends {
				want = want || e == at
			}
			if f.between() != want {
				t.Fatalf("in steps of %d, after %d bytes: %v", step, at, f.between())
			}
		}
	}
}

func TestASilentConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, far := deadlinePair(t)
		d.silent = true
		read := make(chan error, 1)
		begin := time.Now()
		go func() {
			_, err := d.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		d.last()
		if err := <-read; !errors.Is(err, io.EOF) || time.Since(begin) < lastCall {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}

		// One that is being used ends when it is silent again.
		d, _, far = deadlinePair(t)
		d.silent = true
		go func() { _, _ = far.Write([]byte("xy")) }()
		_, _ = d.Read(make([]byte, 1))
		d.last()
		time.Sleep(time.Hour)
		if n, err := d.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("a request that is being read: %v", err)
		}
		d.idle()
		begin = time.Now()
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begin) < lastCall {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}
