package origin

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// trustless is a small trustless gateway. It insists on requests as the
// specification has them.
type trustless struct {
	mu       sync.Mutex
	blocks   map[string][]byte
	requests atomic.Int64
	chunked  bool // no Content-Length
}

func newTrustless(bs ...*block.Verified) *trustless {
	g := &trustless{blocks: make(map[string][]byte)}
	for _, b := range bs {
		g.blocks[b.Cid().String()] = b.RawData()
	}
	return g
}

func (g *trustless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	_, c, _ := strings.Cut(r.URL.Path, "/ipfs/")
	g.mu.Lock()
	data, ok := g.blocks[c]
	g.mu.Unlock()
	switch {
	case r.URL.RawQuery != "format=raw" || r.Header.Get("Accept") != rawType || r.Method != "GET" ||
		r.Header.Get("User-Agent") != "shoal" || r.Header.Get("Cookie") != "":
		http.Error(w, fmt.Sprint("not what was agreed on: ", r.URL, r.Header), http.StatusBadRequest)
	case !ok:
		http.Error(w, "404 not found", http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", rawType)
		w.Header().Set("Set-Cookie", "track=me")
		if !g.chunked {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		}
		w.Write(data)
	}
}

func gatewayOptions(urls ...string) Options {
	o := DefaultOptions()
	for _, u := range urls {
		o.Origins = append(o.Origins, Spec{Type: TypeGateway, URL: u})
	}
	return o
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func transportOf(s *Set, i int) *http.Transport {
	return s.origins()[i].source.(*gateway).client.Transport.(*http.Transport)
}

func TestGatewayServesEveryBlock(t *testing.T) {
	bs := someBlocks(t)
	srv := serve(t, newTrustless(bs...))
	chunked := newTrustless(bs...)
	chunked.chunked = true
	for name, base := range map[string]string{
		"root": srv.URL, "slash": srv.URL + "/", "path": srv.URL + "/some/path/", "chunked": serve(t, chunked).URL,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, gatewayOptions(base))
			for _, b := range bs {
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Error(err)
				}
			}
			if err := fetch(t, s, t.Context(), makeBlock(t, 10).Cid()); !ipld.IsNotFound(err) {
				t.Errorf("a block that is not there: %v", err)
			}
			if ok, nf := requests(s, outcomeOK), requests(s, outcomeNotFound); ok != len(bs) || nf != 1 {
				t.Errorf("%d ok, %d not found", ok, nf)
			}
		})
	}
}

