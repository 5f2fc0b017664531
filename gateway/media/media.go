package media

import (
	"slices"
	"strings"
)

// HeadBytes is how many of a file's first bytes [Type] looks at, at most. What is
// shorter counts as the whole file: a JSON document, say, must then end properly.
const HeadBytes = 4096

// Type returns the media type of a file, for Content-Type, and the content coding that
// its bytes are in, for Content-Encoding (RFC 9110, section 8.4); the coding is "" for
// all but .svgz.
//
// name is the last segment of the file's path, and may be empty. The case of its
// extension does not matter. head are the file's first [HeadBytes] bytes, or all of a
// shorter file. It is looked at only if [NeedsHead], and may be nil otherwise.
func Type(name string, head []byte) (contentType, contentEncoding string) {
	head = head[:min(len(head), HeadBytes)]
	e := find(name)
	switch {
	case e == nil:
		return sniff(head), ""
	case e.extension == "svgz":
		return e.contentType, "gzip"
	case mayBeStream(e) && isStream(head):
		return "video/mp2t", ""
	}
	return e.contentType, ""
}

// NeedsHead reports whether [Type] looks at a file's first bytes, because its name
// says nothing or two things.
func NeedsHead(name string) bool {
	e := find(name)
	return e == nil || mayBeStream(e)
}

// find returns the entry for a name, or nil if the table has none. A leading dot hides
// a file and begins no extension.
func find(name string) *entry {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 {
		return nil
	}
	at, found := slices.BinarySearchFunc(types[:], name[dot+1:], compare)
	if !found {
		return nil
	}
	return &types[at]
}

// compare orders an entry and an extension. The letters A to Z of the extension count
// as lower case; others are not folded, so that no foreign letter matches one of ours.
func compare(e entry, extension string) int {
	for i := range min(len(e.extension), len(extension)) {
		c := extension[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if d := int(e.extension[i]) - int(c); d != 0 {
			return d
		}
	}
	return len(e.extension) - len(extension)
}

// mayBeStream reports whether an extension stands for transport streams, too.
func mayBeStream(e *entry) bool { return e.extension == "ts" || e.extension == "mts" }

const (
	syncByte = 0x47 // 'G': one alone proves nothing

	// Sizes in bytes of the packets of an MPEG transport stream.
	packetSize      = 188
	timedPacketSize = timeCodeSize + packetSize // of camcorders and Blu-ray
	timeCodeSize    = 4
)

// isStream reports whether a file begins like an MPEG transport stream.
func isStream(head []byte) bool {
	return isSynced(head, packetSize) || len(head) > timeCodeSize && isSynced(head[timeCodeSize:], timedPacketSize)
}

// isSynced reports whether each packet begins with the sync byte, and there are two.
func isSynced(head []byte, size int) bool {
	if len(head) <= size {
		return false
	}
	for at := 0; at < len(head); at += size {
		if head[at] != syncByte {
			return false
		}
	}
	return true
}
