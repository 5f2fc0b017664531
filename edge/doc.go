// Package edge builds one edge out of its components and runs it. It is the only place
// that knows all of them; main, the demo and the tests use it alike.
//
// # The path of a request
//
//	visitor -> gateway -> cache -> blockstore, swarm -> origin
//
// The gateway resolves a host and a path to CIDs and asks the cache for each block. The
// cache looks in memory, lets one caller per block through to the disk, and what
// the disk lacks is asked of the fleet: of the edge that is home to the block, which
// alone asks the origin. A block comes back verified and is kept in memory. It is
// kept on disk where it is at home; elsewhere only if it proved hot or leads to other
// blocks, so that the disks of a fleet add up. A write that fails (a full disk) does
// not fail the read. An edge without siblings is home to everything.
//
// Pins stand beside that path. They fetch through the disk and the fleet, not through
// the memory; and between the gateway and the names stand the releases of sites, so
// that visitors see whole ones only.
//
// # Start and stop
//
// [New] opens the block store, the swarm's listener, the origins' archives, the pins and both
// doors, in that order, so that whatever is wrong with the set-up is an error before anything is
// served. Run serves until its context ends, then drains: readiness fails, siblings
// hear that this edge leaves, no new connection is taken, requests in flight finish within the configured time. Close
// releases everything; it is called after Run, or instead of it.
//
// # New settings
//
// [Edge.Reload] reads the settings again and puts in force what can be without a
// restart. All components get ready first, which may fail and then changes nothing; then all
// take over, which cannot fail. Requests in flight finish as they began.
package edge
