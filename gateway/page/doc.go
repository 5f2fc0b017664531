// Package page makes the two HTML pages that the gateway writes by itself: the list of a
// folder ([Folder]) and the view of a dag-cbor or dag-json value ([Value]).
//
// A page is one answer. Its style and its script stand in it and are allowed by their
// hashes ([Policy]), so it asks nobody for anything. It is read with any browser, by
// keyboard, and without the script, which only sorts the rows that are there.
//
// Whatever comes from the content, names above all, was written by strangers. Text is
// escaped for HTML, and characters that do something instead of being shown are written
// out (package printable). A link is percent-encoded (RFC 3986, section 2.1), begins with
// a path or host that the gateway named, and the name of an entry adds one segment to it
// and nothing else. A name that cannot be a segment is shown without a link.
//
// Nothing here keeps state, and all functions may be called by several goroutines at
// once. What a page takes is proportional to what it shows, and bounded: see
// [Folder.HTML] and [Value.HTML].
package page
