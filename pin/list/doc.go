// Package list keeps the fleet's list of pins: the same on every edge, whichever edge
// was told, without a coordinator.
//
// # How it is used
//
//	l, err := list.New(list.DefaultOptions(), list.Config{Datastore: db, Peers: peers, Changed: f}) // reads it from disk
//	for method, h := range l.Handlers() { swarm.Handle(method, h) }                                 // before the swarm starts
//	l.Start()                                                                                       // talks to siblings
//	err = l.Add(ctx, pin); err = l.Remove(ctx, id); for p := range l.Owned(owner) { ... }
//	l.Close()
//
// A change is on this edge's disk when it returns, and on its way to all siblings.
// Reads never wait for a disk: the list is in memory, newest first, for all and for
// each owner. Changes that come at the same time share one fsync.
//
// # What kind of list it is
//
// An observed-remove set without tombstones: a replicated data type (CRDT) whose
// replicas may change at any time, and are the same as soon as they have heard of the
// same changes, in whatever order, however often (Bieniusa et al., "An Optimized
// Conflict-free Replicated Set", INRIA RR-8083, 2012).
//
// Each addition gets a number, its dot: the author, which is a random name for one run
// of an edge, and a count. An edge keeps the pins that are on the list, and which dots
// it has ever seen; as counts have few gaps, that is one short range per author. From
// both together it follows what was removed: a dot that was seen and is not on the list.
// So a removal leaves nothing behind, and yet wins over the addition wherever they
// meet, after a split of any length, without a clock and without a time after which
// old edges become dangerous. IDs of pins are never used again, so there are no
// conflicting values.
//
// All this rests on an edge knowing of no number before its author gave it out. One that
// does, by a bug or by malice, takes for removed what is only just being added. So an
// edge checks that a number is free before it uses it, goes on as another author when
// somebody speaks of numbers that it never gave out, and gives its pins other numbers
// when a sibling counts them as removed that cannot have seen them (given.go).
//
// What grows for good is one range per run of an edge that has added a pin: some 100
// bytes in memory and on disk. A fleet of ten edges, restarted every day for ten years,
// gets to 4 MB. Siblings cannot make it more than 26 MB.
//
// # How it spreads
//
// Edges that form a fleet can all call each other, and have proved who they
// are (package swarm). So changes are simply told to each sibling; no gossip protocol
// (pubsub) is needed in between. What is told is not acknowledged to the one who made
// the change, and may be lost. Therefore lists are compared:
//
//  1. An edge asks a sibling for the sum of its list ("pins.compare", two digests):
//     when the sibling appears, after a call that failed, and one per [Options].Interval,
//     each in turn, in a large fleet of the eight that it drew by lot. The sibling sees the asker's sum, and may do the same.
//  2. If they differ, the edge reads the sibling's list. It gets an outline
//     ("pins.outline"): which dots are known over there, and a digest for each 1024
//     numbers of an author.
//  3. Where digests differ, it asks which dots are on the list ("pins.pull"), and gets
//     the pins that it does not know. Pins here that the sibling knew and has not are
//     removed.
//  4. With each page that is done, it takes over what the sibling knew. That is stored
//     with the pins, so an edge that is stopped meanwhile goes on where it was.
//
// So lists are the same within a second or two after a heal or a join, an edge that was
// away gets what it lacks and nothing else, and idle edges make one call a second.
// Messages hold at most 1 MiB; everything is paged.
//
// # What happens when
//
//   - the edge is killed: what Add or Remove returned for is there. A pin, what is known
//     and the sum are written in one transaction.
//   - the disk is full: Add and Remove return the error, the list stays as it was, and
//     changes from siblings are taken in when there is room.
//   - the disk is lost: the edge comes back empty. It knows nothing, so it removes
//     nothing; it is a new author, so it uses no number twice; it reads the list from a
//     sibling. The same is true for a disk restored from a backup: what was removed
//     since is known to the siblings.
//   - the database lost something: the sum does not agree. What is gone would look like
//     a removal, so the edge forgets what it knew but for the pins that it has, and
//     reads the list from its siblings.
//   - a sibling is silent: it is tried again every Interval, what was to be told is
//     dropped beyond 4 MiB, and it reads the list when it is back.
//   - a sibling sends nonsense: the message is refused as a whole and the reason
//     logged. A pin that cannot be understood is left out, the others are taken.
//   - a sibling speaks of numbers that were never given out, or this machine is set back to
//     a snapshot while it runs: what this edge added stays, under other numbers, with a
//     warning in the log and shoal_pin_list_renumbered_total. A sibling that goes on and on
//     is believed in the end. What cannot be told from a removal is one, and the log says
//     from whom it came: a claim about numbers that the edge has given out meanwhile, as it
//     was cut off from the sibling, or about those of an earlier run.
//   - an edge runs a later version: its records are kept and handed on as they came.
//   - the clock jumps: nothing depends on it but the times of creation.
//
// # Why not go-ds-crdt
//
// It is what ipfs-cluster uses, and was tried first: v0.6.4 with Pebble below, nodes
// fetched from a sibling over calls, 100 000 pins of 200 bytes, on a shared virtual
// machine with two cores. bench/pins repeats it.
//
//	                                       go-ds-crdt            here
//	an empty edge catches up               142 s; 32 s if        8 and 16 s
//	                                       ancestors come too
//	calls for that                         100 000; 55           less than 90
//	on disk with 100 000 pins              48 MB                 51 MB
//	after all were removed                 73 MB, compacted 59   51 MB, of which
//	                                       and never less        none is in use
//	killed in the middle of catching up    1580 and 2243 of      nothing is missing
//	                                       5000 never arrive
//
// The right column was measured while the machine was four times as busy as for the
// left one.
//
// The last line is why it was not taken. Its operations form a chain of nodes, walked
// from the newest to the oldest, and each node is marked as done before its ancestors
// have been fetched. After a crash the walk is not resumed, unless somebody orders a
// repair, which walks all there ever was. For the same reason a crash between storing
// a node and storing it as the new head leaves a pin that no other edge hears of.
//
// Here a pin takes some 380 bytes of memory besides its meta and origins, and 100 000 of
// them take a second of CPU to open.
package list
