// Package lane recognises the requests that an edge gets most: GET and HEAD in HTTP/1.1,
// without content, well-formed, with nothing unusual in them (RFC 9112).
//
// It is a recogniser and no parser: [Request.Read] takes a strict subset, and says of
// everything else that it is for net/http, which gets the connection with the bytes that were
// read, untouched. When in doubt, it is in doubt about the whole request. So there is one
// place that decides what a malformed request means, where the next one begins, and what a
// body is, and it is not here: a request with Content-Length, Transfer-Encoding, Expect,
// Upgrade or a second Host is never taken, nor one with a bare CR, a folded line, a name that
// is no token, or a space where none may be.
//
// Nothing here keeps state but a [Request], which one goroutine uses.
package lane
