package answer

import (
	"math"
	"strconv"
	"strings"

	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// parseRange reads a Range field (RFC 9110, section 14.2) for content of size bytes.
// satisfiable is false when the content has nothing of what is asked for. A field is to be
// ignored, which valid says, if it is not well-formed, has another unit, or asks for several
// parts: those who ask for them get the whole (section 14.2 lets a server choose), which is
// less than a crowd of small overlapping parts could cost.
func parseRange(field string, size int64) (s unixfs.Span, satisfiable, valid bool) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(unit, "bytes") { // section 14.1: case-insensitive
		return unixfs.Span{}, false, false
	}
	spec := ""
	for element := range strings.SplitSeq(set, ",") {
		element = strings.Trim(element, " \t")
		if element != "" && spec != "" {
			return unixfs.Span{}, false, false
		}
		if element != "" { // empty elements count for nothing, section 5.6.1.2
			spec = element
		}
	}
	part, ok := parsePart(spec, size)
	return part, ok && part.From < part.To, ok
}

// parsePart reads one range-spec (RFC 9110, section 14.1.2): from one byte to another,
// or the last bytes, which is all if the file has fewer. The part is empty if the file
// has none of it.
func parsePart(spec string, size int64) (unixfs.Span, bool) {
	first, last, dash := strings.Cut(spec, "-")
	from, to := int64(0), int64(math.MaxInt64)
	ok := dash && first+last != ""
	if first != "" {
		ok = ok && readPosition(first, &from)
	}
	if last != "" {
		ok = ok && readPosition(last, &to)
	}
	switch {
	case !ok || first != "" && to < from:
		return unixfs.Span{}, false
	case first == "":
		return unixfs.Span{From: max(0, size-to), To: size}, true
	case from >= size:
		return unixfs.Span{}, true
	}
	return unixfs.Span{From: from, To: min(to, size-1) + 1}, true
}

// readPosition reads a number of any length: what is larger than files can be is as good
// as the largest number.
func readPosition(s string, n *int64) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	v, _ := strconv.ParseUint(s, 10, 63) // the largest number if it does not fit
	*n = int64(v)
	return true
}
