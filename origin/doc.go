// Package origin is where content comes from when no edge has it. It is trusted
// for nothing: what an origin sends is hashed before anyone sees it, and what it
// says about itself (lengths, types, redirects, waiting times) is bounded.
//
// # The story of a request
//
// A [Set] holds the origins in the order of the configuration. [Set.Get] refuses
// CIDs that cannot be verified, answers identity CIDs out of the CID itself, and
// asks one origin after the other until one has the block:
//
//   - A gateway origin is a trustless HTTP gateway. It is asked for
//     GET {url}/ipfs/{cid}?format=raw
//     (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
//   - A car origin is an archive on this machine: a CARv1 or CARv2 file, or a
//     folder of them, indexed when it is opened and read in place
//     (https://ipld.io/specs/transport/car/).
//
// A block goes out as a [block.Verified]. When every origin says that it lacks
// the block, the answer is not found. When at least one origin failed and none
// had the block, the answer is a [block.UnavailableError]: the broken one may
// have it. The caller's own cancellation ends the search at once.
//
// [Set.Prepare] opens other origins while these are in use, and [Change.Commit] has
// the set ask those. Calls under way finish with the ones that they began with; what
// was removed is closed after the last of them.
//
// # Protecting the origin
//
// Misses arrive in crowds and an origin in trouble must not get more of them.
// Between a request and a gateway origin stand, in this order: a short memory of
// what was just not found or just failed; the pause that the origin asked for
// with Retry-After; a limit on requests at once; a circuit breaker. Only then is
// the request sent, and repeated with jitter when repeating may help (a broken
// connection, a 5xx, a body cut short).
//
// The breaker counts what the origin is to blame for. A visitor who goes away,
// missing content, and answers that speak about one CID only (most 4xx, and 504,
// which a gateway gives for content that it could not find in time) say nothing
// about the origin's health: strangers could use them to switch an origin off.
//
// # Archives
//
// Opening an archive reads the header and each section's length and CID, and skips
// the payloads. A malformed archive is an error that names the file and the
// offset, and New fails. The index embedded in a CARv2 is not used. The index
// kept in memory takes 16 bytes a block (see index.go), whatever the block's
// size. Files stay open and are read with pread, never mapped, so that a file cut
// short under a running edge is an error and not a signal that ends the process;
// a file replaced by renaming another over it is served as it was until restart.
//
// The edge calls New once, and Close when nobody asks any more; a Set is safe for
// concurrent use.
package origin