func TestGatewayOverHTTP2(t *testing.T) {
	bs := someBlocks(t)
	g := newTrustless(bs...)
	var other atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			other.Add(1)
		}
		g.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)

	s := open(t, gatewayOptions(srv.URL))
	var unavailable *block.UnavailableError
	if err := fetch(t, s, t.Context(), bs[0].Cid()); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("an unknown certificate: %v", err)
	}
	if n := requests(s, outcomeError); n != 1 {
		t.Errorf("a certificate does not get better by asking %d times", n)
	}
	s = open(t, gatewayOptions(srv.URL))
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	transportOf(s, 0).TLSClientConfig.RootCAs = pool
	var wg sync.WaitGroup
	for range 4 {
		for _, b := range bs {
			wg.Go(func() {
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if other.Load() != 0 {
		t.Errorf("%d requests not over HTTP/2", other.Load())
	}
}

func countConns(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

func TestGatewayReusesConnections(t *testing.T) {
	b := makeBlock(t, 256<<10)
	srv := httptest.NewUnstartedServer(newTrustless(b))
	var conns atomic.Int64
	srv.Config.ConnState = countConns(&conns)
	srv.Start()
	t.Cleanup(srv.Close)
	o := gatewayOptions(srv.URL)
	o.Concurrency = 8
	s := open(t, o)
	for range 50 {
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
			t.Fatal(err)
		}
		if err := fetch(t, s, t.Context(), makeBlock(t, 10).Cid()); !ipld.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("100 requests in a row took %d connections", n)
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 10 {
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// net/http may dial for a request that then gets a connection that came back.
	if n := conns.Load(); n > 4*int64(o.Concurrency) {
		t.Errorf("320 requests, 8 at once, took %d connections", n)
	}
}

// raw answers with exactly these bytes and closes the connection.
func raw(response string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, response)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, "an error page")
	}
}

func body(data []byte, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Write(data)
	}
}

func gzipped(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

// endless sends without a length until the client has enough.
func endless(sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 64<<10)
		for {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// TestGatewayMisbehaves meets every wrong answer: nothing is returned, the error
// says what was wrong, it is counted, and retried only when that may help.
func TestGatewayMisbehaves(t *testing.T) {
	b := makeBlock(t, 1000)
	text := string(b.RawData())
	var sent atomic.Int64
	t.Cleanup(func() {
		if n := sent.Load(); n > 16<<20 {
			t.Errorf("took %d bytes of an endless body", n)
		}
	})
	for name, tc := range map[string]struct {
		h       http.Handler
		outcome outcome
		tries   int
		want    string
		is      error
	}{
		"wrong bytes":        {body(make([]byte, 1000), "Content-Type", rawType), outcomeMismatch, 1, "do not match", block.ErrMismatch},
		"no bytes":           {body(nil, "Content-Type", rawType), outcomeMismatch, 1, "do not match", block.ErrMismatch},
		"one byte more":      {body(append([]byte(text), 0)), outcomeMismatch, 1, "do not match", block.ErrMismatch},
		"a web page":         {body([]byte("<html>log in first"), "Content-Type", "text/html; charset=utf-8"), outcomeMismatch, 1, `content type "text/html"`, block.ErrMismatch},
		"gzip":               {body(gzipped(b.RawData()), "Content-Encoding", "gzip"), outcomeMismatch, 1, `encoded as "gzip"`, block.ErrMismatch},
		"a bomb":             {body(gzipped(make([]byte, 8<<20)), "Content-Encoding", "gzip"), outcomeMismatch, 1, "encoded", block.ErrMismatch},
		"too much announced": {raw("HTTP/1.1 200 OK\r\nContent-Length: 2097153\r\n\r\n"), outcomeTooLarge, 1, "announces 2097153 bytes", block.ErrTooLarge},
		"terabytes":          {raw("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n"), outcomeTooLarge, 1, "announces", block.ErrTooLarge},
		"endless":            {endless(&sent), outcomeTooLarge, 1, "more than 2097152 bytes", block.ErrTooLarge},
		"cut off":            {raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + text[:500]), outcomeError, 3, "after 500 bytes", io.ErrUnexpectedEOF},
		"cut off in a chunk": {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + text[:500]), outcomeError, 3, "after 500 bytes", io.ErrUnexpectedEOF},
		"cut off in header":  {raw("HTTP/1.1 200 OK\r\nContent-Le"), outcomeError, 3, "malformed MIME header", nil},
		"hangs up":           {raw(""), outcomeError, 3, "EOF", nil},
		"not HTTP":           {raw("SSH-2.0-OpenSSH_9.9\r\n"), outcomeError, 3, "malformed HTTP", nil},
		"headers for ever":   {raw("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 100)), outcomeError, 3, "headers exceeded", nil},
		"500":                {status(500), outcomeError, 3, "status 500", nil},
		"502":                {status(502), outcomeError, 3, "status 502", nil},
		"503":                {status(503), outcomeError, 3, "status 503", nil},
		"503 come at once":   {status(503, "Retry-After", "0"), outcomeError, 3, "status 503", nil},
		"504":                {status(504), outcomeError, 1, "status 504", nil},
		"400":                {status(400), outcomeRefused, 1, "format=raw", nil},
		"401":                {status(401), outcomeRefused, 1, "check the origin's token", nil},
		"403":                {status(403), outcomeRefused, 1, "check the origin's token", nil},
		"418":                {status(418), outcomeRefused, 1, "status 418", nil},
		"204":                {raw("HTTP/1.1 204 No Content\r\n\r\n"), outcomeError, 1, "status 204", nil},
		"206":                {raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx"), outcomeError, 1, "status 206", nil},
		"304":                {raw("HTTP/1.1 304 Not Modified\r\n\r\n"), outcomeError, 1, "status 304", nil},
		"301 to nowhere":     {raw("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n"), outcomeError, 1, "status 301", nil},
		"redirects for ever": {http.RedirectHandler("/again", http.StatusFound), outcomeError, 1, "redirect refused: more than", errRedirect},
		"redirect to a file": {http.RedirectHandler("file:///etc/passwd", http.StatusFound), outcomeError, 1, "redirect refused: from http to file", errRedirect},
		"429 of a minute":    {status(429, "Retry-After", "60"), outcomeThrottled, 1, "status 429", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/again" {
					n.Add(1)
				}
				tc.h.ServeHTTP(w, r)
			}))
			s := open(t, gatewayOptions(srv.URL))
			err := fetch(t, s, t.Context(), b.Cid())
			var unavailable *block.UnavailableError
			if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Fatalf("got %v, want ...%s...", err, tc.want)
			}
			if strings.Contains(err.Error(), "/ipfs/") {
				t.Errorf("the URL is in the error: %v", err)
			}
			if int(n.Load()) != tc.tries || requests(s, tc.outcome) != tc.tries {
				t.Errorf("%d requests, %d counted as %s, want %d", n.Load(), requests(s, tc.outcome), tc.outcome, tc.tries)
			}
		})
	}
}

