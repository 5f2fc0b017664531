package lane

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const host = "Host: www.example.org\r\n"

func TestWhatIsTaken(t *testing.T) {
	var r Request
	for name, request := range map[string]string{
		"GET":                        "GET / HTTP/1.1\r\n" + host + "\r\n",
		"HEAD":                       "HEAD /x HTTP/1.1\r\n" + host + "\r\n",
		"a port":                     "GET / HTTP/1.1\r\nHost: www.example.org:8080\r\n\r\n",
		"an IPv4 address":            "GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
		"names in any case":          "GET / HTTP/1.1\r\nhOST: www.example.org\r\naCCEPT: a\r\n\r\n",
		"no space after the colon":   "GET / HTTP/1.1\r\nHost:www.example.org\r\n\r\n",
		"spaces around a value":      "GET / HTTP/1.1\r\nHost: \t www.example.org \t\r\nRange: \tbytes=0-1 \r\n\r\n",
		"an empty value":             "GET / HTTP/1.1\r\n" + host + "Accept:\r\nX:\r\n\r\n",
		"a colon and tab in a value": "GET / HTTP/1.1\r\n" + host + "User-Agent: a:b\tc\r\n\r\n",
		"all kinds of token":         "GET / HTTP/1.1\r\n" + host + "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n",
		"a name that is long":        "GET / HTTP/1.1\r\n" + host + strings.Repeat("x", 100) + ": y\r\n\r\n",
		"several values":             "GET / HTTP/1.1\r\n" + host + "Accept: a\r\nRange: r\r\nAccept: b\r\nAccept: c\r\n\r\n",
		"close":                      "GET / HTTP/1.1\r\n" + host + "Connection: Close\r\n\r\n",
		"keep-alive":                 "GET / HTTP/1.1\r\n" + host + "Connection: Keep-Alive\r\n\r\n",
		"close after keep-alive":     "GET / HTTP/1.1\r\n" + host + "Connection: keep-alive\r\nConnection: close\r\n\r\n",
		"odd but valid targets":      "GET //a/../b;c=d&e|f\"<>\\^`{}%e2%82%AC HTTP/1.1\r\n" + host + "\r\n",
		"all the lines":              "GET / HTTP/1.1\r\n" + host + strings.Repeat("Accept: a\r\n", maxFields-1) + "\r\n",
		"the longest":                "GET /" + strings.Repeat("x", MaxHead-len("GET / HTTP/1.1\r\n"+host+"\r\n")) + " HTTP/1.1\r\n" + host + "\r\n",
	} {
		for _, more := range []string{"", "G", "GET / HTTP/1.1\r\n\r\n", "\x00\r\n\r\n"} {
			n, verdict := r.Read([]byte(request + more))
			if verdict != Take || n != len(request) {
				t.Errorf("%s: %d bytes, %v", name, n, verdict)
			}
			agree(t, &r, []byte(request+more), n)
		}
		prefixes(t, []byte(request))
	}
}

