// Package service is the IPFS Pinning Service API v1.0.0 over HTTP, as the frozen
// OpenAPI document at https://github.com/ipfs/pinning-services-api-spec has it.
//
//	GET    /pins              200  the newest pins that match; by default 10, and pinned
//	POST   /pins              202  a new pin
//	GET    /pins/{requestid}  200  one pin
//	POST   /pins/{requestid}  202  a new pin in the place of that one, which is then gone
//	DELETE /pins/{requestid}  202  the pin is gone; no body
//	OPTIONS                   204  for browsers: any web page may ask, with a token
//
// # The story of a request
//
// A [Service] is an http.Handler for the path /pins and all below it. It finds out
// whose request this is by the bearer token: each token sees its own pins, and the
// record of a pin has a digest of the token, never the token. It waits for its turn
// when the same token has many requests under way. What the client sent is checked in
// full, and becomes a [record.Request] or a [record.Query]; only then [Pins] is asked,
// who keeps the pins. The [record.View] that comes back is written as the document has
// it. This package stores nothing and starts no goroutine.
//
// # How strict it is
//
// What the document rules out is refused with 400, and the details name the field, the
// value and what was expected: a null, a repeated origin, a name of more than 255
// characters. What it leaves open is let through: fields and parameters that it does
// not know are ignored, and a list in a query may come as a=1,2 or as a=1&a=2. In
// answers, what is optional and empty is left out; nothing is null.
//
// A CID comes back in the spelling that it came in. A filter finds the same content in
// any spelling and CID version.
//
// # When it fails
//
// Every error, a panic included, is {"error":{"reason","details"}} with the content
// type application/json; see [problem.Reason]. An error of Pins without a reason is a 500: the
// log has it, the client does not.
package service
