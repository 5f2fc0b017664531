// Package admin is the admin API: health, metrics, a dashboard, and the
// import and purge of content, over HTTP on a listener of its own.
//
//	GET  /healthz            200 while the process answers; asks nobody
//	GET  /readyz             200 when this edge serves and is not draining, else 503;
//	                         the text says if its own origins fail
//	GET  /                   the dashboard page
//	GET  /metrics            Prometheus
//	GET  /api/v1/stats       what the dashboard shows, as JSON
//	POST /api/v1/add         import: application/x-tar, multipart/form-data or
//	                         application/vnd.ipld.car; ?name= &pin=false &wrap=true &progress=false
//	POST /api/v1/purge       forget: ?path=CID or /ipfs/CID/path &unpin=true &fleet=true
//	GET  /api/v1/pins        the fleet's pins, one JSON line each and a last one with their number:
//	                         ?cid= &name= &match= &status= &before= &after= &limit=
//	POST /api/v1/pins        pin: ?path=CID, /ipfs/... or /ipns/... &name= &replicas= &wait=true
//	GET  /api/v1/pins/ID     how far each edge is; ID may be a CID; &wait=true until it is pinned or failed
//	POST /api/v1/pins/ID/verify   have every edge that holds it read and check it
//	DELETE /api/v1/pins/ID   unpin; ID may be a CID
//	     /pins               the IPFS Pinning Service API, with tokens of its own
//	POST /api/v1/reload      read the settings again; 422 and no change if they are wrong
//	GET  /api/v1/swarm       the fleet's members; /where?cid= asks who holds a block
//	GET  /debug/pprof/       Go's profiles
//
// # Who may enter
//
// With a token, everything but /healthz, /readyz and the bare dashboard page needs
// "Authorization: Bearer <token>" (and /pins one of its own tokens, always); a Prometheus server is given it as a
// credential. Without a token it listens on loopback addresses only, and
// [Options.Validate] refuses any other. A browser on that machine is then the one
// stranger who could come in, led by a foreign page: so a request must name a
// loopback host (no DNS rebinding), and one that changes something must not come
// from another origin (no cross-site requests).
//
// # An import
//
// The body is read as it comes, however long it is; it may stop for
// Options.StallTimeout at most. At most Options.MaxImports run at once, the next
// one gets 429. The answer is a stream of JSON lines: {"progress":{...}} from time
// to time, then one line with the result ([AddResult]). An import that fails
// before the first line has a status of its own; after it, the last line is an
// error and the status remains 200.
//
// # When it fails
//
// Every error is {"error":{"reason","details"}}: reason is for machines, details
// for the operator. What errors mean they say themselves;
// see [problem.Of]. An error without one is 500 INTERNAL_SERVER_ERROR.
//
// The package knows the other components only by [Deps]. The package
// client calls these endpoints.
package admin
