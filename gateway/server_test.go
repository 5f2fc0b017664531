package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve puts the edge behind a real listener.
func (e *edge) serve() (addr string, stop context.CancelFunc, done chan error) {
	e.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done = make(chan error, 1)
	go func() { done <- e.Serve(ctx, ln) }()
	e.t.Cleanup(cancel)
	return ln.Addr().String(), cancel, done
}

func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestServeDrains(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
		once.Do(func() {
			close(entered)
			<-release
		})
		return nil
	})
	addr, stop, done := e.serve()
	c := client(t)
	got := make(chan string, 1)
	go func() {
		resp, err := c.Get("http://" + addr + "/ipfs/" + root.String() + "/")
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- fmt.Sprint(resp.StatusCode, string(b))
	}()
	<-entered
	stop()
	waitRefused(t, addr)
	select {
	case err := <-done:
		t.Fatalf("Serve returned with a request in flight: %v", err)
	default:
	}
	close(release)
	if s := <-got; s != "200<h1>home</h1>" {
		t.Errorf("request in flight: %s", s)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func waitRefused(t *testing.T, addr string) {
	t.Helper()
	for range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = c.Close()
		time.Sleep(time.Millisecond)
	}
	t.Fatal("still accepts connections")
}

func TestDrainIsBounded(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.DrainTimeout = 20 * time.Millisecond })
	root := website(t, e.shelf)
	entered := make(chan struct{}, 10)
	e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	addr, stop, done := e.serve()
	go func() {
		resp, err := client(t).Get("http://" + addr + "/ipfs/" + root.String() + "/")
		if err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	stop()
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsServe(t *testing.T) {
	e := newEdge(t, nil)
	_, _, done := e.serve()
	_, _, done2 := e.serve()
	for {
		e.mu.Lock()
		n := len(e.servers)
		e.mu.Unlock()
		if n == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-done, <-done2); err != nil {
		t.Fatal(err)
	}
	_, _, late := e.serve()
	if err := <-late; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Close: %v", err)
	}
}

// A failure after the first byte must not look like the end of the file.
func TestCutShort(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	bigFile := e.shelf.child(t, root, "big.txt")
	leaves := 0
	e.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Prefix().Codec == cid.Raw {
			if leaves++; leaves > 8 {
				return &block.UnavailableError{Cid: c, From: secretAddress, Err: errors.New("cut")}
			}
		}
		return nil
	})
	e.opts.FetchParallel = 1
	addr, _, _ := e.serve()
	get := func(coding string) *http.Response {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/ipfs/"+bigFile.String()+"?filename=a.txt", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", coding)
		resp, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	resp := get("identity")
	b, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || resp.StatusCode != 200 || !strings.HasPrefix(big, string(b)) {
		t.Errorf("got %d, %d bytes, %v", resp.StatusCode, len(b), err)
	}
	// An answer that waits to be encoded has not begun: there is time to say why.
	leaves = 0
	resp = get("gzip")
	if b, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != 502 || resp.Header.Get("Cache-Control") != "no-store" ||
		resp.Header.Get("Content-Encoding") != "" || !strings.Contains(string(b), "could not be fetched") {
		t.Errorf("got %d, %q, %v, %v", resp.StatusCode, b, resp.Header, err)
	}
}

func TestStalledClientIsCutOff(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.WriteTimeout = 50 * time.Millisecond })
	// One leaf many times over: more than the kernel buffers, and little memory.
	file := e.shelf.repeated(t, make([]byte, 1<<20), 64)
	addr, _, _ := e.serve()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /ipfs/%s?filename=x.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", file)
	for !strings.Contains(e.log.String(), "write to the client") { // the client reads nothing
		time.Sleep(5 * time.Millisecond)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.Copy(io.Discard, conn); n >= 64<<20 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.ReadHeaderTimeout = 30 * time.Millisecond })
	addr, _, _ := e.serve()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: ")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
}

func TestABodyThatNeverArrives(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.ReadHeaderTimeout = 400 * time.Millisecond })
	addr, _, _ := e.serve()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("got %d", resp.StatusCode)
	}
	_, _ = io.ReadAll(resp.Body)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.MaxHeaderBytes = 4096 })
	addr, _, _ := e.serve()
	r, _ := http.NewRequest("GET", "http://"+addr+"/", nil)
	r.Header.Set("X-Large", strings.Repeat("x", 32<<10))
	resp, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestUnencryptedHTTP2(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.WriteTimeout = 250 * time.Millisecond })
	root := website(t, e.shelf)
	e.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Prefix().Codec == cid.Raw {
			time.Sleep(8 * time.Millisecond) // longer than WriteTimeout in all
		}
		return nil
	})
	e.opts.FetchParallel = 1
	addr, _, _ := e.serve()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + addr + "/ipfs/" + root.String() + "/big.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor != 2 || string(b) != big {
		t.Errorf("%s: %d bytes, %v", resp.Proto, len(b), err)
	}
}

func TestCloseCutsOffAndIsFinal(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	entered := make(chan struct{}, 10)
	e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	addr, _, done := e.serve()
	failed := make(chan error, 1)
	go func() {
		resp, err := client(t).Get("http://" + addr + "/ipfs/" + root.String() + "/")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	<-failed
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
