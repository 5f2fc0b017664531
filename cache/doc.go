// Package cache keeps blocks in memory. It is the first layer on the path of a
// request for a block, in front of the disk.
//
// What comes in: Get(ctx, CID). What goes out: a verified block and where it was
// found, [block.Memory] on a hit, otherwise what the next layer said. Anybody may
// call it, from any number of goroutines.
//
// A request goes like this:
//
//  1. The CID's multihash is the key: the same bytes asked for under another
//     codec or CID version are a hit. The block that is returned always carries
//     the CID that was asked for. A CID that carries its own content (multihash
//     "identity") is answered on the spot and never stored.
//  2. The key selects a shard, which is an LRU list behind a mutex of its own. A
//     hit moves the block to the front and allocates nothing.
//  3. On a miss the request joins the flight for its key, or starts one. There is
//     one flight per key however many wait for it. It runs on a context of its
//     own: a visitor who hangs up ends only their own wait, and the fetch is
//     cancelled when the last of them has gone.
//  4. When the fetch succeeds, the least recently used blocks make room and the
//     new one is kept. Everyone who waited gets it. Errors are handed to everyone
//     who waited and are not remembered.
//
// # The bound
//
// [Options].Bytes bounds the memory that cached blocks hold at any moment, not
// their number and not only their payload. A block is charged the memory that Go's
// allocator takes for its bytes plus [Overhead] for what surrounds them: list
// element, map slot, block header, CID. BenchmarkMemoryPerBlock divides the charge
// by what the heap really grew: 1.00 for blocks of 4 KiB and more, up to 1.06 for
// tiny ones. Not counted: blocks in flight (the caller bounds how many requests it
// lets in), garbage not yet collected (GOGC, GOMEMLIMIT), and the slots that a map
// which held many tiny blocks keeps after they made room for few large ones.
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
// [Cache.Remove] and [Cache.Clear] win over fills: what a flight brings that was
// under way at that moment is given to those who wait for it and not kept, and a
// request that comes later starts a flight of its own. Whoever purges a block from
// several layers starts with the farthest one, so that no later request refills a
// near layer from one that is still to be purged.
//
// # When something fails
//
// An error of the next layer is returned as it is. If the next layer panics, the
// waiters get a [*PanicError], which holds the stack for the log; nobody is left
// waiting. [Cache.Close] cancels what is in flight and returns when it has ended.
package cache
