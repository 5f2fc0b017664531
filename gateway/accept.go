package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
)

// coding is a content coding (RFC 9110, section 8.4.1).
type coding uint8

// In the order in which they are preferred when a client takes several equally: the
// first makes the smallest answers.
const (
	brotliCoding coding = iota
	zstdCoding
	gzipCoding
	numCodings
)

// codings are what is to be said of each coding.
var codings = [numCodings]struct {
	name  string
	space string   // where the store keeps its forms; no Host header can name it
	value []string // of Content-Encoding
}{
	{"br", "\x00br", []string{"br"}},
	{"zstd", "\x00zstd", []string{"zstd"}},
	{"gzip", "\x00gzip", []string{"gzip"}},
}

// acceptance is what a request says about codings.
type acceptance struct {
	list  [numCodings]coding // the most preferred first
	n     int
	plain bool // the content as it is will do, too
}

// asItIs is the acceptance of a request that wants no coding.
var asItIs = acceptance{plain: true}

func (a *acceptance) codings() []coding { return a.list[:a.n] }

// A weight is in thousandths (RFC 9110, section 12.4.2).
const (
	unsaid     = -1
	leastWeigh = 0 // of what was not asked for and not refused
)

// readAccepted reads Accept-Encoding (RFC 9110, section 12.5.3). A client that does
// not send it gets the content as it is, although it would take any coding: who wants
// one says so. What cannot be parsed counts as not said.
func readAccepted(h http.Header) acceptance {
	lines := h["Accept-Encoding"]
	if len(lines) == 0 || notTransformed(h) {
		return asItIs
	}
	weights := [numCodings]int{unsaid, unsaid, unsaid}
	identity, others := unsaid, unsaid
	for _, line := range lines {
		for line != "" {
			var element string
			element, line, _ = strings.Cut(line, ",")
			name, weight, ok := readWeighted(element)
			switch {
			case !ok:
			case name == "*":
				others = weight
			case strings.EqualFold(name, "identity"):
				identity = weight
			default:
				if c, known := codingOf(name); known {
					weights[c] = weight
				}
			}
		}
	}
	return rank(weights, identity, others)
}

// rank brings the codings that will do into order. Those that the client likes less
// than the content as it is are left out.
func rank(weights [numCodings]int, identity, others int) acceptance {
	a := acceptance{plain: identity > 0 || identity == unsaid && others != 0}
	if identity == unsaid {
		identity = leastWeigh
	}
	for c := range weights {
		if weights[c] == unsaid {
			weights[c] = others
		}
		if weights[c] <= 0 || weights[c] < identity {
			continue
		}
		at := a.n
		for ; at > 0 && weights[a.list[at-1]] < weights[c]; at-- {
			a.list[at] = a.list[at-1]
		}
		a.list[at] = coding(c)
		a.n++
	}
	return a
}

// readWeighted reads one element of Accept-Encoding.
func readWeighted(element string) (name string, weight int, ok bool) {
	name, params, weighted := strings.Cut(element, ";")
	name = strings.Trim(name, " \t")
	if !weighted {
		return name, 1000, name != ""
	}
	q, value, _ := strings.Cut(params, "=")
	if q = strings.Trim(q, " \t"); q != "q" && q != "Q" {
		return "", 0, false
	}
	value = strings.Trim(value, " \t")
	if value == "" || len(value) > 5 || value[0] != '0' && value[0] != '1' {
		return "", 0, false
	}
	whole, part, _ := strings.Cut(value, ".")
	weight, err := strconv.Atoi(whole + (part + "000")[:3])
	return name, weight, err == nil && len(whole) == 1 && weight <= 1000 && name != ""
}

func codingOf(name string) (coding, bool) {
	switch {
	case strings.EqualFold(name, "br"):
		return brotliCoding, true
	case strings.EqualFold(name, "zstd"):
		return zstdCoding, true
	case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
		return gzipCoding, true
	}
	return 0, false
}

// notTransformed reports whether the request forbids to encode the answer.
func notTransformed(h http.Header) bool {
	for _, v := range h["Cache-Control"] {
		if strings.Contains(strings.ToLower(v), "no-transform") {
			return true
		}
	}
	return false
}

// Sizes of content that is encoded, in bytes.
const (
	// minEncoded: what is smaller fits, with its header, into two packets either way.
	minEncoded = 1 << 10
	// maxEncoded bounds what one encoding costs. What is larger is mostly no page but
	// data, which is encoded already or read in ranges.
	maxEncoded = 16 << 20
)

// worthEncoding reports whether content of this size may be encoded.
func worthEncoding(size int64) bool { return size >= minEncoded && size <= maxEncoded }

// Types, besides text/* and those that end in +json, +xml or +yaml, that get smaller.
var encodedTypes = []string{
	"application/ecmascript", "application/javascript", "application/json", "application/jsonl", "application/ndjson", "application/rtf",
	"application/sql", "application/toml", "application/vnd.ms-fontobject", "application/wasm", "application/x-javascript", "application/x-ndjson",
	"application/x-perl", "application/x-sh", "application/x-subrip", "application/x-tex", "application/xml", "application/xml-dtd", "application/yaml",
	"font/collection", "font/otf", "font/ttf", "image/bmp", "image/vnd.microsoft.icon", "image/x-icon", "model/obj", "model/stl",
}

// isCompressible reports whether content of a type gets smaller when it is encoded.
// The formats that clients verify are not among them, nor is what is packed already.
func isCompressible(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.Trim(t, " \t"))
	if strings.HasPrefix(t, "application/vnd.ipld.") || strings.HasPrefix(t, "application/vnd.ipfs.") {
		return false
	}
	if strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml") || strings.HasSuffix(t, "+yaml") {
		return true
	}
	return slices.Contains(encodedTypes, t)
}

// fileOf returns the CID of the file that an entity tag is one of. The tags of formats
// and of generated pages say more than a CID.
func fileOf(etag string) (cid.Cid, bool) {
	if len(etag) < 3 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		return cid.Undef, false
	}
	id, err := cid.Decode(etag[1 : len(etag)-1])
	if err != nil || `"`+id.String()+`"` != etag {
		return cid.Undef, false
	}
	codec := id.Prefix().Codec
	return id, codec == cid.Raw || codec == cid.DagProtobuf
}

// varies is the value of Vary of what may be encoded.
var varies = []string{"Accept-Encoding"}

// weak makes a weak entity tag of a strong one.
func weak(etag string) string { return "W/" + etag }

// echoedTag returns the entity tag of a 304: the weak one for who has a form, and
// would get one. Caches find what a 304 is about by it (RFC 9111, section 4.3.4).
func echoedTag(noneIfAt []string, etag string, accept *acceptance) string {
	for _, v := range noneIfAt {
		if accept.n > 0 && strings.Contains(v, weak(etag)) {
			return weak(etag)
		}
	}
	return etag
}
