// Package pin keeps what must stay: the fleet's list of pins, who holds what of it,
// and the IPFS Pinning Service API in front.
//
// A pin says that a DAG, named by its root CID, stays whole on a number of edges
// until somebody unpins it. Eviction, a crash and the loss of an edge do not touch it.
//
// # Parts
//
//   - record is the vocabulary: what a pin is, its states, how pins are filtered.
//   - list is the fleet's list of pins, the same on every edge.
//   - hold has this edge's share: it fetches DAGs whole, protects their blocks in the
//     block store, checks and repairs them, and lets them go.
//   - service is the IPFS Pinning Service API over HTTP.
//   - This package decides who holds what, tells the others how far this edge is, and
//     puts both together into the status of a pin.
//
// # What is replicated, and what is not
//
// The list of pins is wished-for state, written by whoever takes a request, and
// replicated to all edges as an observed-remove set (package list): no coordinator, no quorum, each part of a
// fleet that was cut in two goes on, and both merge. How far an edge is with its share
// is known by that edge alone. It tells the others in reports, which are not stored: an
// edge that starts asks for them, and a report ends with the edge that made it.
//
// # Who holds a pin
//
// The first edges by rendezvous hashing of the root CID, as many as the pin has
// replicas, among the members of the fleet. A member that is gone counts as there for
// [Options].Grace, so that a restart moves nothing. After that the next in rank fetches
// its share, from the edges that are left: the origin may be off. When the lost edge is
// back, it brings its share up to date, says so, and the surplus is let go.
//
// # The states of a pin
//
//	queued   no edge has begun
//	pinning  at least one edge fetches it
//	pinned   as many edges hold it whole, and durably, as the fleet can offer of those
//	         asked for. It stays so while an edge that holds it is there; the info of
//	         the pin says how many there are
//	failed   no edge is still trying, and too few hold it; the info of the pin says why
//
// # Sites
//
// A site of the configuration is pinned by the fleet on its own. Each edge follows the
// site's name; what it leads to now is a pin that every edge derives in the same way,
// and that is on no list. Visitors get the last release that was pinned whole until
// the new one is; then the old one is let go.
//
// # What happens when
//
//   - an edge is killed while it pins: it starts the walk again; what is stored already
//     is not fetched again. What it had reported as pinned was committed with an fsync.
//   - the pinned set does not fit: the pin fails with the bytes needed and free, and
//     what was held for it is let go.
//   - nobody has a block: the pin stays pinning, is tried again with growing pauses, and
//     fails after [Options].GiveUp with the CID that is missing.
//   - a block of a pinned DAG is damaged: the store reports it as lost, the next check
//     fetches it again from whoever has it.
package pin
