package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The same requests to two gateways, one of which keeps answers: status, headers
// and bytes must be the same, the first time and ever after.

// twins are the two gateways, with connections that stay open.
type twins struct {
	t         testing.TB
	hot, cold *twin
	shelf     *shelf
	hosts     []string
	paths     []string
	tags      []string
	tree      string
	oracle    bool // cold never encodes
	encoded   int  // answers that were
}

type twin struct {
	*edge
	addr string
	conn net.Conn
	r    *bufio.Reader
}

func newTwins(t testing.TB, oracle bool, change func(*Options)) *twins {
	t.Helper()
	w := &twins{t: t, shelf: newShelf(), oracle: oracle}
	root := website(t, w.shelf)
	long := strings.Repeat("a long line of text, ", 60_000) // 1.2 MB
	tree := w.shelf.tree(t, map[string]string{
		"index.html": "<h1>home</h1>", "empty.txt": "", "noext": "plain text without an extension",
		"big.txt": strings.Repeat("0123456789", 1000), "long.txt": long, "a b.txt": "space", "ü.txt": "umlaut",
		"page.html": "<html>" + lines(200), "noise.txt": noise(3000), "wide.css": strings.Repeat("a{color:red}\n", 8_000),
		"lost.html": strings.Repeat("<p>lost</p>", 300), "_redirects": "/lost/* /lost.html 404\n/shown/* /page.html 200\n",
		"many/" + strings.Repeat("x", 100): "1", "many/" + strings.Repeat("y", 100): "2",
		"sub/index.html": "<h1>sub</h1>", "sub/data.json": `{"a":1}`, "plain/x.css": "body{}", "image.png": "\x89PNG\r\n\x1a\n1234",
	})
	w.tree = tree.String()
	w.hosts = []string{
		"www.example.org", "WWW.example.org:8080", "named.example.org", "127.0.0.1", "localhost", "gw.example.org",
		root.String() + ".ipfs.localhost", tree.String() + ".ipfs.localhost:8080", "named-example-org.ipns.localhost", "unknown.example.net", "",
	}
	files := []string{
		"/", "/index.html", "/empty.txt", "/noext", "/big.txt", "/long.txt", "/a%20b.txt", "/%C3%BC.txt", "/sub", "/sub/", "/sub/data.json",
		"/plain/", "/plain/x.css", "/image.png", "/none", "/css/site.css", "/page.html", "/page.html", "/noise.txt", "/wide.css", "/lost/x", "/shown/x", "/many/", "/sub//data.json", "/plain/../index.html", "/%2e%2e/x", "/old/page", "/app/deep",
	}
	w.paths = append(w.paths, files...)
	for _, f := range files {
		w.paths = append(w.paths, "/ipfs/"+tree.String()+f, "/ipfs/"+tree.String()+f, "/ipns/www.example.org"+f)
	}
	leaf := w.shelf.child(t, tree, "sub", "data.json")
	cbor := w.shelf.raw(t, 0x71, []byte("\xa1\x61a\xa1\x61b\x01"))
	w.paths = append(w.paths, "/ipfs/"+leaf.String(), "/ipfs/"+cbor.String(), "/ipfs/"+cbor.String()+"/a", "/ipfs/bafkqaaa", "/ipfs/nonsense", "/ipfs/", "*")
	for _, name := range []string{"index.html", "big.txt", "noext", "long.txt", "page.html", "wide.css"} {
		w.tags = append(w.tags, `"`+w.shelf.child(t, tree, name).String()+`"`)
	}
	w.tags = append(w.tags, `"`+tree.String()+`"`, `"`+leaf.String()+`"`, `"`+root.String()+`"`)
	for _, side := range []**twin{&w.hot, &w.cold} {
		e := newEdge(t, func(o *Options, e *edge) {
			e.shelf, e.log.discard = w.shelf, true
			e.names.set("named.example.org", "/ipfs/"+tree.String())
			o.Sites = []Site{{"www.example.org", "/ipfs/" + tree.String()}, {"named.example.org", ContentDNSLink}}
			change(o)
			if side == &w.cold {
				o.HotBytes = 0
				o.Compression = o.Compression && !w.oracle
			}
		})
		*side = serveTwin(t, e)
	}
	return w
}

