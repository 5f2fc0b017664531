package gateway

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

func TestParseRange(t *testing.T) {
	const ignored, none = "ignored", "none"
	for _, tc := range []struct {
		field string
		size  int64
		want  string
	}{
		// RFC 9110, section 14.1.2.
		{"bytes=0-499", 10000, "0-499"},
		{"bytes=9500-", 10000, "9500-9999"},
		{"bytes=-500", 10000, "9500-9999"},
		{"bytes=-10001", 10000, "0-9999"},
		{"bytes=0-10000", 10000, "0-9999"},
		{"bytes=9999-9999", 10000, "9999-9999"},
		{"bytes=10000-", 10000, none},
		{"bytes=-0", 10000, none},
		{"bytes=-000", 10000, none},
		{"bytes=0-", 0, none},
		{"bytes=-5", 0, none},
		{"bytes=5-2", 10000, ignored},
		{"bytes=0-1,5-2", 10000, ignored},
		// Section 14.1.2 again: numbers of any length.
		{"bytes=0-99999999999999999999999", 10, "0-9"},
		{"bytes=-99999999999999999999999", 10, "0-9"},
		{"bytes=99999999999999999999999-", 10, none},
		{"bytes=9223372036854775807-", math.MaxInt64, none},
		{"bytes=9223372036854775806-9223372036854775807", math.MaxInt64, "9223372036854775806-9223372036854775806"},
		{"bytes=00000000000000000000000001-2", 10, "1-2"},
		// Section 14.1: units are case-insensitive, and unknown ones are ignored (14.2).
		{"BYTES=1-2", 10, "1-2"},
		{"Bytes=-2", 10, "8-9"},
		{"pages=1-2", 10, ignored},
		{"byte=1-2", 10, ignored},
		{"bytes =1-2", 10, ignored},
		{"=1-2", 10, ignored},
		{"", 10, ignored},
		{"bytes", 10, ignored},
		// A list may have spaces and empty elements (section 5.6.1.2).
		{"bytes= 1-2 ", 10, "1-2"},
		{"bytes=, ,1-2\t,", 10, "1-2"},
		{"bytes=6-7,0-4", 10, "6-7"},
		{"bytes=10-, 0-4", 10, "0-4"},
		{"bytes=-0,-3", 10, "7-9"},
		{"bytes=10-,11-", 10, none},
		{"bytes=", 10, ignored},
		{"bytes=,", 10, ignored},
		// What no ranges-specifier is (section 14.1.1).
		{"bytes=-", 10, ignored},
		{"bytes=1", 10, ignored},
		{"bytes=1-2-3", 10, ignored},
		{"bytes=--1", 10, ignored},
		{"bytes=+1-2", 10, ignored},
		{"bytes=1 -2", 10, ignored},
		{"bytes=1-0x2", 10, ignored},
		{"bytes=a-b", 10, ignored},
		{"bytes=1-2,x", 10, ignored},
		{"bytes=1_0-20", 100, ignored},
		{"bytes=\uff11-2", 10, ignored},
	} {
		s, satisfiable, valid := parseRange(tc.field, tc.size)
		got := ignored
		if satisfiable {
			got = fmt.Sprintf("%d-%d", s.from, s.to-1)
		} else if valid {
			got = none
		}
		if got != tc.want {
			t.Errorf("%q of %d bytes: %s, want %s", tc.field, tc.size, got, tc.want)
		}
	}
}

