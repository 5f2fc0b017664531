package coding

import (
	"net/http"
	"strconv"
	"strings"
)

// Coding is a content coding (RFC 9110, section 8.4.1).
type Coding uint8

// In the order in which they are preferred when a client takes several equally: the
// first makes the smallest answers.
const (
	brotliCoding Coding = iota
	zstdCoding
	gzipCoding
	numCodings
)

// codings are what is to be said of each coding.
var codings = [numCodings]struct {
	name  string
	space string // where the store keeps its forms; no Host header can name it
}{
	{"br", "\x00br"},
	{"zstd", "\x00zstd"},
	{"gzip", "\x00gzip"},
}

// Names are the codings' names.
func Names() []string {
	names := make([]string, 0, numCodings)
	for _, c := range codings {
		names = append(names, c.name)
	}
	return names
}

// Acceptance is what a request says about codings.
type Acceptance struct {
	list  [numCodings]Coding // the most preferred first
	n     int
	plain bool // the content as it is will do, too
}

// asItIs is the acceptance of a request that wants no coding.
var asItIs = Acceptance{plain: true}

// Any reports whether the client takes a coding that is made here.
func (a *Acceptance) Any() bool { return a.n > 0 }

func (a *Acceptance) codings() []Coding { return a.list[:a.n] }

// A weight is in thousandths (RFC 9110, section 12.4.2).
const (
	unsaid     = -1
	leastWeigh = 0 // of what was not asked for and not refused
)

// ReadAccepted reads Accept-Encoding (RFC 9110, section 12.5.3). A client that does
// not send it gets the content as it is, although it would take any coding: who wants
// one says so. What cannot be parsed counts as not said.
func ReadAccepted(h http.Header) Acceptance {
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
func rank(weights [numCodings]int, identity, others int) Acceptance {
	a := Acceptance{plain: identity > 0 || identity == unsaid && others != 0}
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
		a.list[at] = Coding(c)
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

func codingOf(name string) (Coding, bool) {
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

// Worthwhile reports whether content of so many bytes may be encoded.
func Worthwhile(size int64) bool { return size >= minEncoded && size <= maxEncoded }
