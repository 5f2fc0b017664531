package gateway

import (
	"fmt"
	"testing"

	"github.com/ipfs/go-cid"
)

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
			{[]string{"bytes=6-7,0-4"}, 200, 0, n},
			{[]string{"bytes=99999999-,1-2"}, 200, 0, n},
			{[]string{"bytes=5-,0-"}, 200, 0, n},
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
