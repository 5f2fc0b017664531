// Package gateway is the public door of an edge: everything that a visitor of a
// website, a browser on a subdomain gateway or a trustless client asks over HTTP
// comes in here.
//
// # A request's way in
//
//  1. observe makes the request's record (which blocks it read and from where),
//     wraps the response writer, and at the end writes one line to the access log
//     and counts the request. It also catches panics.
//  2. believeProxies removes X-Forwarded-* and Forwarded, unless the peer is one
//     of the trusted proxies; then it applies them and forgets them.
//  3. refuseProxying answers 405 to those who take this edge for an HTTP proxy, unless
//     Options.Connect is set.
//  4. identify finds out what the Host header names: a site, a gateway host (or a
//     subdomain of one), an IP address, or a stranger. Names nothing is served
//     for end here, except with serve: any.
//  5. boxo's hostname handler turns the host into a content path: a site's
//     /about.html becomes /ipns/www.example.org/about.html, and
//     CID.ipfs.localhost/x becomes /ipfs/CID/x. Sites go through the machinery
//     of DNSLink websites, so that origin isolation, _redirects and the headers
//     are right; where their content is, [Options.Sites] says, not the DNS.
//  6. guard checks the content path against the serve policy. This is the only
//     check, every door leads through it, and it happens before any block of
//     the requested content is fetched or any name is looked up.
//  7. boxo's gateway handler answers: files, directories, ranges, conditional
//     requests, and the trustless formats. It reads through two adapters of ours:
//     backend (names, sites and what lies in blocks) and blockService (blocks).
//
// # What was asked before
//
// Plain requests (GET or HEAD, for the whole, for one range, or with one tag in
// If-None-Match; see hit.go) for a URL that was answered before do not go that way.
// While boxo answers one for the first time, capture takes the answer down, if it is
// a file under an immutable path or a name: status 200, ETag exactly "<cid>", a codec
// of UnixFS. From then on a route has it: the header, and the bytes of a small file
// (which are those of its raw block, not copied) or the map of a large one (filemap.go:
// which leaf lies at which offset). What the answer depends on besides the URL is asked
// each time: the serve policy, and where a name leads now. New sites or rules and purges
// ([Gateway.Prepare], [Gateway.Forget]) end all routes at once, also those that are
// being captured.
//
// A route stands for the blocks that it was made of, shares its bytes with them and keeps
// them found in memory; a hit is a use of them all, once a second (stands.go).
//
// Routes are bounded in bytes ([Options.HotBytes]) and borrow what they use from the
// block cache's budget, so that both together stay within it. A look-up takes no lock
// (hot.go). On HTTP/1.1 the answer goes to the connection with a header that is ready
// (wire.go). A differential test holds both ways together: generated requests get the
// same status, header and, once decoded, bytes with routes and without.
//
// # Ranges
//
// Range is read once, by parseRange, as RFC 9110 has it: units other than bytes and what
// is not well-formed are ignored, a suffix longer than the file is all of it, and only
// GET has ranges. Of several parts the first that the file has is sent. boxo gets one
// part with both ends; where that depends on the size, it is asked for the header first.
//
// # Content codings
//
// Text, scripts and other types that get smaller by it (accept.go has the list) are
// sent in brotli, Zstandard or gzip to clients that take it, from 1 KiB to 16 MiB, on
// every host and path, error pages of _redirects included. Never encoded are the formats
// that clients verify, ranges, answers to no-transform, what does not get smaller, and
// pages that are generated for folders, which would be encoded anew each time.
//
// A form, which is content in one coding, is made once and kept beside the routes, in
// the same budget; it is found by the CID of the file, so all URLs of a file share it.
// The request that finds none makes it at once, at a level that takes about a
// millisecond, if a place is free and nobody else is making it; else it gets another
// form or the content as it is. So no request waits for another's encoding, but one that
// refuses the content as it is. What is sent again and again, and what is larger than
// 1 MiB, is encoded by one goroutine in the background, the former harder (compress.go).
// The first answer is boxo's, and is held back until it is whole (held.go); what the
// capture takes down is the content as it is.
//
// The entity tag of every form is W/"<cid>", as nginx, Varnish and most CDNs have it. A
// strong tag promises the same bytes (RFC 9110, section 8.8.1), and two edges, two levels
// or two versions of a codec do not make the same ones: a client that continued one
// form with a range of the other would end up with neither. The content is the same,
// which is what a weak tag says. So If-None-Match finds any form by the one tag, If-Range
// never joins parts of two (a weak tag does not satisfy it, and the whole is sent), and
// parts are those of the content as it is, whose tag stays "<cid>". All answers
// that might have been encoded say Vary: Accept-Encoding.
//
// Whatever goes to boxo finds its path resolved: paths.go remembers what each name in
// a folder leads to.
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
// # Redirects
//
// No redirect leads to another host, unless a rule of the site's own _redirects names
// one. boxo decides that there is a redirect, and redirects.go where it leads: the
// response writer sees every Location, and takes from it the path, written anew and
// percent-encoded, and a host only if that is a subdomain of the gateway that was
// asked. The query is the request's, byte for byte. Rules of a site are matched and
// filled in here: what is put in for :splat and other placeholders is percent-encoded
// for its place (RFC 3986), and none of it becomes a host.
//
// # Blocks
//
// Every block comes from [Blocks], one bounded fetch at a time (or several, for
// the blocks ahead in a file), and its source is noted in the request's record.
// The farthest source so far goes into the Cache-Status header (RFC 9211). A
// header leaves with the first byte, so it covers the blocks that were needed
// until then; the metrics and the access log cover the whole response:
//
//	Cache-Status: shoal; hit                               memory had everything
//	Cache-Status: shoal; fwd=uri-miss; detail=origin       or disk, or sibling
//	Cache-Status: shoal; detail=none                       no block was needed (redirects, refusals)
//
// Server-Timing says how long it took until then: total, and of that, origin.
//
// # What lies in blocks
//
// UnixFS is read where it lies in its blocks (node.go): a decoded link takes ten times its
// bytes, and boxo's reader copies all links of a node at each step. file.go reads a part
// of a file, folder.go finds a name in a folder and lists one, sharded or not, car.go and
// tar.go make exports of them. Each looks at a link once, and counts what it does for
// nothing: nodes, empty links and bytes of nodes that bring no bytes of a file. What goes
// beyond the bounds there, or is not what it says it is, is 422 (TestLyingFiles has them
// all). For paths into other formats, boxo's resolver decodes the block.
//
// Answers that are made, rather than passed on, take many times their block: pages of
// folders and of dag-cbor, paths into it, what a long export has to remember. Together
// they get 32 MiB (places.go): a request takes its place, in bytes, before it begins, or
// waits, and after ten seconds is told to come back. The rest goes on beside them.
//
// An export has its root, and every block of its path, before a header goes out, with
// HEAD and If-None-Match too.
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
// Errors become HTTP in errors.go, and nowhere else. Whatever boxo makes of a
// failed fetch, the response writer replaces by what errors.go says, so a visitor
// sees one plain sentence and never an internal address; the cause goes into the
// access log. Content that is not what it says it is gets 422, not 500: nobody can mend
// it here. A failure after the first byte cuts the response short, whatever it is:
// on HTTP/1.1 the connection is closed without the last chunk or before Content-Length
// is reached, on HTTP/2 the stream is reset, so nobody takes it for complete. Refusals
// and failures carry no ETag and are never immutable.
//
// All exported methods may be called at any time from any goroutine.
package gateway
