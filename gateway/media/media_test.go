package media

import (
	"bytes"
	"mime"
	"slices"
	"strings"
	"testing"
)

// stream returns the beginning of a transport stream; each packet has lead bytes
// before its sync byte.
func stream(packets, lead int) []byte {
	packet := make([]byte, lead+packetSize)
	packet[lead] = syncByte
	return bytes.Repeat(packet, packets)
}

func TestTypeOfNames(t *testing.T) {
	for name, want := range map[string]string{
		// What the tables of systems and of Go have wrong, or not at all.
		"film.webm":              "video/webm",
		"song.weba":              "audio/webm",
		"a.otf":                  "font/otf",
		"a.ttf":                  "font/ttf",
		"a.ttc":                  "font/collection",
		"a.woff":                 "font/woff",
		"a.woff2":                "font/woff2",
		"live.m3u8":              "application/vnd.apple.mpegurl",
		"live.mpd":               "application/dash+xml",
		"app.webmanifest":        "application/manifest+json",
		"a.js":                   "text/javascript; charset=utf-8",
		"a.mjs":                  "text/javascript; charset=utf-8",
		"a.cjs":                  "text/javascript; charset=utf-8",
		"a.wasm":                 "application/wasm",
		"a.avif":                 "image/avif",
		"a.heic":                 "image/heic",
		"a.jxl":                  "image/jxl",
		"a.webp":                 "image/webp",
		"a.svg":                  "image/svg+xml",
		"favicon.ico":            "image/vnd.microsoft.icon",
		"a.geojson":              "application/geo+json",
		"a.jsonld":               "application/ld+json",
		"a.json":                 "application/json",
		"a.js.map":               "application/json",
		"a.ndjson":               "application/x-ndjson",
		"a.md":                   "text/markdown; charset=utf-8",
		"a.css":                  "text/css; charset=utf-8",
		"a.csv":                  "text/csv; charset=utf-8",
		"a.txt":                  "text/plain; charset=utf-8",
		"a.xml":                  "text/xml; charset=utf-8",
		"a.vtt":                  "text/vtt; charset=utf-8",
		"a.yaml":                 "application/yaml",
		"a.yml":                  "application/yaml",
		"a.toml":                 "application/toml",
		"index.html":             "text/html",
		"index.htm":              "text/html",
		"feed.atom":              "application/atom+xml",
		"feed.rss":               "application/rss+xml",
		"a.gz":                   "application/gzip",
		"a.zst":                  "application/zstd",
		"a.car":                  "application/vnd.ipld.car",
		"a.cbor":                 "application/cbor",
		"a.parquet":              "application/vnd.apache.parquet",
		"a.mkv":                  "video/matroska",
		"a.opus":                 "audio/ogg",
		"a.flac":                 "audio/flac",
		"a.glb":                  "model/gltf-binary",
		"a.exe":                  "application/octet-stream",
		"main.go":                "text/plain; charset=utf-8",
		"a.cts":                  "text/plain; charset=utf-8",
		"a.3g2":                  "video/3gpp2", // the first of the table
		"a.zst.zip":              "application/zip",
		"A.WEBM":                 "video/webm",
		"Photo.JpG":              "image/jpeg",
		"archive.tar.gz":         "application/gzip",
		".config.json":           "application/json",
		"two..png":               "image/png",
		"\xff\xfe.png":           "image/png",
		"with space; q=1.html":   "text/html",
		"name\r\nX: injected.js": "text/javascript; charset=utf-8",
	} {
		if NeedsHead(name) {
			t.Errorf("%q says its type, and yet the head is needed", name)
		}
		if got, coding := Type(name, []byte("<html>not looked at</html>")); got != want || coding != "" {
			t.Errorf("%q: %q in %q, want %q", name, got, coding, want)
		}
	}
}

func TestSvgzIsSVGInGzip(t *testing.T) {
	for _, name := range []string{"map.svgz", "MAP.SVGZ"} {
		if got, coding := Type(name, nil); got != "image/svg+xml" || coding != "gzip" {
			t.Errorf("%q: %q in %q", name, got, coding)
		}
	}
}

