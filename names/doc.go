// Package names tells what a name points to now, and for how long.
//
// What comes in: a content path such as /ipns/example.org/a/b, an IPNS name, or a
// DNS name. What goes out: an immutable path, the signed record, or the target of
// the DNSLink, with the time for which it may be relied upon. Anybody may call it,
// from any number of goroutines.
//
// A path goes like this:
//
//  1. The part after /ipns/ is read: a public key in any of its spellings (base36
//     or base32 CID, base58 peer ID) is an IPNS name, everything else must be a DNS
//     name of two labels or more. IP addresses, "localhost" and other names that the
//     DNS does not know (RFC 6761, RFC 7686) are refused without asking anybody.
//  2. The table of answers is consulted. What is there and has not expired is the
//     answer; in the last tenth of its life it is looked up again on the side, so
//     that no visitor to a busy site waits for DNS.
//  3. Otherwise the name is looked up, once for everyone who asks. The lookup is on
//     nobody's account: a visitor who hangs up ends only their own wait.
//     A DNSLink (https://dnslink.dev) is a TXT record of _dnslink.NAME, asked of the
//     configured DNS-over-HTTPS resolvers (RFC 8484) in order, or of the servers in
//     /etc/resolv.conf. An IPNS record comes from a trustless gateway and counts only
//     if its signature matches the name, it has not expired, and no newer one has
//     been seen (https://specs.ipfs.tech/ipns/ipns-record/).
//  4. If the target is a name again, it is resolved too, up to
//     [Options].DepthLimit names; a circle is noticed. The rest of the path is kept
//     and the shortest lifetime on the way is the one that is returned.
//
// # How long an answer lives
//
// As long as its publisher says (the TTL of the DNS answer or of the record, the
// latter at most until its end of life), within [Options].MinTTL and MaxTTL. That a
// name has no record is remembered as the zone's SOA says (RFC 2308), for 5 s to
// [Options].NegativeTTL.
//
// # When something fails
//
// If a name cannot be looked up, its last good answer is served, for up to
// [Options].MaxStale after it expired, and for an IPNS record never beyond its end
// of life (the idea and the defaults are those of RFC 8767). The first visitor
// waits [Options].Patience at most; later ones do not wait at all, while the lookup
// is repeated in the background, at most once per Retry, doubling to RetryMax. That
// a name has gone stale, and that it has recovered, is logged once, and shows in
// the gauge shoal_names_stale.
//
// A name that the DNS says does not exist is not kept alive this way: its owner
// took it away. A gateway saying that it has no IPNS record is no such statement,
// since nobody signed it.
//
// Without a last good answer the caller gets an [*Error], whose Reason says what
// went wrong and whose message is fit for a visitor: addresses of resolvers are in
// its Cause only. An Error is also the nearest error of the IPFS libraries (boxo's
// namesys and ipns, libp2p's routing).
package names