// What is not taken; net/http may take it or refuse it.
func TestWhatIsLeft(t *testing.T) {
	get := "GET / HTTP/1.1\r\n"
	var r Request
	for name, request := range map[string]string{
		"RFC 9112, 2.2: a bare LF ends the request line":  "GET / HTTP/1.1\n" + host + "\r\n",
		"RFC 9112, 2.2: a bare LF ends a field line":      get + "Host: a\nX: y\r\n\r\n",
		"RFC 9112, 2.2: a bare LF ends the head":          get + "Host: a\r\n\n",
		"RFC 9112, 2.2: a bare CR in a value":             get + host + "X: a\rb\r\n\r\n",
		"RFC 9112, 2.2: a bare CR before the line end":    get + host + "X: a\r\r\n\r\n",
		"RFC 9112, 2.2: an empty line before the request": "\r\n" + get + host + "\r\n",
		"RFC 9112, 2.2: a space before the first field":   get + " X: y\r\n" + host + "\r\n",
		"RFC 9112, 2.3: HTTP/1.0":                         "GET / HTTP/1.0\r\n" + host + "\r\n",
		"RFC 9112, 2.3: HTTP/1.2":                         "GET / HTTP/1.2\r\n" + host + "\r\n",
		"RFC 9112, 2.3: HTTP/2.0":                         "GET / HTTP/2.0\r\n" + host + "\r\n",
		"RFC 9112, 2.3: http in lower case":               "GET / http/1.1\r\n" + host + "\r\n",
		"RFC 9112, 2.3: no version":                       "GET /\r\n" + host + "\r\n",
		"RFC 9112, 3: two spaces behind the method":       "GET  / HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: two spaces before the version":      "GET /  HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: a tab behind the method":            "GET\t/ HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: a space at the line's end":          "GET / HTTP/1.1 \r\n" + host + "\r\n",
		"RFC 9112, 3: a space before the method":          " GET / HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: a space in the target":              "GET /a b HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: NUL in the target":                  "GET /\x00 HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: DEL in the target":                  "GET /\x7f HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3: bytes beyond ASCII in the target":   "GET /\u00fc HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.1: another method":                   "POST / HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.1: a method in lower case":           "get / HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.1: a longer method":                  "GETS / HTTP/1.1\r\n" + host + "\r\n",
		"RFC 3986, 2.1: half an escape":                   "GET /%a HTTP/1.1\r\n" + host + "\r\n",
		"RFC 3986, 2.1: an escape that is none":           "GET /%zz HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2.1: a query":                        "GET /?x HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2.1: an empty query":                 "GET /? HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2: a fragment":                       "GET /#x HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2.2: absolute form":                  "GET http://www.example.org/ HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2.3: authority form":                 "CONNECT www.example.org:80 HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2.4: asterisk form":                  "GET * HTTP/1.1\r\n" + host + "\r\n",
		"RFC 9112, 3.2: no Host":                          get + "\r\n",
		"RFC 9112, 3.2: two Hosts":                        get + host + host + "\r\n",
		"RFC 9112, 3.2: two Hosts in different cases":     get + host + "hOST: x\r\n\r\n",
		"RFC 9112, 3.2: an empty Host":                    get + "Host:\r\n\r\n",
		"RFC 9112, 3.2: a Host with a path":               get + "Host: a/b\r\n\r\n",
		"RFC 9112, 3.2: a Host with a user":               get + "Host: a@b\r\n\r\n",
		"RFC 9112, 3.2: two Hosts in one":                 get + "Host: a, b\r\n\r\n",
		"RFC 9112, 3.2: a Host with an empty port":        get + "Host: a:\r\n\r\n",
		"RFC 9112, 3.2: a Host with a port that is none":  get + "Host: a:8o\r\n\r\n",
		"RFC 9112, 3.2: a Host with a long port":          get + "Host: a:000080\r\n\r\n",
		"RFC 9112, 3.2: a Host of a port only":            get + "Host: :80\r\n\r\n",
		"RFC 9112, 3.2: a Host that is an IPv6 address":   get + "Host: [::1]\r\n\r\n",
		"RFC 9112, 3.2: a Host with an escape":            get + "Host: a%2eb\r\n\r\n",
		"RFC 9112, 5: a line without a colon":             get + host + "X\r\n\r\n",
		"RFC 9112, 5: a line without a name":              get + host + ": x\r\n\r\n",
		"RFC 9112, 5.1: a space before the colon":         get + host + "X : y\r\n\r\n",
		"RFC 9112, 5.1: a tab before the colon":           get + host + "X\t: y\r\n\r\n",
		"RFC 9112, 5.1: a space in a name":                get + host + "X y: z\r\n\r\n",
		"RFC 9112, 5.1: a name beyond ASCII":              get + host + "\u00fc: z\r\n\r\n",
		"RFC 9112, 5.1: a slash in a name":                get + host + "X/y: z\r\n\r\n",
		"RFC 9112, 5.2: a line that is folded":            get + host + "X: y\r\n z\r\n\r\n",
		"RFC 9112, 5.2: a line that is folded by a tab":   get + host + "X: y\r\n\tContent-Length: 5\r\n\r\n",
		"RFC 9110, 5.5: NUL in a value":                   get + host + "X: a\x00b\r\n\r\n",
		"RFC 9110, 5.5: another control character":        get + host + "X: a\x1bb\r\n\r\n",
		"RFC 9110, 5.5: DEL in a value":                   get + host + "X: a\x7fb\r\n\r\n",
		"RFC 9110, 5.5: obs-text in a value":              get + host + "X: a\xffb\r\n\r\n",
		"RFC 9112, 6.1: chunks":                           get + host + "Transfer-Encoding: chunked\r\n\r\n",
		"RFC 9112, 6.1: chunks, in other words":           get + host + "tRANSFER-eNCODING: x\r\n\r\n",
		"RFC 9112, 6.1: both":                             get + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"RFC 9112, 6.2: a length":                         get + host + "Content-Length: 3\r\n\r\nabc",
		"RFC 9112, 6.2: a length of nothing":              get + host + "Content-Length: 0\r\n\r\n",
		"RFC 9112, 6.2: two lengths":                      get + host + "Content-Length: 0\r\nContent-Length: 3\r\n\r\n",
		"RFC 9112, 6.5: trailers":                         get + host + "Trailer: X\r\n\r\n",
		"RFC 9112, 7.4: TE":                               get + host + "TE: trailers\r\n\r\n",
		"RFC 9112, 9.6: another option":                   get + host + "Connection: upgrade\r\n\r\n",
		"RFC 9112, 9.6: two options":                      get + host + "Connection: close, te\r\n\r\n",
		"RFC 9112, 9.6: no option":                        get + host + "Connection:\r\n\r\n",
		"RFC 9110, 7.8: Upgrade":                          get + host + "Upgrade: h2c\r\n\r\n",
		"RFC 9110, 10.1.1: Expect":                        get + host + "Expect: 100-continue\r\n\r\n",
		"RFC 9113, 3.4: the preface of HTTP/2":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"RFC 7540, 3.2: HTTP2-Settings":                   get + host + "HTTP2-Settings: x\r\n\r\n",
		"RFC 9111, 5.4: Pragma, which is Cache-Control":   get + host + "Pragma: no-cache\r\n\r\n",
		"RFC 8446, 5.1: TLS":                              "\x16\x03\x01\x02\x00\x01\r\n\r\n",
		"too many lines":                                  get + host + strings.Repeat("X: y\r\n", maxFields) + "\r\n",
		"one byte too long":                               "GET /" + strings.Repeat("x", 1+MaxHead-len("GET / HTTP/1.1\r\n"+host+"\r\n")) + " HTTP/1.1\r\n" + host + "\r\n",
	} {
		if n, verdict := r.Read([]byte(request)); verdict != Leave || n != 0 {
			t.Errorf("%s: %d bytes, %v", name, n, verdict)
		}
		prefixes(t, []byte(request))
	}
}

