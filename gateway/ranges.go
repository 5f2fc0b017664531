package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// span is a part of a file, in bytes.
type span struct{ from, to int64 }

// parseRange reads a Range field (RFC 9110, section 14.2) for a file of size bytes. It
// returns the first part that the file has; satisfiable is false when it has none. A
// field that is not valid, or has another unit, is to be ignored.
func parseRange(field string, size int64) (s span, satisfiable, valid bool) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(unit, "bytes") { // section 14.1: case-insensitive
		return span{}, false, false
	}
	for more := true; more; {
		var spec string
		spec, set, more = strings.Cut(set, ",")
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue // section 5.6.1.2
		}
		part, ok := parsePart(spec, size)
		if !ok {
			return span{}, false, false
		}
		valid = true
		if !satisfiable && part.from < part.to {
			s, satisfiable = part, true
		}
	}
	return s, satisfiable, valid
}

// parsePart reads one range-spec (RFC 9110, section 14.1.2): from one byte to another,
// or the last bytes, which is all if the file has fewer. The part is empty if the file
// has none of it.
func parsePart(spec string, size int64) (span, bool) {
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
	case !ok || to < from:
		return span{}, false
	case first == "":
		return span{max(0, size-to), size}, true
	case from >= size:
		return span{}, true
	}
	return span{from, min(to, size-1) + 1}, true
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

// settleRange decides about Range (RFC 9110, section 14.2) in boxo's place, which has an
// error for much of what is to be ignored. What is left is one part with both ends. next
// answers the request.
func settleRange(r *http.Request, next http.Handler) {
	fields := r.Header.Values("Range")
	r.Header.Del("Range")
	if r.Method != http.MethodGet || len(fields) != 1 {
		return
	}
	s, satisfiable, valid := parseRange(fields[0], math.MaxInt64)
	if !valid {
		return
	}
	_, set, _ := strings.Cut(fields[0], "=")
	if strings.Contains(set, ",") || strings.HasPrefix(strings.TrimLeft(set, " \t"), "-") {
		size := sizeOf(r, next)
		if size <= 0 {
			return
		}
		s, satisfiable, _ = parseRange(fields[0], size)
	}
	if !satisfiable {
		s = span{math.MaxInt64, math.MaxInt64} // for boxo to answer 416
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", s.from, max(s.from, s.to-1)))
}

// sizeOf returns how many bytes the answer to a request has, by asking for its header;
// -1 if that does not say.
func sizeOf(r *http.Request, next http.Handler) int64 {
	head := r.Clone(r.Context())
	head.Method = http.MethodHead
	a := headerTaker{header: http.Header{}}
	next.ServeHTTP(&a, head)
	recordOf(r.Context()).ruled = false
	if a.status != http.StatusOK {
		return -1
	}
	return readSize(a.header.Get("Content-Length"))
}

// headerTaker takes down the header of an answer.
type headerTaker struct {
	header http.Header
	status int
}

func (w *headerTaker) Header() http.Header         { return w.header }
func (w *headerTaker) WriteHeader(code int)        { w.status = code }
func (w *headerTaker) Write(p []byte) (int, error) { return len(p), nil }