func serveTwin(t testing.TB, e *edge) *twin {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx, ln) }()
	s := &twin{edge: e, addr: ln.Addr().String()}
	t.Cleanup(func() {
		if s.conn != nil {
			_ = s.conn.Close()
		}
		cancel()
		<-done
	})
	return s
}

// said is an answer in a form that can be compared.
type said struct {
	status int
	header http.Header
	body   string
}

// ask sends the bytes of a request, on the connection of the last one if possible.
func (s *twin) ask(t testing.TB, method string, request []byte) said {
	t.Helper()
	for attempt := range 2 {
		if s.conn == nil {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			s.conn, s.r = conn, bufio.NewReader(conn)
		}
		_ = s.conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, err := s.conn.Write(request)
		var a said
		if err == nil {
			a, err = s.read(method)
		}
		if err == nil {
			return a
		}
		_ = s.conn.Close()
		s.conn = nil // it may have been closed after the answer before
		if attempt > 0 {
			t.Fatalf("%s: %v", request, err)
		}
	}
	panic("unreachable")
}

func (s *twin) read(method string) (said, error) {
	res, err := http.ReadResponse(s.r, &http.Request{Method: method})
	if err != nil {
		return said{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return said{}, err
	}
	if res.Close {
		_ = s.conn.Close()
		s.conn = nil
	}
	h := res.Header
	if res.ContentLength >= 0 {
		h.Set("Content-Length", fmt.Sprint(res.ContentLength))
	}
	for _, name := range []string{"Date", "Server-Timing", "Cache-Status"} {
		if res.StatusCode < 400 && method != http.MethodOptions && h.Get(name) == "" {
			return said{}, fmt.Errorf("%d without %s", res.StatusCode, name)
		}
		h.Del(name)
	}
	return said{res.StatusCode, h, string(body)}, nil
}

// request makes up a request. Most are ordinary: what is kept has to come up again.
func (w *twins) request(rng *rand.Rand) (method string, request []byte) {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	seldom := func(n int) bool { return rng.IntN(n) == 0 }
	method = "GET"
	if seldom(6) {
		method = pick("HEAD", "HEAD", "HEAD", "OPTIONS", "POST", "BREW")
	}
	target := pick(w.paths...)
	if seldom(12) {
		target += pick("?", "?format=raw", "?format=car", "?filename=x.txt&download=true", "?x", "?uri=a", "?go-get=1", "?format=json")
	}
	host := pick(w.hosts...)
	if !seldom(3) { // content that is encoded comes up often enough
		host, target = "127.0.0.1", "/ipfs/"+w.tree+pick("/big.txt", "/page.html", "/page.html", "/wide.css", "/noise.txt", "/many/")
		if seldom(3) {
			host, target = pick("www.example.org", w.tree+".ipfs.localhost:8080"), pick("/page.html", "/big.txt", "/wide.css", "/lost/x", "/shown/x")
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\nHost: %s\r\n", method, target, min(1, rng.IntN(20)), host)
	tag := pick(w.tags...)
	for _, h := range []struct {
		odds   int
		values []string
	}{
		{3, []string{
			"Range: bytes=0-", "Range: bytes=0-0", "Range: bytes=5-9", "Range: bytes=-5", "Range: bytes=3-", "Range: bytes=-0",
			"Range: bytes=9000-99999999", "Range: bytes=1000000-1100000", "Range: bytes=99999999-", "Range: bytes=5-3", "Range: bytes=0-1,4-5",
			"Range: bytes= 0-3", "Range: bytes=0-3 ", "Range: items=0-3", "Range: bytes=+1-3", "Range: bytes=-99999999", "Range: bytes=0-9223372036854775807",
			"Range: bytes=0-3\r\nRange: bytes=4-5", "Range: bytes=1023-1024", "Range: bytes=-1,", "Range: ",
		}},
		{4, []string{
			"If-None-Match: " + tag, "If-None-Match: W/" + tag, `If-None-Match: "x", ` + tag, "If-None-Match: *", `If-None-Match: "other"`,
			"If-None-Match: ", "If-None-Match: " + strings.Trim(tag, `"`), `If-None-Match: "DirIndex-x_CID-` + strings.Trim(tag, `"`) + `"`,
			"If-None-Match: " + tag + "x", "If-None-Match: " + tag + " ", "If-None-Match: \"x\"\r\nIf-None-Match: " + tag,
		}},
		{12, []string{"If-Match: " + tag, `If-Match: "other"`, "If-Match: *", "If-Range: " + tag, `If-Range: "other"`}},
		{12, []string{"If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"}},
		{5, []string{
			"Accept: */*", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept: application/vnd.ipld.raw",
			"Accept: text/html, application/vnd.ipld.car; version=1", "Accept: application/json", "Accept: text/html,application/jsonish", "Accept: image/png",
			"Accept: */*\r\nAccept: application/vnd.ipld.raw",
		}},
		{2, []string{
			"Accept-Encoding: gzip, deflate, br, zstd", "Accept-Encoding: gzip", "Accept-Encoding: zstd;q=0.5", "Accept-Encoding: br;q=0.1, gzip;q=0.8",
			"Accept-Encoding: identity", "Accept-Encoding: *;q=0", "Accept-Encoding: *", "Accept-Encoding: ", "Accept-Encoding: identity;q=0, br", "Accept-Encoding: nonsense",
			"Accept-Encoding: gzip;q=0, *;q=0.5", "Accept-Encoding: gzip;q=2, br;q=x", "Accept-Encoding: GZIP", "Accept-Encoding: identity, gzip;q=0.5", "Accept-Encoding: zstd\r\nAccept-Encoding: br;q=0",
			"Accept-Encoding: gzip\r\nCache-Control: no-transform",
		}},
		{12, []string{"Cache-Control: only-if-cached", "Cache-Control: no-cache", "Cache-Control: max-age=0, only-if-cached"}},
		{15, []string{"X-Forwarded-Host: www.example.org", "X-Forwarded-Proto: https", "Forwarded: host=www.example.org"}},
		{15, []string{"Service-Worker: script", "Origin: http://elsewhere.example", "Cookie: a=b", "Content-Length: 0", "Connection: close", "Referer: x"}},
	} {
		if seldom(h.odds) {
			b.WriteString(pick(h.values...) + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return method, b.Bytes()
}

// compare asks both, the one that keeps answers several times.
func (w *twins) compare(rng *rand.Rand) {
	w.t.Helper()
	method, request := w.request(rng)
	want := w.cold.ask(w.t, method, request)
	wasEncoded := w.decode(method, request, &want)
	for i := range 3 {
		got := w.hot.ask(w.t, method, request)
		encoded := w.decode(method, request, &got)
		if method == http.MethodHead && (encoded || wasEncoded) {
			// Without a form at hand, HEAD tells of the content as it is; and of two forms in
			// one coding, one may have been made with more effort.
			got.header.Del("Content-Length")
			want.header.Del("Content-Length")
		}
		if w.oracle {
			// Who never encodes has nothing that varies.
			got.header.Del("Vary")
			want.header.Del("Vary")
		}
		if w.oracle && got.status == http.StatusNotModified {
			got.header.Set("Etag", strings.TrimPrefix(got.header.Get("Etag"), "W/"))
		}
		if got.status != want.status || got.body != want.body || !sameHeader(got.header, want.header) {
			w.t.Fatalf("answer %d to\n%s\ngot  %d %v %.200q (%d)\nwant %d %v %.200q (%d)", i+1, request,
				got.status, got.header, got.body, len(got.body), want.status, want.header, want.body, len(want.body))
		}
	}
}

// decode takes the coding off an answer, and checks that it was right to be there.
// It reports whether there was one.
func (w *twins) decode(method string, request []byte, a *said) bool {
	w.t.Helper()
	name := a.header.Get("Content-Encoding")
	if name == "" {
		return false
	}
	w.encoded++
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		w.t.Fatal(err)
	}
	asked := strings.ToLower(strings.Join(r.Header["Accept-Encoding"], ","))
	etag, tagged := strings.CutPrefix(a.header.Get("Etag"), "W/")
	if strings.HasPrefix(etag, `"DirIndex-`) { // of pages that are made here, each form has its own
		etag, tagged = strings.CutSuffix(etag, "-"+name+`"`)
		etag += `"`
	}
	switch {
	case !strings.Contains(asked, name) && !strings.Contains(asked, "*"), strings.Contains(asked, name+";q=0,"):
		w.t.Fatalf("%s was not asked for by\n%s", name, request)
	case a.status == http.StatusPartialContent, a.status == http.StatusNotModified, strings.Contains(r.Header.Get("Cache-Control"), "no-transform"):
		w.t.Fatalf("%d in %s for\n%s", a.status, name, request)
	case !tagged, !strings.HasSuffix(a.header.Get("Vary"), "Accept-Encoding"), strings.Contains(etag, "."), a.header.Get("Content-Range") != "":
		w.t.Fatalf("%v for\n%s", a.header, request)
	}
	a.header.Del("Content-Encoding")
	a.header.Set("Etag", etag)
	if method != http.MethodHead {
		if fmt.Sprint(len(a.body)) != a.header.Get("Content-Length") {
			w.t.Fatalf("%d bytes, %v", len(a.body), a.header)
		}
		before := len(a.body)
		a.body = decoded(w.t, name, a.body)
		if before >= len(a.body) {
			w.t.Fatalf("%d bytes in %s are not smaller than %d", before, name, len(a.body))
		}
		a.header.Set("Content-Length", fmt.Sprint(len(a.body)))
	}
	return true
}

func sameHeader(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

func TestHotAnswersAreTheSame(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"any":       func(*Options) {},
		"oracle":    func(*Options) {},
		"identity":  func(o *Options) { o.Compression = false },
		"sites":     func(o *Options) { o.Serve = ServeSites },
		"no bodies": func(o *Options) { o.HotBodies = false },
		"tiny":      func(o *Options) { o.HotBytes = 64 << 10 },
		"proxied":   func(o *Options) { o.TrustedProxies = []string{"127.0.0.1"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTwins(t, name == "oracle", change)
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			for range 400 {
				w.compare(rng)
			}
			hits := w.hot.series(t)
			served := 0.0
			for series, n := range hits {
				if strings.HasPrefix(series, "shoal_http_requests_total{cache=hit,") {
					served += n
				}
			}
			if _, routes := w.hot.hot.Size(); routes == 0 || served < 200 {
				t.Errorf("%d routes, %v hits: nothing was compared", routes, served)
			}
			t.Logf("%s: %v hits, %d encoded answers", name, served, w.encoded)
			if (w.encoded < 40) != (name == "identity") {
				t.Errorf("%d answers were encoded", w.encoded)
			}
		})
	}
}

// FuzzHotAnswersAreTheSame draws requests from seeds that the fuzzer chooses.
func FuzzHotAnswersAreTheSame(f *testing.F) {
	w := newTwins(f, false, func(o *Options) { o.Serve = ServeSites })
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		w.t = t
		rng := rand.New(rand.NewPCG(a, b))
		for range 4 {
			w.compare(rng)
		}
	})
}