func TestGatewaySaysNotFound(t *testing.T) {
	for _, code := range []int{404, 410, 451} {
		s := open(t, gatewayOptions(serve(t, status(code)).URL))
		if err := fetch(t, s, t.Context(), makeBlock(t, 1).Cid()); !ipld.IsNotFound(err) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestRetryHelps(t *testing.T) {
	b := makeBlock(t, 1000)
	for name, first := range map[string]http.Handler{
		"500": status(500), "hangs up": raw(""), "408": status(408),
		"cut off": raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + string(b.RawData()[:500])),
	} {
		t.Run(name, func(t *testing.T) {
			g, n := newTrustless(b), atomic.Int64{}
			s := open(t, gatewayOptions(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) == 1 {
					first.ServeHTTP(w, r)
					return
				}
				g.ServeHTTP(w, r)
			})).URL))
			if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOriginsAreAskedInOrder(t *testing.T) {
	b := makeBlock(t, 1000)
	good := newTrustless(b)
	gw := func(h http.Handler) Spec { return Spec{Type: TypeGateway, URL: serve(t, h).URL} }
	full := Spec{Type: TypeCAR, Path: writeCAR(t, t.TempDir()+"/full.car", []*block.Verified{b})}
	empty := Spec{Type: TypeCAR, Path: writeCAR(t, t.TempDir()+"/empty.car", []*block.Verified{makeBlock(t, 1)})}
	damaged := Spec{Type: TypeCAR, Path: writeCAR(t, t.TempDir()+"/damaged.car", []*block.Verified{b})}
	for name, tc := range map[string]struct {
		specs []Spec
		want  string
	}{
		"first has it":         {[]Spec{full, gw(status(500))}, "ok"},
		"second has it":        {[]Spec{gw(status(404)), gw(good)}, "ok"},
		"first is broken":      {[]Spec{gw(status(403)), gw(good)}, "ok"},
		"first lies":           {[]Spec{gw(body([]byte("x"))), full}, "ok"},
		"first is damaged":     {[]Spec{damaged, gw(good)}, "ok"},
		"nobody has it":        {[]Spec{gw(status(404)), empty, gw(status(410))}, "not found"},
		"missing, then broken": {[]Spec{gw(status(404)), gw(status(403))}, "unavailable"},
		"broken, then missing": {[]Spec{gw(status(403)), empty}, "unavailable"},
		"both broken":          {[]Spec{gw(status(403)), gw(status(429, "Retry-After", "20")), gw(status(429, "Retry-After", "10"))}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.Origins = tc.specs
			s := open(t, o)
			overwrite(t, damaged.Path, 300, []byte("damage"))
			err := fetch(t, s, t.Context(), b.Cid())
			var unavailable *block.UnavailableError
			switch {
			case err == nil && tc.want == "ok":
			case ipld.IsNotFound(err) && tc.want == "not found":
			case errors.As(err, &unavailable) && tc.want == "unavailable":
				if name == "both broken" && (unavailable.RetryAfter != 10*time.Second || strings.Count(unavailable.From, ",") != 2) {
					t.Errorf("retry after %s, from %s", unavailable.RetryAfter, unavailable.From)
				}
			default:
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestCallerCancels(t *testing.T) {
	arrived := make(chan struct{}, 1)
	srv := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	s := open(t, gatewayOptions(srv.URL, srv.URL))
	why := errors.New("the visitor went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-arrived; cancel(why) }()
	if err := fetch(t, s, ctx, makeBlock(t, 1).Cid()); !errors.Is(err, why) || ipld.IsNotFound(err) {
		t.Fatalf("got %v", err)
	}
	if n := requests(s, outcomeCanceled); n != 1 {
		t.Errorf("%d requests canceled", n)
	}
	if err := fetch(t, s, ctx, makeBlock(t, 1).Cid()); !errors.Is(err, why) {
		t.Fatalf("canceled before: %v", err)
	}
}

func TestCloseEndsRequests(t *testing.T) {
	arrived := make(chan struct{}, 1)
	srv := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	s := open(t, gatewayOptions(srv.URL))
	go func() { <-arrived; s.Close() }()
	c := makeBlock(t, 1).Cid()
	for range 2 {
		if err := fetch(t, s, t.Context(), c); !errors.Is(err, errClosed) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestCredentialsStayWithTheOrigin(t *testing.T) {
	b := makeBlock(t, 1000)
	good := newTrustless(b)
	check := func(want string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization") + r.Header.Get("X-Key"); got != want {
				t.Errorf("%s: credentials %q, want %q", r.URL, got, want)
			}
			if r.Header.Get("Referer") != "" {
				t.Error("a Referer is sent")
			}
			good.ServeHTTP(w, r)
		}
	}
	elsewhere := serve(t, check(""))
	mux := http.NewServeMux()
	mux.HandleFunc("/away/ipfs/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+strings.TrimPrefix(r.URL.String(), "/away"), http.StatusFound)
	})
	var want string
	mux.HandleFunc("/near/ipfs/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.TrimPrefix(r.URL.String(), "/near"), http.StatusFound)
	})
	mux.HandleFunc("/ipfs/", func(w http.ResponseWriter, r *http.Request) { check(want)(w, r) })
	mux.HandleFunc("/broken/", status(403))
	srv := serve(t, mux)
	basic := strings.Replace(srv.URL, "http://", "http://user:secret@", 1)
	for _, tc := range []struct{ url, token, sent string }{
		{srv.URL, "secret", "Bearer secret"}, {basic, "", "Basic dXNlcjpzZWNyZXQ="},
	} {
		want = tc.sent + "secret"
		for _, path := range []string{"", "/near", "/away", "/broken"} {
			o := DefaultOptions()
			o.Origins = []Spec{{Type: TypeGateway, URL: tc.url + path, Token: tc.token, Headers: map[string]string{"X-Key": "secret"}}}
			err := fetch(t, open(t, o), t.Context(), b.Cid())
			if path != "/broken" && err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if path == "/broken" && (err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "user")) {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestNoRedirectFromHTTPSToHTTP(t *testing.T) {
	b := makeBlock(t, 10)
	plain := serve(t, newTrustless(b))
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.String(), http.StatusFound)
	}))
	t.Cleanup(srv.Close)
	s := open(t, gatewayOptions(srv.URL))
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	transportOf(s, 0).TLSClientConfig.RootCAs = pool
	if err := fetch(t, s, t.Context(), b.Cid()); !errors.Is(err, errRedirect) || !strings.Contains(err.Error(), "from https to http") {
		t.Fatalf("got %v", err)
	}
}

// TestNoRedirectInward: an origin must not make an edge send requests into the
// network behind it. The same host on another port is fine, see above.
func TestNoRedirectInward(t *testing.T) {
	b := makeBlock(t, 10)
	inside := newTrustless(b)
	target := strings.Replace(serve(t, inside).URL, "127.0.0.1", "localhost", 1)
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target+r.URL.String(), http.StatusFound)
	}))
	s := open(t, gatewayOptions(srv.URL))
	if err := fetch(t, s, t.Context(), b.Cid()); !errors.Is(err, errRedirect) || !strings.Contains(err.Error(), "not a public address") {
		t.Errorf("got %v", err)
	}
	if inside.requests.Load() != 0 || requests(s, outcomeError) != 1 {
		t.Errorf("%d requests inside, %d made", inside.requests.Load(), requests(s, outcomeError))
	}
}

