// Package gateway is the public door of an edge: everything that a visitor of a
// website, a browser on a subdomain gateway or a trustless client asks over HTTP
// comes in here.
//
// # A request's way to its answer
//
//		limits, host, policy        this package: server.go, exchange.go, proxies.go, connect.go, hosts.go, policy.go
//		content path                respond.go, subdomain.go
//		resolution                  answer/resolve.go, answer/rules.go
//		representation and header   answer/build.go, content.go, value.go, car.go, tar.go
//		conditions and range        answer/reply.go
//		coding and wire             give.go, coding/, wire.go
//
//	 1. observe makes the request's [exchange], and at the end accounts for it: one line in
//	    the access log, and metrics. It also catches panics.
//	 2. believeProxies removes X-Forwarded-* and Forwarded, unless the peer is one
//	    of the trusted proxies; then it applies them.
//	 3. refuseProxying answers 405 to those who take this edge for an HTTP proxy, unless
//	    Options.Connect is set.
//	 4. identify finds out what the Host header names: a site, a gateway host (or a
//	    subdomain of one), an IP address, or a stranger. Names nothing is served
//	    for end here, except with serve: any.
//	 5. respond turns host and path into a content path: a site's
//	    /about.html becomes /ipns/www.example.org/about.html, and
//	    CID.ipfs.localhost/x becomes /ipfs/CID/x. Sites are DNSLink websites; where their
//	    content is, [Options.Sites] says, not the DNS. Then allow checks the content path
//	    against the serve policy. This is the only check, every door leads through it, and it
//	    happens before any block of the requested content is fetched or any name is looked up.
//	 6. Package answer builds the answer, a representation of the content: a file, a page, a
//	    block, an export. Nothing was sent until then, so whatever fails is an error.
//	 7. give sends it: the conditions and the range of this request, a coding that it takes,
//	    the wire. A failure after the first byte cuts the message.
//
// # What was asked before
//
// There is one way. What was found out on it is kept (package hot), so that it is not found
// out again: where a name in a folder leads, the rules of a site, the map of a large file, a
// form of content in a coding, and for a plain request (isPlain) the finished answer, under
// the host and target as requests write them. A hit goes from the look-up straight to give.
// What a kept answer depends on besides its URL is asked each time: the serve policy, and where
// a name leads now. New sites or rules and purges ([Gateway.Prepare], [Gateway.Forget])
// end all of it at once, also what is being worked out.
//
// All of it is bounded in bytes, keys included ([Options.HotBytes]), and borrows what it uses
// from the block cache's budget. An answer stands for the blocks that it was made of, shares
// its bytes with them and keeps them found in memory; a hit is a use of them all, once a
// second. A differential test holds requests that find everything kept against those
// that find nothing.
//
// # The hot lane
//
// Most requests are for a page that is kept, in HTTP/1.1, with nothing unusual in them. They
// need no server: conn.go reads them, package lane recognises them, and the answer goes out with
// a header that is ready, in one write. The lane replaces net/http's part of such a request's way
// and nothing else; the access log, metrics, Cache-Status, deadlines for clients that stall and
// the drain are as everywhere. It is a recogniser: with the first bytes that it does not take,
// or a page that is not kept, the connection goes to net/http, with the bytes that were read,
// untouched. So what is malformed, what a body is and where the next request begins is decided in
// one place. After an answer with nothing unusual in it, whose end both sides know, the
// connection comes back, so a visitor's misses do not make his hits slow. An idle connection has
// no buffer.
//
// # Hits do not pay for misses
//
// An answer that takes the long way costs as much of the processors as a dozen that are
// kept. While these are short, and there are answers from memory, pace.go has the others
// wait for their turn: one for every 32 from memory, and 250 a second for each processor in any case. With
// time to spare nobody waits. Who finds [Options.MaxRequests] waiting already, or waits
// until his time is up, gets 503. What siblings ask for is paced where their visitors are.
//
// # Content codings
//
// Text, scripts and other types that get smaller by it are
// sent in brotli, Zstandard or gzip to clients that take it, from 1 KiB to 16 MiB, on
// every host and path, pages of folders and error pages of _redirects included. Never encoded
// are the formats that clients verify, ranges, answers to no-transform, and what does not
// get smaller. Package coding says when a form is made.
//
// The entity tag of every form is W/"<cid>", as nginx, Varnish and most CDNs have it: see
// answer.Answer.FormTag. If-None-Match finds any form by the one tag, If-Range
// never joins parts of two (a weak tag does not satisfy it, and the whole is sent), and
// parts are those of the content as it is, whose tag stays "<cid>". All answers
// that might have been encoded say Vary: Accept-Encoding.
//
// # Hosts
//
// What a request's Host (or a trusted proxy's X-Forwarded-Host) opens, whatever
// its case and port:
//
//	a site                          that website
//	one of gateway.hosts            /ipfs/... and /ipns/..., redirected to subdomains if it has them
//	CID.ipfs.HOST, NAME.ipns.HOST   that content, in an origin of its own
//	an IP address, or nothing       /ipfs/... and /ipns/...
//	any other name                  404; with serve: any, its DNSLink website, and
//	                                without a record /ipfs/... and /ipns/...
//
// A name that is both a site and a gateway host answers /ipfs/... and /ipns/...
// as a gateway and everything else as the site.
//
// No redirect leads to another host, unless a rule of the site's own _redirects names
// one: a Location is made of a cleaned path, percent-encoded (RFC 3986), and of a host only
// if that is a subdomain of the gateway that was asked. The query is the request's, byte for
// byte.
//
// # Where content came from
//
// The farthest source so far goes into the Cache-Status header (RFC 9211). A
// header leaves with the first byte, so it covers the blocks that were needed
// until then; the metrics and the access log cover the whole response:
//
//	Cache-Status: shoal; hit                               memory had everything
//	Cache-Status: shoal; fwd=uri-miss; detail=origin       or disk, or sibling
//	Cache-Status: shoal; fwd=uri-miss; detail=failed       it was looked for, and could not be had
//	Cache-Status: shoal; detail=none                       no block was needed (redirects, refusals)
//
// Server-Timing says how long it took until then: total, and of that, origin.
//
// # What strangers may ask for
//
// [ServePolicy] decides it. With "sites", a CID is served when it is pinned here,
// when it is the root of a site, or when it lies inside a site's tree. To know
// the last, the site's index blocks are walked, once for each root, and the CIDs
// kept as 8-byte hashes (see trees.go). A request for an unknown CID costs
// a lookup in that set, never a fetch.
//
// # New settings
//
// [Gateway.Prepare] checks new options and makes of them another table of sites and
// rules, with handlers of its own; putting it in force swaps one pointer. A request
// keeps the table that it came in with, so it sees the old options or the new ones,
// never some of both. What is known of a site that did not change is carried over.
//
// # Failure
//
// An answer.Failure has the status and the one plain sentence that a visitor sees, never an
// internal address; the cause goes into the access log. Failures carry no ETag, repeat
// nothing of the request in their header, and are not to be kept. A failure after the first
// byte cuts the response short, whatever it is:
// on HTTP/1.1 the connection is closed without the last chunk or before Content-Length
// is reached, on HTTP/1.0 it is reset, on HTTP/2 the stream is, so nobody takes it for complete.
//
// All exported methods may be called at any time from any goroutine.
package gateway
