// Package edge builds one edge out of its rooms and runs it. It is the only place
// that knows all of them; main, the demo and the tests use it alike.
//
// # The path of a request
//
//	visitor -> gateway -> cache -> blockstore -> origin
//
// The gateway resolves a host and a path to CIDs and asks the memory cache for
// each block. The cache lets one caller per block through to the disk, and what
// the disk lacks is asked of the origins. A block comes back verified, is written
// to the block store, kept in memory, and handed to everyone who waits for it. A
// write that fails (a full disk) does not fail the read.
//
// # Start and stop
//
// [New] opens the block store, the origins' archives and both listeners, in that
// order, so that whatever is wrong with the set-up is an error before anything is
// served. Run serves until its context ends, then drains: readiness fails, no new
// connection is taken, requests in flight finish within the configured time. Close
// releases everything; it is called after Run, or instead of it.
package edge
