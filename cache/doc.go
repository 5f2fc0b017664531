// Package cache is the read path of an edge: what is in memory, what is on the disk, and
// what has to come from elsewhere. Whoever wants a block asks here, a visitor's request,
// a pin or a sibling alike, and [Cache.Get] (cache.go) tells the whole story.
//
// # A request's way
//
//  1. The CID's multihash is the key: the same bytes asked for under another
//     codec or CID version are a hit. The block that is returned always carries
//     the CID that was asked for. A CID that carries its own content (multihash
//     "identity") is answered on the spot and never stored.
//  2. The key selects a shard of the memory, which is an LRU list behind a mutex of its
//     own. A hit moves the block to the front and allocates nothing.
//  3. On a miss the request joins the flight for its key, or starts one (flight.go).
//     There is one flight per key however many wait for it, visitors and siblings. It
//     runs on a context of its own: a visitor who hangs up ends only their own wait, and
//     the fetch is cancelled when the last of them has gone.
//  4. The flight looks on the disk; then the [Fleet] finds the block, at its homes
//     (Get) or, being at home here, at siblings and the origin (Fill).
//  5. Everyone who waits gets the block. It is kept in memory if a visitor wanted it, and
//     written to the disk if the [Admission] says so. Errors are handed to everyone who
//     waited and are not remembered.
//
// One table holds the flights of this edge. Only while this edge asks a better home for
// a block may a sibling have it filled here at the same time; then there are two flights
// for it, so that neither waits for the other.
//
// # Uses
//
// Memory, finished answers and disk are one cache: a use in any of them counts on the
// disk of the block's home (uses.go). What was used and is not on the disk any more goes
// back there. What stands for a block (a finished answer that shares its bytes) holds it,
// so that others find it.
//
// # The bound
//
// [Options].Bytes bounds the memory that cached blocks hold at any moment, not
// their number and not only their payload. A block is charged the memory that Go's
// allocator takes for its bytes plus [Overhead] for what surrounds them: list
// element, map slot, block header, CID. BenchmarkMemoryPerBlock divides the charge
// by what the heap really grew: 1.00 for blocks of 4 KiB and more, up to 1.06 for
// tiny ones. Not counted: garbage not yet collected (GOGC, GOMEMLIMIT), and the slots that a
// map which held many tiny blocks keeps after they made room for few large ones. Blocks in
// flight that come from an origin have a bound of their own, an eighth of Bytes and at least
// 32 MiB: an origin's body waits for it, and has its bytes until the block was written and
// everyone who waited has it (block.Quota).
//
// The bytes are divided evenly among the shards. A block that is larger than a
// shard's share is passed through and not kept. With Bytes at 0 nothing is kept,
// and there is still one flight per key.
//
// [Cache.Lend] takes a part of the budget away, for the gateway's finished answers:
// the two share what the operator set as one number.
//
// # Purging
//
// [Cache.Delete] and [Cache.Clear] win over flights: what one brings that was under way
// at that moment is given to those who wait for it and not kept, and a request that comes
// later starts a flight of its own. A purge begins with the disk, so that no later request
// refills the memory from what is still to be purged.
//
// # When something fails
//
// A disk that fails is passed by, and a write that fails fails no request. An error of
// the fleet is returned as it is. If a layer panics, the waiters get a [*PanicError],
// which holds the stack for the log; nobody is left waiting. [Cache.Close] cancels what
// is in flight and returns when it has ended.
//
// # Locks
//
// A shard's mutex is never held while anything is fetched, read or written, nor while
// another lock is taken.
package cache
