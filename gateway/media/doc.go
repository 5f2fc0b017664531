// Package media knows the media types (RFC 6838) of web content.
//
// The type of a file follows from the last extension of its name, by a table that is
// part of the binary (types.go). Nothing is read from the system, so all edges of a
// fleet say the same about the same file, whatever is installed next to them. Package
// mime of the standard library cannot promise that: it adds to its table what files
// like /etc/mime.types have.
//
// The table follows the registry of IANA
// (https://www.iana.org/assignments/media-types), and for what is not registered the
// name that browsers and other servers use. Where these disagree, what browsers take
// wins: audio/wav, application/rss+xml. Source code without a registered type is
// text/plain, which every browser shows. XML that has no type of its own is text/xml.
// Programs and disk images are application/octet-stream, whose only use is a download.
//
// # Charset
//
// Text is declared to be UTF-8, with one exception: HTML has no charset, so that the
// document's own declaration counts. JSON never has one, it is always UTF-8 (RFC 8259,
// section 8.1).
//
// # When the bytes count
//
// Three kinds of name do not settle the type, and only for them [NeedsHead] is true:
//
//   - A name without an extension ("README", ".htaccess", "name.").
//   - An extension that is not in the table.
//   - .ts and .mts, which are MPEG transport streams or TypeScript. Packets of a stream
//     start with a sync byte at a fixed distance (ISO/IEC 13818-1, section 2.4.3.2).
//
// A name that says nothing is left to package mimetype, which looks at the first
// [HeadBytes] bytes at most. It knows SVG, JSON, fonts and archives;
// net/http.DetectContentType knows none of the first two. Pages without an extension
// are found by how they begin, as the MIME Sniffing standard does, so that websites
// with such URLs work. What it finds is brought in line with the table. A charset that
// a file declares is never copied: its publisher would write into our header.
//
// # Content codings
//
// A .svgz file is an SVG image that is stored in gzip, and browsers show it only when
// they are told so: its Content-Encoding is gzip. All other packed files are what they
// are: who downloads an archive wants the archive.
//
// All functions are safe for concurrent use. Their cost is bounded by the length of
// the name and by [HeadBytes].
package media
