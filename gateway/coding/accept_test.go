package coding

import (
	"net/http"
	"slices"
	"testing"
)

func TestReadAccepted(t *testing.T) {
	br, zs, gz := brotliCoding, zstdCoding, gzipCoding
	for _, c := range []struct {
		lines []string
		want  []Coding
		plain bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{"gzip, deflate, br, zstd"}, []Coding{br, zs, gz}, true},
		{[]string{"gzip"}, []Coding{gz}, true},
		{[]string{"X-GZip"}, []Coding{gz}, true},
		{[]string{"gzip", "br"}, []Coding{br, gz}, true},
		{[]string{"br;q=0.2, gzip;q=0.8, zstd;q=0.5"}, []Coding{gz, zs, br}, true},
		{[]string{"br ; q=0.200 ,gzip;Q=1.000"}, []Coding{gz, br}, true},
		{[]string{"br;q=0, gzip"}, []Coding{gz}, true},
		{[]string{"*"}, []Coding{br, zs, gz}, true},
		{[]string{"br;q=0, *;q=0.1"}, []Coding{zs, gz}, true},
		{[]string{"*;q=0"}, nil, false},
		{[]string{"*;q=0, identity"}, nil, true},
		{[]string{"identity;q=0"}, nil, false},
		{[]string{"identity;q=0, gzip"}, []Coding{gz}, false},
		{[]string{"gzip, *;q=0"}, []Coding{gz}, false},
		{[]string{"identity, gzip;q=0.5"}, nil, true},
		{[]string{"identity;q=0.5, gzip;q=0.5, br;q=0.4"}, []Coding{gz}, true},
		{[]string{"compress, deflate, exi, nonsense"}, nil, true},
		{[]string{"gzip;q=1.1, br;q=-1, zstd;q=x"}, nil, true},
		{[]string{"gzip;q=, br;x=1, zstd;q=0x1p-2, ;q=1,,"}, nil, true},
		{[]string{"gzip;q=NaN, br;q=1e0"}, nil, true},
	} {
		got := ReadAccepted(http.Header{"Accept-Encoding": c.lines})
		if !slices.Equal(got.codings(), c.want) || got.plain != c.plain {
			t.Errorf("%q: got %v, %v; want %v, %v", c.lines, got.codings(), got.plain, c.want, c.plain)
		}
	}
	for _, v := range []string{"no-transform", "max-age=0, No-Transform"} {
		got := ReadAccepted(http.Header{"Accept-Encoding": {"br"}, "Cache-Control": {v}})
		if got.n != 0 {
			t.Errorf("%s: encoded", v)
		}
	}
}

func FuzzReadAccepted(f *testing.F) {
	f.Add("gzip, br;q=0.5, *;q=0")
	f.Fuzz(func(t *testing.T, s string) {
		a := ReadAccepted(http.Header{"Accept-Encoding": {s}})
		seen := map[Coding]bool{}
		for _, c := range a.codings() {
			if seen[c] || c >= numCodings {
				t.Errorf("%q: %v", s, a.codings())
			}
			seen[c] = true
		}
	})
}
