// Package coding sends content compressed: which content codings (RFC 9110, section 8.4) a
// request takes, and the forms of content in them.
//
// A [Form], which is content in one coding, is made once and kept in a store of hot
// results; it is found by the content's name, its CID, so all URLs of a file share it. The
// request that finds none makes it at once, at a level that takes about a millisecond, if a
// place is free and nobody else is making it; else it gets another form or the content as
// it is. So no request waits for another's encoding, but one that refuses the content as it
// is. What is sent again and again, and what is not in memory in one piece, is encoded by one
// goroutine in the background, the former harder.
//
// All methods may be called from any goroutine.
package coding
