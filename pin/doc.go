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
//   - release has visitors of a site see whole releases only.
//   - database is where list, hold and this package keep what must survive: one file.
//   - This package decides who holds what, tells the others how far this edge is, and
//     puts both together into the status of a pin.
//
// This package is a reconciler in four layers, each of which knows only those below it:
// the table of what is wanted and held, with the plan for each root (table.go, plan.go);
// the gossip in which edges tell each other how far they are (gossip.go); the controller
// that takes one root after the other from a work queue and brings it to its plan
// (reconcile.go); and what operators, clients and sites ask for ([Pins]).
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
// replicas, among the members of the fleet. A member that is gone counts as there, for
// what it held, for [Options].Grace, so that a restart moves nothing; what it had not
// pinned yet is left to others after ten seconds. After the grace time the next in rank
// fetches its share, from the edges that are left: the origin may be off. When the lost
// edge is back, it brings its share up to date, says so, and the surplus is let go: an
// edge that is not to hold a DAG lets go of it only when all those that are have
// reported it as pinned. An edge that starts lets go of nothing before its siblings
// have reported once, or ten seconds have passed.
//
// # Reports
//
// Each edge keeps a journal: of each root the last word, numbered ([journal]). A
// sibling is told what changed since the number that it knows, in pages, and answers
// which number it has now; so a message that is lost is sent again, and one that starts
// anew is told everything. With the last page comes a digest of the whole state. If it
// is not the receiver's, everything is told again.
//
// # Imports
//
// An import holds its blocks under its own name, durably, before a pin of it is made.
// The edge takes up the same DAG for the pin, although others may be to hold it, and
// ends the import's hold when its own is durable. See imports.go.
//
// # What replaces a pin
//
// It says which root it took the place of. Whoever holds that root keeps it until the
// new pin is pinned or has failed; nobody fetches it for that.
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
// A site of the configuration is pinned by the fleet on its own. Package release
// follows the names of this edge's sites and says here what they show and are about to
// show ([Pins.SetSites]); that goes to the siblings with the reports, and what the sites
// of any edge show is wanted like a pin that is on no list. Visitors get the last release
// that was pinned whole until the new one is; then the old one is let go.
//
// # What happens when
//
//   - an edge is killed while it pins: it starts the walk again; what is stored already
//     is not fetched again. What it had reported as pinned was committed with an fsync.
//   - the pinned set does not fit: the pin fails with the bytes needed and free, and
//     what was held for it is let go.
//   - nobody has a block: the pin stays pinning, is tried again with growing pauses, and
//     fails after hold's Options.GiveUp with the CID that is missing.
//   - a block of a pinned DAG is damaged: the store reports it as lost, the next check
//     fetches it again from whoever has it.
package pin