func TestWhatWaitsForMore(t *testing.T) {
	var r Request
	for _, begun := range []string{
		"", "G", "GET", "GET ", "GET /", "H", "HEAD ", "HEAD /x", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\nHost: a", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r", "GET /" + strings.Repeat("x", MaxHead-6),
	} {
		if n, verdict := r.Read([]byte(begun)); verdict != More || n != 0 {
			t.Errorf("%.40q: %d bytes, %v", begun, n, verdict)
		}
	}
	// What is certain is said at once: somebody may wait for an answer to it.
	for _, begun := range []string{
		"P", "GETS", "get", "\r", "GET  ", "GET *", "HEAD h", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\nHost: a\n\n", "GET / HTTP/1.1\r\n\n",
		"GET /" + strings.Repeat("x", MaxHead-5), "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxFields+1),
	} {
		if n, verdict := r.Read([]byte(begun)); verdict != Leave || n != 0 {
			t.Errorf("%.40q: %d bytes, %v", begun, n, verdict)
		}
	}
}

// One request leaves nothing behind for the next.
func TestRequestsFollowEachOther(t *testing.T) {
	var r Request
	first := "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes=0-1\r\nAccept: 1\r\nAccept: 2\r\n\r\n"
	if _, verdict := r.Read([]byte(first)); verdict != Take || !r.Close || len(r.Header) != 2 {
		t.Fatal(verdict, r.Close, r.Header)
	}
	target, accept := r.Target, r.Header["Accept"]
	buf := []byte("HEAD /b HTTP/1.1\r\nHost: b\r\nAccept: 3\r\n\r\n")
	if _, verdict := r.Read(buf); verdict != Take {
		t.Fatal(verdict)
	}
	clear(buf)
	if r.Method != "HEAD" || r.Target != "/b" || r.Host != "b" || r.Close || len(r.Header) != 1 || r.Header.Get("Accept") != "3" {
		t.Errorf("%+v", r)
	}
	if target != "/a" || !slices.Equal(accept, []string{"1", "2"}) {
		t.Errorf("the first one's: %q %q", target, accept)
	}
}