func TestPublicAddresses(t *testing.T) {
	for addr, public := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true,
		"127.0.0.1:80": false, "10.1.2.3:80": false, "172.16.0.1:80": false, "192.168.1.1:80": false,
		"169.254.169.254:80": false, "100.64.0.1:80": false, "0.0.0.0:80": false, "224.0.0.1:80": false,
		"[::1]:80": false, "[::]:80": false, "[fe80::1]:80": false, "[fd00::1]:80": false, "[::ffff:10.0.0.1]:80": false,
		"nonsense": false,
	} {
		if err := publicOnly("tcp", addr, nil); (err == nil) != public {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestUnreachableOrigin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := open(t, gatewayOptions("http://user:secret@"+l.Addr().String()))
	err = fetch(t, s, t.Context(), makeBlock(t, 1).Cid())
	var unavailable *block.UnavailableError
	if !errors.As(err, &unavailable) || strings.Contains(err.Error(), "secret") || requests(s, outcomeError) != 3 {
		t.Fatalf("got %v after %d requests", err, requests(s, outcomeError))
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": -1, "soon": -1, "-5": -1, "1.5": -1, "99999999999999999999": -1,
		"0": 0, "120": 2 * time.Minute,
		"Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		got, ok := retryAfter(value, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %s, %v", value, got, ok)
		}
	}
}

func BenchmarkGatewayGet(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			blk := makeBlock(b, size)
			s := open(b, gatewayOptions(serve(b, newTrustless(blk)).URL))
			benchmarkGet(b, s, blk)
		})
	}
}

// BenchmarkBareHTTP is what a request over loopback costs without an origin.
func BenchmarkBareHTTP(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			srv := serve(b, body(make([]byte, size)))
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				resp, err := client.Get(srv.URL)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, bufio.NewReader(resp.Body))
				resp.Body.Close()
			}
		})
	}
}

func benchmarkGet(b *testing.B, s *Set, blk *block.Verified) {
	b.SetBytes(int64(len(blk.RawData())))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Get(b.Context(), blk.Cid()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCARGet(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			blk := makeBlock(b, size)
			s := open(b, carOptions(writeCAR(b, b.TempDir()+"/x.car", []*block.Verified{blk})))
			benchmarkGet(b, s, blk)
		})
	}
}
