// Package answer makes answers of content: from a content path that may be served to a
// representation of what it leads to (RFC 9110, section 3.2), as the IPFS gateway
// specifications describe (https://specs.ipfs.tech/http-gateways/).
//
// # Building
//
// [Builder.Build] follows a path name by name (resolve.go): through folders, sharded ones,
// values of CBOR and JSON up to their links, and, where content has an origin of its own,
// through symbolic links that stay inside the site. A site given by a path has its root
// there. Where a path leads nowhere, the site's _redirects may name something else (rules.go).
// What it leads to becomes, by the format that is wanted ([Want]),
//
//	content.go   a file, a folder's index.html, or a page that lists a folder
//	value.go     a block as it is; dag-cbor and dag-json as browsers get them; an IPNS record
//	car.go       a CAR of the path and what lies below it
//	tar.go       a TAR of a file or folder
//
// An [Answer] has its header, ready to be sent, and its content: bytes that are at hand,
// a file that is read block by block, or an export that is written as its blocks come. All blocks of
// the path and the one that it leads to were read before there is an answer, with HEAD and
// If-None-Match too: what nobody has, or nobody can give, is a [Failure] and never an answer.
//
// [Answer.Reply] decides what one request gets of it: conditions, then the range.
// [Builder.Keep] makes of an answer what is kept of it.
//
// # Reading
//
// A [Source] bounds, over all requests, how many wait for content that is not held here, and
// [Reads] are what one request reads: they count what came from where, and end when the wait
// is over. Exports remember what they sent, within bytes that all of them share (places.go),
// and pages are made a few at a time, so that a crowd of them neither takes memory nor
// delays others. A page has up to a thousand entries; the next begin behind its last name.
//
// All methods of [Source] and [Builder] may be called from any goroutine; [Reads], answers
// and replies are one request's.
package answer
