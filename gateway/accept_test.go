package gateway

import (
	"net/http"
	"slices"
	"testing"
)

func TestReadAccepted(t *testing.T) {
	br, zs, gz := brotliCoding, zstdCoding, gzipCoding
	for _, c := range []struct {
		lines []string
		want  []coding
		plain bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{"gzip, deflate, br, zstd"}, []coding{br, zs, gz}, true},
		{[]string{"gzip"}, []coding{gz}, true},
		{[]string{"X-GZip"}, []coding{gz}, true},
		{[]string{"gzip", "br"}, []coding{br, gz}, true},
		{[]string{"br;q=0.2, gzip;q=0.8, zstd;q=0.5"}, []coding{gz, zs, br}, true},
		{[]string{"br ; q=0.200 ,gzip;Q=1.000"}, []coding{gz, br}, true},
		{[]string{"br;q=0, gzip"}, []coding{gz}, true},
		{[]string{"*"}, []coding{br, zs, gz}, true},
		{[]string{"br;q=0, *;q=0.1"}, []coding{zs, gz}, true},
		{[]string{"*;q=0"}, nil, false},
		{[]string{"*;q=0, identity"}, nil, true},
		{[]string{"identity;q=0"}, nil, false},
		{[]string{"identity;q=0, gzip"}, []coding{gz}, false},
		{[]string{"gzip, *;q=0"}, []coding{gz}, false},
		{[]string{"identity, gzip;q=0.5"}, nil, true},
		{[]string{"identity;q=0.5, gzip;q=0.5, br;q=0.4"}, []coding{gz}, true},
		{[]string{"compress, deflate, exi, nonsense"}, nil, true},
		{[]string{"gzip;q=1.1, br;q=-1, zstd;q=x"}, nil, true},
		{[]string{"gzip;q=, br;x=1, zstd;q=0x1p-2, ;q=1,,"}, nil, true},
		{[]string{"gzip;q=NaN, br;q=1e0"}, nil, true},
	} {
		got := readAccepted(http.Header{"Accept-Encoding": c.lines})
		if !slices.Equal(got.codings(), c.want) || got.plain != c.plain {
			t.Errorf("%q: got %v, %v; want %v, %v", c.lines, got.codings(), got.plain, c.want, c.plain)
		}
	}
	for _, v := range []string{"no-transform", "max-age=0, No-Transform"} {
		got := readAccepted(http.Header{"Accept-Encoding": {"br"}, "Cache-Control": {v}})
		if got.n != 0 {
			t.Errorf("%s: encoded", v)
		}
	}
}

func FuzzReadAccepted(f *testing.F) {
	f.Add("gzip, br;q=0.5, *;q=0")
	f.Fuzz(func(t *testing.T, s string) {
		a := readAccepted(http.Header{"Accept-Encoding": {s}})
		seen := map[coding]bool{}
		for _, c := range a.codings() {
			if seen[c] || c >= numCodings {
				t.Errorf("%q: %v", s, a.codings())
			}
			seen[c] = true
		}
	})
}

func TestIsCompressible(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/html": true, "text/plain; charset=utf-8": true, "Text/CSS": true, "application/json": true, "application/ld+json": true,
		"image/svg+xml": true, "application/wasm": true, "text/javascript; charset=utf-8": true, "font/ttf": true,
		"": false, "image/png": false, "image/jpeg": false, "video/mp4": false, "font/woff2": false, "application/zip": false, "application/gzip": false,
		"application/pdf": false, "application/octet-stream": false, "application/x-tar": false, "inode/symlink": false,
		"application/vnd.ipld.raw": false, "application/vnd.ipld.car; version=1": false, "application/vnd.ipfs.ipns-record": false,
		"application/vnd.ipld.dag-json": false, "application/vnd.ipld.x+json": false,
	} {
		if got := isCompressible(contentType); got != want {
			t.Errorf("%q: %v", contentType, got)
		}
	}
}
