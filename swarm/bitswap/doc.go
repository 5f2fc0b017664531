// Package bitswap exchanges blocks with other peers over the Bitswap protocol,
// version 1.2.0 (https://specs.ipfs.tech/bitswap-protocol/). It speaks 1.1.0 and
// 1.0.0 to older peers. Whom to ask, and what is done about a block that is not
// here, is decided elsewhere: this package carries wants and blocks.
//
// It is not a session-based client that searches for providers. It asks one named
// peer for one block, at once, and reports what that peer said; and it answers what
// others ask, from a [Store]. Every message is standard, so either side may be any
// other implementation.
//
// # Streams
//
// Bitswap answers on another stream than the one that asked. To each peer two
// streams go out, opened when first needed and kept: one for wants, so that they
// never queue behind a block that is being sent, and one for answers. Each has one
// goroutine that writes: it takes whatever has been queued since its last write
// into one message. So a single want leaves at once, and under load messages grow
// by themselves; nothing waits for a timer. A stream that dies is opened again, and
// the wants that it carried are sent again.
//
// Messages come in on any number of streams (other implementations open one for
// each message). Each is read by a goroutine of its own, as far as the bounds below
// let it.
//
// # Asking
//
// [Exchange.Ask] sends a want to a peer and calls back once, with the block, with
// HAVE or DONT_HAVE, or with an error when the peer is gone. Silence is not an
// answer: the caller decides how long it waits, may send the want again, and
// cancels it when it gives up. Several callers that ask one peer for the same block
// share one want.
//
// A block arrives without its CID; it is hashed once, on as many processors as
// there are, and the hash tells which want it answers. Bytes that answer no want,
// now or recently, can only be meant as a wrong answer: everything asked of that
// peer fails with [ErrLied], so that the callers turn to somebody else.
//
// # Answering
//
// Who is asking is looked up for each message: strangers are cut off, guests get
// what is stored, members may also cause a fill. A want of a block that is stored
// is put on the peer's queue of answers; its bytes are read from the store only when
// the queue has got to it. A want of a block that is not stored goes to the
// [Filler], which either takes it on (and ends it with [Exchange.Answer]) or leaves
// it, and then the answer is DONT_HAVE. A guest's want stays on record and is
// answered when the block turns up; the record is made before the store is asked,
// so a block that lands in between is not missed.
//
// # Bounds
//
// A peer can hold up: [Options].MaxWants wants on record and as many in the queue
// (what is more is dropped and counted), the largest message in each of MaxStreams streams
// (others wait) but not more than MaxInflight bytes together, and one message being written to
// it. All of this is per peer, and each peer has its own goroutines, so a peer that
// floods or stalls harms itself only.
//
// # Locks
//
// Exchange.mu is taken before remote.mu. Neither is held while the store, the
// filler or a callback runs.
package bitswap
