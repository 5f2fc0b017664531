package answer

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
)

// Format is what a request wants to be made of content
// (https://specs.ipfs.tech/http-gateways/path-gateway/#format-request-query-parameter).
type Format string

// The formats, as they stand in the query.
const (
	Web     Format = "" // whatever browsers expect
	Raw     Format = "raw"
	CAR     Format = "car"
	TAR     Format = "tar"
	JSON    Format = "json"
	CBOR    Format = "cbor"
	DAGJSON Format = "dag-json"
	DAGCBOR Format = "dag-cbor"
	Record  Format = "ipns-record"
)

// mediaTypes are the formats' media types.
var mediaTypes = map[Format]string{
	Raw:     "application/vnd.ipld.raw",
	CAR:     "application/vnd.ipld.car",
	TAR:     "application/x-tar",
	JSON:    "application/json",
	CBOR:    "application/cbor",
	DAGJSON: "application/vnd.ipld.dag-json",
	DAGCBOR: "application/vnd.ipld.dag-cbor",
	Record:  "application/vnd.ipfs.ipns-record",
}

// codecFormats are the formats that blocks of these codecs are in.
var codecFormats = map[uint64]Format{0x0200: JSON, cid.DagJSON: DAGJSON, 0x51: CBOR, cid.DagCBOR: DAGCBOR}

// Wanted is the format that a request asks for.
type Wanted struct {
	Format Format
	Params map[string]string // of the media type
	// Accepted says that it was asked for in Accept, and not in the query; Overruled, that
	// Accept asked for another.
	Accepted, Overruled bool
}

// Want finds out which format a request asks for. The query goes before Accept (IPIP-523).
func Want(query url.Values, h http.Header) (Wanted, *Failure) {
	accepted, f := accepted(h)
	if f != nil {
		return Wanted{}, f
	}
	asked := Format(query.Get("format"))
	if _, known := mediaTypes[asked]; !known {
		return accepted, nil
	}
	w := Wanted{Format: asked, Overruled: accepted.Accepted && accepted.Format != asked}
	if accepted.Format == asked {
		w.Params = accepted.Params
	}
	return w, nil
}

// accepted is the format that Accept asks for: of those with the highest weight (RFC 9110,
// section 12.5.1) the first, unless what browsers expect has a higher one.
func accepted(h http.Header) (best Wanted, f *Failure) {
	if !AcceptsFormat(h) {
		return Wanted{}, nil
	}
	highest, web := 0.0, 0.0
	for element := range elements(h["Accept"]) {
		mediaType, params, err := mime.ParseMediaType(element)
		if err != nil {
			if namesFormat(element) {
				return Wanted{}, Refuse(http.StatusBadRequest, "the Accept header cannot be read: %s", Abbreviate(err.Error()))
			}
			continue
		}
		weight := 1.0
		if q, ok := params["q"]; ok {
			if weight, err = strconv.ParseFloat(q, 64); err != nil || !(weight >= 0 && weight <= 1) {
				weight = 0
			}
			delete(params, "q")
		}
		if !namesFormat(element) {
			web = max(web, weight)
		} else if weight > highest {
			highest, best = weight, Wanted{Format: formatOf(mediaType), Params: params, Accepted: true}
		}
	}
	switch {
	case highest < web || highest == 0:
		return Wanted{}, nil
	case best.Format == Web:
		return Wanted{}, Refuse(http.StatusBadRequest, "the format that the Accept header asks for is not known here")
	}
	return best, nil
}

// elements goes through the elements of a list field (RFC 9110, section 5.6.1).
func elements(lines []string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for element := range strings.SplitSeq(line, ",") {
				if element = strings.Trim(element, " \t"); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// AcceptsFormat reports whether a request's Accept may name a format.
func AcceptsFormat(h http.Header) bool {
	for _, line := range h["Accept"] {
		if !strings.Contains(line, "application/") {
			continue
		}
		for element := range strings.SplitSeq(line, ",") {
			if namesFormat(strings.TrimSpace(element)) {
				return true
			}
		}
	}
	return false
}

// namesFormat reports whether an element of Accept asks for one of our formats, or for a
// format like them that is not known.
func namesFormat(element string) bool {
	if len(element) < 15 || !strings.EqualFold(element[:12], "application/") {
		return false
	}
	name, _, _ := strings.Cut(element, ";")
	name = strings.ToLower(strings.TrimSpace(name))
	return strings.HasPrefix(name, "application/vnd.ipld") || strings.HasPrefix(name, "application/vnd.ipfs") || formatOf(name) != Web
}

func formatOf(mediaType string) Format {
	for f, t := range mediaTypes {
		if t == mediaType {
			return f
		}
	}
	return Web
}

// etag returns the entity tag of content in a format.
func (f Format) etag(c cid.Cid) string {
	switch f {
	case Web:
		return `"` + c.String() + `"`
	case TAR:
		// Weak: other edges need not make the same bytes.
		return `W/"` + c.String() + `.x-tar"`
	}
	return `"` + c.String() + "." + string(f) + `"`
}

// acceptsHTML reports whether a request is a browser's.
func acceptsHTML(h http.Header) bool {
	for _, line := range h["Accept"] {
		if strings.Contains(strings.ToLower(line), "text/html") {
			return true
		}
	}
	return false
}

// HasDirective reports whether Cache-Control has a directive, whatever its case
// (RFC 9111, section 5.2).
func HasDirective(h http.Header, name string) bool {
	for element := range elements(h["Cache-Control"]) {
		directive, _, _ := strings.Cut(element, "=")
		if strings.EqualFold(strings.TrimSpace(directive), name) {
			return true
		}
	}
	return false
}
