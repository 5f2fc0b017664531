package page

import (
	"strconv"
	"unicode/utf8"

	"github.com/shoal-cdn/shoal/printable"
)

// class says how a byte may be written.
type class uint8

const (
	unreserved class = 1 << iota // means the same everywhere in a URI (RFC 3986, section 2.3)
	inSegment                    // needs no encoding in a segment of a path (section 3.3)
	inHost                       // or in a host and its port (section 3.2)
	asText                       // is written as it is in text and in quoted attributes
)

// classOf returns what a byte is. "&" and "'" could stand in a segment, but not in every
// attribute.
func classOf(c byte) class {
	switch c {
	case '-', '.', '_', '~':
		return unreserved | inSegment | inHost | asText
	case ':':
		return inSegment | inHost | asText
	case '[', ']':
		return inHost | asText
	case '!', '$', '(', ')', '*', '+', ',', ';', '=', '@':
		return inSegment | asText
	case '&', '<', '>', '"', '\'':
		return 0
	}
	switch {
	case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9':
		return unreserved | inSegment | inHost | asText
	case c < ' ', c > '~':
		return 0
	}
	return asText
}

const upperHex = "0123456789ABCDEF"

// appendEncoded percent-encodes the bytes that are not of the class to keep.
func appendEncoded(b []byte, s string, keep class) []byte {
	return appendBytes(b, s, keep, "%")
}

// appendTwiceEncoded percent-encodes what was percent-encoded before.
func appendTwiceEncoded(b []byte, s string) []byte {
	return appendBytes(b, s, unreserved, "%25")
}

func appendBytes(b []byte, s string, keep class, mark string) []byte {
	done := 0
	for i := range len(s) {
		if c := s[i]; classOf(c)&keep == 0 {
			b = append(append(b, s[done:i]...), mark...)
			b = append(b, upperHex[c>>4], upperHex[c&15])
			done = i + 1
		}
	}
	return append(b, s[done:]...)
}

// appendText writes text for HTML, between tags or in a quoted attribute.
func appendText(b []byte, s string) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if classOf(c)&asText != 0 {
			i++
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '&':
			b = append(b, "&amp;"...)
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '"':
			b = append(b, "&#34;"...)
		case '\'':
			b = append(b, "&#39;"...)
		default:
			for done < len(s) && (s[done] < ' ' || s[done] > '~') {
				done++
			}
			b = append(b, printable.Escape(s[i:done])...)
		}
		i = done
	}
	return append(b, s[done:]...)
}

// cut returns the beginning of s, of at most most bytes, that ends with a whole character,
// and whether something is missing.
func cut(s string, most int) (string, bool) {
	if len(s) <= most {
		return s, false
	}
	for n := most; n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n], true
		}
	}
	return s[:most], true // it is not UTF-8
}

// appendSize writes a number of bytes for people, in units of 1024.
func appendSize(b []byte, n uint64) []byte {
	if n < 1024 {
		return append(strconv.AppendUint(b, n, 10), " B"...)
	}
	size, unit := float64(n)/1024, 0
	for ; size >= 1023.5 && unit < len("KMGTPE")-1; unit++ {
		size /= 1024
	}
	digits := 0
	if size < 99.95 {
		digits = 1
	}
	b = strconv.AppendFloat(b, size, 'f', digits, 64)
	return append(b, ' ', "KMGTPE"[unit], 'i', 'B')
}

// appendCount writes a number and what it counts, in the singular or the plural.
func appendCount(b []byte, n int, one, more string) []byte {
	if n != 1 {
		one = more
	}
	b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	return append(b, one...)
}
