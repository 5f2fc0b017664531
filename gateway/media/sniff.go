package media

import (
	"strings"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"
)

// sniff returns the type of a file whose name does not say it. Empty files are text:
// that is what a browser can show.
func sniff(head []byte) string {
	found := mimetype.Detect(head).String()
	bare, _, _ := strings.Cut(found, ";")
	switch {
	case bare == "text/html":
		return bare // its own declaration counts
	case bare == "text/plain":
		return found // the charset is one of a few, found by looking at the bytes
	case strings.HasPrefix(bare, "text/x-"):
		bare = "text/plain" // a script
	case bare == "text/csv", bare == "text/tab-separated-values":
		// Found by counting commas or tabs, which prose has, too. Browsers show plain
		// text, while they download tables.
		bare = "text/plain"
	}
	bare = preferred(bare)
	// The charset of XML is left to its declaration, unless it is the usual one. It is
	// not copied: who wrote the file could put anything there.
	ownCharset := bare == "text/xml" && !strings.EqualFold(found, bare+inUTF8)
	if strings.HasPrefix(bare, "text/") && !ownCharset && isUTF8(head) {
		return bare + inUTF8
	}
	return bare
}

// preferred returns the name that the table has for a type.
func preferred(found string) string {
	switch found {
	case "application/vnd.microsoft.portable-executable":
		return octets
	case "audio/x-m4a":
		return "audio/mp4"
	case "image/x-icon":
		return "image/vnd.microsoft.icon"
	case "text/rtf":
		return "application/rtf"
	case "video/x-m4v":
		return "video/mp4"
	}
	return found
}

// isUTF8 reports whether a file begins with UTF-8. A rune that is cut off at the end of
// the head is no fault.
func isUTF8(head []byte) bool {
	for i := 1; i < utf8.UTFMax && i <= len(head); i++ {
		if last := head[len(head)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				head = head[:len(head)-i]
			}
			break
		}
	}
	return utf8.Valid(head)
}
