// Package hold has this edge's share of the pins: it fetches DAGs whole, protects
// their blocks in the block store, checks and repairs them, and lets them go.
//
// # The story of a root
//
// [Holder.Hold] says that the DAG below a root CID is wanted here from now on; it is
// keyed by the root's CIDv1, however many pins name it. The root is queued, and when
// its turn comes an attempt walks the DAG: depth first, a bounded number of blocks at
// a time. A block that is on the disk is held where it is, and if it has no links it
// is not even read. What is missing is fetched (from the fleet, then the origin, then
// the peers that the pin names), verified, stored and held in one step.
//
// All of it is held under one owner in the store, "pin/" and the root. Every so often
// what was held so far is committed, so that a crash costs no block that was fetched.
// When nothing is missing, the owner is committed for the last time, which syncs the
// blocks and their references, and then the state "pinned" is written and synced. Only
// after that it is said.
//
// [Holder.Let] says that a root is not wanted any more: its state is removed first,
// then the owner is released, both durably. What another root holds too stays.
//
// # What a kill leaves
//
// State and protection are in two places, so their order matters. A root is pinned
// only if its state says so, and the state comes after the commit. An owner counts
// only if there is a state that wants it: at start all others whose names begin with
// "pin/" are released, and owners of other packages are left alone. An attempt that was
// cut off begins again; blocks that its owner holds already are known from the
// store's own list, so nothing is held or fetched twice.
//
// # Limits
//
// A walk ([dag.Walk]) takes 20 to 32 bytes for each block that it has met, and at most
// 32 MiB for the links that it is still to follow. Blocks in flight are bounded in
// number and in bytes. A DAG over one of the limits fails with the number.
//
// Some DAGs are walked at once. A part of these places is for small ones: a DAG that
// turns out to be large gives up such a place, and goes on when another is free. What
// was walked by then is on the disk, and is walked again in a moment.
//
// # What happens when
//
//   - nobody has a block: the walk goes on with the others, so that as much as
//     possible is here. The root stays "pinning" and is tried again after growing
//     pauses; once it was not found for [Options].GiveUp, without anything new, it is
//     "failed" and names the block.
//   - the fleet or the origin cannot be reached: the same, but it does not count as
//     not found, and does not fail however long it takes.
//   - a block cannot be decoded, its codec or hash function is unknown, a limit is
//     reached: failed at once.
//   - it does not fit: failed, with the bytes needed and free, as soon as it is known;
//     the sizes that UnixFS nodes give for what is below them usually show it before
//     anything else is fetched. The protection ends at once. It is tried again when
//     there is room.
//   - something failed: [Holder.Hold] tries again if it comes with new origins or
//     after a while.
//   - a block goes bad on the disk: the store says that it is lost, and the next
//     check ([Holder.Verify], and all by itself once a week) fetches it again. If
//     nobody has it, the root is "pinning" again and stays protected: what was once
//     whole is never given up.
//
// # Who may call it
//
// Package pin, from any goroutine. Hold, Let and State never wait for a disk or
// a network.
package hold
