package media

import (
	"strings"
	"testing"
)

func TestCompressible(t *testing.T) {
	for contentType, want := range map[string]bool{
		"":                                     false,
		"text/html":                            true,
		"TEXT/HTML ; charset=UTF-8":            true,
		"text/plain; charset=utf-8":            true,
		"application/json":                     true,
		"application/manifest+json":            true,
		"application/geo+json":                 true,
		"application/vnd.oai.openapi+yaml":     true,
		"image/svg+xml":                        true,
		"application/wasm":                     true,
		"font/ttf":                             true,
		"font/woff2":                           false,
		"image/vnd.microsoft.icon":             true,
		"image/png":                            false,
		"video/mp4":                            false,
		"application/zip":                      false,
		"application/octet-stream":             false,
		"application/vnd.ipld.car":             false,
		"application/vnd.ipld.car; version=1":  false,
		"application/vnd.ipld.dag-json":        false,
		"application/vnd.ipld.x+json":          false,
		"application/vnd.ipfs.ipns-record":     false,
		"Application/VND.IPLD.Whatever+XML":    false,
		"application/epub+zip":                 false,
		"application/geopackage+sqlite3":       false,
		"application/vnd.apple.mpegurl":        true,
		" application/json ; whatever=\"a;b\"": true,
	} {
		if got := Compressible(contentType); got != want {
			t.Errorf("%q: %v", contentType, got)
		}
	}
}

// What the table calls text, or a document in text, is encoded; media are not.
func TestCompressibleKnowsTheTable(t *testing.T) {
	for _, e := range types {
		got := Compressible(e.contentType)
		switch kind, _, _ := strings.Cut(e.contentType, "/"); {
		case kind == "text" && !got:
			t.Errorf("%s (%s) is not encoded", e.extension, e.contentType)
		case kind == "video" && got:
			t.Errorf("%s (%s) is encoded", e.extension, e.contentType)
		}
	}
}