func TestTransportStreamOrTypeScript(t *testing.T) {
	const script = "text/plain; charset=utf-8"
	for about, c := range map[string]struct {
		name string
		head []byte
		want string
	}{
		"a segment":                     {"segment0.ts", stream(30, 0), "video/mp2t"},
		"two packets":                   {"s.TS", stream(2, 0), "video/mp2t"},
		"a camcorder's":                 {"film.mts", stream(3, timeCodeSize), "video/mp2t"},
		"a script":                      {"main.ts", []byte("export const a = 1\n"), script},
		"a module":                      {"main.mts", []byte("export const a = 1\n"), script},
		"declarations":                  {"lib.d.ts", []byte("declare const a: number\n"), script},
		"it begins with a sync byte":    {"g.ts", []byte(strings.Repeat("GL.draw() // draws\n", 60)), script},
		"one packet's worth of G":       {"g.ts", bytes.Repeat([]byte("G"), packetSize), script},
		"a page":                        {"p.ts", []byte("<!doctype html><p>"), script},
		"nothing":                       {"empty.ts", nil, script},
		"a stream that loses its beats": {"s.ts", append(stream(2, 0), make([]byte, 400)...), script},
	} {
		if !NeedsHead(c.name) {
			t.Errorf("%s: %q says two things, and yet the head is not needed", about, c.name)
		}
		if got, coding := Type(c.name, c.head); got != c.want || coding != "" {
			t.Errorf("%s: %q in %q, want %q", about, got, coding, c.want)
		}
	}
}

// Only what MPEG calls a stream is one under any name: .m2ts is always one.
func TestM2TSNeedsNoHead(t *testing.T) {
	if got, _ := Type("00001.m2ts", nil); got != "video/mp2t" || NeedsHead("00001.m2ts") {
		t.Errorf("%q, needs its head: %v", got, NeedsHead("00001.m2ts"))
	}
}

func TestNamesThatSayNothing(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "README", "index", ".htaccess", ".html", ".png", "page.", "page.html.", "v1.2", "a.unknown",
		"a.htmlx", "a.htm ", "a.\u212Aml" /* the Kelvin sign folds to k */, "a.html/b", "a." + strings.Repeat("x", 1<<16),
	} {
		if !NeedsHead(name) {
			t.Errorf("%.20q: the head is not needed", name)
		}
		if got, coding := Type(name, []byte("%PDF-1.7\n")); got != "application/pdf" || coding != "" {
			t.Errorf("%.20q: %q in %q", name, got, coding)
		}
	}
}

func TestTableIsSortedAndParses(t *testing.T) {
	if !slices.IsSortedFunc(types[:], func(a, b entry) int { return strings.Compare(a.extension, b.extension) }) {
		t.Error("the table is not sorted")
	}
	for i, e := range types {
		if i > 0 && types[i-1].extension == e.extension {
			t.Errorf("%s is there twice", e.extension)
		}
		if e.extension == "" || e.extension != strings.ToLower(e.extension) || strings.Contains(e.extension, ".") {
			t.Errorf("%q is no extension in lower case", e.extension)
		}
		parsed, params, err := mime.ParseMediaType(e.contentType)
		if err != nil || !strings.Contains(parsed, "/") {
			t.Errorf("%s: %q: %v", e.extension, e.contentType, err)
		}
		wantCharset := strings.HasPrefix(parsed, "text/") && parsed != "text/html"
		if got := params["charset"] == "utf-8" && len(params) == 1; got != wantCharset || !got && len(params) != 0 {
			t.Errorf("%s: %q has the wrong parameters", e.extension, e.contentType)
		}
		for _, name := range []string{"a." + e.extension, "A." + strings.ToUpper(e.extension)} {
			if got, _ := Type(name, nil); got != e.contentType {
				t.Errorf("%s: %q, want %q", name, got, e.contentType)
			}
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	for _, name := range []string{"index.html", "a.zst", "A.WOFF2", "seg.ts"} {
		head := stream(3, 0)
		if n := testing.AllocsPerRun(100, func() { Type(name, head); NeedsHead(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkType(b *testing.B) {
	for b.Loop() {
		Type("assets/main.4f3a.css", nil)
	}
}
