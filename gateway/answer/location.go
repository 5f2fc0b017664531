package answer

import (
	gopath "path"
	"strings"
)

// Characters that need no percent-encoding (RFC 3986), letters and digits aside.
const (
	unreserved = "-._~"                        // section 2.3: means the same everywhere
	inPath     = unreserved + "!$&'()*+,;=:@/" // section 3.3
	inURI      = inPath + "?[]%"               // what is encoded already stays so
	inQuery    = inURI + "\"<>\\^`{|}"         // what clients send, though it should be encoded
	upperHex   = "0123456789ABCDEF"
)

// encode percent-encodes all bytes of s but letters, digits and those in keep
// (RFC 3986, section 2.1).
func encode(s, keep string) string {
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte(keep, c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', upperHex[c>>4], upperHex[c&15])
	}
	return string(b)
}

// Clean returns a path, which is not percent-encoded, that begins with one slash and has no dot segments. "//"
// in front would name a host (RFC 3986, section 4.2).
func Clean(p string) string {
	cleaned := gopath.Clean("/" + p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

// Reference returns a path of this host, which is not percent-encoded, as a redirect may
// lead there: it names no host, whatever the path begins with, and no control character is
// in it.
func Reference(path string) string { return encode(Clean(path), inPath) }

// Query returns the query of a request target as it was written, with its question
// mark. Only what no URI can hold is encoded.
func Query(target string) string {
	i := strings.IndexByte(target, '?')
	if i < 0 {
		return ""
	}
	return encode(target[i:], inQuery)
}