// Every way to a file takes ranges as RFC 9110 has them, the first time and from memory.
func TestRangesOnEveryWay(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = e.shelf.tree(t, map[string]string{
			"small.txt": "0123456789", "noname": "0123456789", "big.txt": big, "empty.txt": "", "dir/index.html": "0123456789",
			"_redirects": "/app/* /small.txt 200\n/old/* /small.txt 301\n/* /empty.txt 404\n",
		})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}, {"named.example.org", "/ipns/name.example.net"}}
		e.names.set("name.example.net", "/ipfs/"+root.String())
	})
	raw := e.shelf.child(t, root, "small.txt").String()
	doc := e.shelf.raw(t, cid.DagJSON, []byte(`{"a":"0123"}`)).String()
	ways := map[string]string{
		"http://127.0.0.1/ipfs/" + root.String() + "/small.txt": "0123456789",
		"http://127.0.0.1/ipfs/" + raw + "?format=raw":          "0123456789",
		"http://127.0.0.1/ipfs/" + doc:                          `{"a":"0123"}`,
		"http://127.0.0.1/ipfs/" + doc + "?format=dag-json":     `{"a":"0123"}`,
		"http://www.example.org/small.txt":                      "0123456789",
		"http://www.example.org/noname":                         "0123456789",
		"http://www.example.org/dir/":                           "0123456789",
		"http://www.example.org/app/x":                          "0123456789",
		"http://named.example.org/small.txt":                    "0123456789",
		"http://named.example.org/app/x":                        "0123456789",
		"http://www.example.org/big.txt":                        big,
	}
	for url, body := range ways {
		n := len(body)
		for _, tc := range []struct {
			fields []string
			status int
			from   int
			to     int
		}{
			{[]string{"bytes=0-3"}, 206, 0, 4},
			{[]string{"BYTES=2-"}, 206, 2, n},
			{[]string{"bytes=-3"}, 206, n - 3, n},
			{[]string{fmt.Sprintf("bytes=-%d", n+1)}, 206, 0, n},
			{[]string{"bytes=-99999999999999999999"}, 206, 0, n},
			{[]string{"bytes=1-99999999999999999999"}, 206, 1, n},
			{[]string{"bytes=6-7,0-4"}, 206, 6, 8},
			{[]string{"bytes=99999999-,1-2"}, 206, 1, 3},
			{[]string{"bytes=5-,0-"}, 206, 5, n},
			{[]string{"bytes=-0"}, 416, 0, 0},
			{[]string{fmt.Sprintf("bytes=%d-", n)}, 416, 0, 0},
			{[]string{"bytes=99999999999999999999-"}, 416, 0, 0},
			{[]string{"bytes=5-2"}, 200, 0, n},
			{[]string{"pages=1-2"}, 200, 0, n},
			{[]string{"bytes=x"}, 200, 0, n},
			{[]string{"bytes=0-1", "bytes=2-3"}, 200, 0, n},
		} {
			var headers []string
			for _, f := range tc.fields {
				headers = append(headers, "Range: "+f)
			}
			for i := range 2 {
				a := e.get(url, headers...)
				contentRange := ""
				switch tc.status {
				case 206:
					contentRange = fmt.Sprintf("bytes %d-%d/%d", tc.from, tc.to-1, n)
				case 416:
					contentRange = fmt.Sprintf("bytes */%d", n)
				}
				if a.StatusCode != tc.status || a.Header.Get("Content-Range") != contentRange || tc.status != 416 && a.body != body[tc.from:tc.to] {
					t.Errorf("%s %v, time %d: %d, Content-Range %q, %d bytes; want %d, %q", url, tc.fields, i+1, a.StatusCode, a.Header.Get("Content-Range"), len(a.body), tc.status, contentRange)
				}
			}
			// Section 14.2: only GET has ranges.
			if a := e.do("HEAD", url, headers...); a.StatusCode != 200 || a.Header.Get("Content-Range") != "" {
				t.Errorf("HEAD %s %v: %d %v", url, tc.fields, a.StatusCode, a.Header)
			}
			e.get(url) // it is in memory, or mapped, for the next
		}
	}
	for _, field := range []string{"bytes=0-", "bytes=-5", "bytes=-0", "bytes=7-8", "bytes=0-,1-"} {
		for _, url := range []string{"http://www.example.org/empty.txt", "http://127.0.0.1/ipfs/bafkqaaa"} {
			e.get(url, "Range: "+field).want(t, 200, "").header(t, "Content-Range", "")
		}
		e.get("http://www.example.org/old/x", "Range: "+field).want(t, 301, "").header(t, "Location", "/small.txt")
		e.get("http://www.example.org/nowhere", "Range: "+field).want(t, 404, "").header(t, "Content-Range", "")
		e.get("http://www.example.org/", "Range: "+field).want(t, 200, "small.txt")
	}
}

// FuzzParseRange holds parseRange against net/http, where that does not refuse what is
// to be ignored.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-2,1-", "BYTES=1-,-0", "bytes=99999999999999999999-"} {
		f.Add(s, 10)
	}
	content := bytes.Repeat([]byte("x"), 1000)
	f.Fuzz(func(t *testing.T, field string, size int) {
		if size < 1 || size > len(content) {
			return
		}
		s, satisfiable, valid := parseRange(field, int64(size))
		if satisfiable && (!valid || s.from < 0 || s.from >= s.to || s.to > int64(size)) {
			t.Fatalf("%q of %d bytes: %v", field, size, s)
		}
		if !strings.HasPrefix(field, "bytes=") || strings.ContainsAny(field, ", \t+") || len(field) > 24 {
			return // net/http takes more than it should, or less
		}
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Range", field)
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(content[:size]))
		got := w.Header().Get("Content-Range")
		if want := fmt.Sprintf("bytes %d-%d/%d", s.from, s.to-1, size); w.Code == 206 && satisfiable && got != want {
			t.Fatalf("%q of %d bytes: %s, net/http has %s", field, size, want, got)
		}
		if w.Code == 416 && satisfiable {
			t.Fatalf("%q of %d bytes: %v, net/http has none", field, size, s)
		}
		if w.Code == 206 && !satisfiable && !strings.HasSuffix(got, fmt.Sprintf("%d-%d/%d", size, size-1, size)) {
			// net/http makes an empty part of -0.
			t.Fatalf("%q of %d bytes: valid: %v, net/http has %s", field, size, valid, got)
		}
	})
}