func BenchmarkRead(b *testing.B) {
	request := []byte("GET /ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/a.css HTTP/1.1\r\nHost: www.example.org\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/css,*/*;q=0.1\r\nAccept-Encoding: gzip, br\r\nReferer: https://www.example.org/\r\n\r\n")
	var r Request
	b.ReportAllocs()
	for b.Loop() {
		if _, verdict := r.Read(request); verdict != Take {
			b.Fatal(verdict)
		}
	}
}

// agree checks that net/http reads what was taken as the same request.
func agree(t *testing.T, r *Request, buf []byte, n int) {
	t.Helper()
	in := bytes.NewReader(buf)
	b := bufio.NewReaderSize(in, 1<<16)
	want, err := http.ReadRequest(b)
	if err != nil {
		t.Fatalf("took %q, which net/http refuses: %v", buf[:n], err)
	}
	if body, err := io.ReadAll(want.Body); len(body) > 0 || err != nil || want.ContentLength != 0 || len(want.TransferEncoding) > 0 {
		t.Fatalf("took %q, which has content: %q %v", buf[:n], body, err)
	}
	if used := len(buf) - in.Len() - b.Buffered(); used != n {
		t.Fatalf("took %d bytes of %q, net/http %d", n, buf, used)
	}
	if r.Method != want.Method || r.Target != want.RequestURI || r.Host != want.Host || r.Close != want.Close ||
		want.Proto != "HTTP/1.1" || want.URL.RawQuery != "" || want.URL.ForceQuery || want.URL.Host != "" {
		t.Fatalf("took %q as %+v, net/http as %+v", buf[:n], r, want)
	}
	for _, name := range fields {
		if !slices.Equal(r.Header[name], want.Header[name]) {
			t.Fatalf("took %q with %s: %q, net/http %q", buf[:n], name, r.Header[name], want.Header[name])
		}
		delete(want.Header, name)
	}
	for name := range want.Header {
		if unusual[strings.ToLower(name)] {
			t.Fatalf("took %q with %s", buf[:n], name)
		}
	}
}

// prefixes checks that what has come so far is never taken for more than it is: the verdict
// is More until it is another one, and Leave is for good.
func prefixes(t *testing.T, buf []byte) {
	t.Helper()
	var r Request
	last := More
	for i := range len(buf) + 1 {
		if len(buf) > 1000 && i > 200 && i < len(buf)-300 {
			continue
		}
		n, verdict := r.Read(buf[:i])
		switch {
		case verdict != Take && n != 0, verdict == Take && n > i:
			t.Fatalf("%v with %d bytes for %q", verdict, n, buf[:i])
		case last != More && verdict != last:
			t.Fatalf("%v after %v for %q", verdict, last, buf[:i])
		}
		last = verdict
	}
}

// Whatever is taken, net/http reads as the same request, of the same length and without
// content.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /%20 HTTP/1.1\r\nHost: a:1\r\nRange: bytes=0-1\r\nRange:\r\nConnection: close\r\n\r\nGET",
		"GET /\x00 HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET / HTTP/1.1\r\nhost: a\r\nX : y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\tX: y\r\nPragma: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nAccept: \t x \t\r\nIf-None-Match: \"x\"\r\nForwarded: for=x\r\n\r\n", "GET //%zz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		var r Request
		if n, verdict := r.Read(buf); verdict == Take {
			agree(t, &r, buf, n)
		}
		prefixes(t, buf)
	})
}
