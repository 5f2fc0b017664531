// Package blockstore keeps blocks on disk: as many as fit into a fixed number of
// bytes, the useful ones first, and for as long as they are wanted those that
// someone has pinned.
//
// # The story of a block
//
// A block comes in through [Store.Put], proven by its type ([*block.Verified]) or
// else hashed on the spot. It is appended to a segment file, with a CRC, and its
// place is noted in an index in memory; no sync is waited for. When the segment is
// long enough it is sealed with a footer that lists its blocks, and another one is
// begun.
//
// [Store.Get] and [Store.View] look the place up, read the data in one system call
// and compare the CRC. That also counts as a use. [Store.Has] and [Store.GetSize]
// read no disk and are no use.
//
// What the store may take is its capacity, and no more than the file system has,
// which is looked at again and again (room.go). When the store is full, the oldest
// segment that came to little use is reclaimed: blocks that were used are copied
// forward, the others are forgotten, the file is unlinked (evict.go). A scan of
// things that are asked for once passes through a small part of the store and leaves
// the rest alone.
//
// Whoever needs blocks to stay says so in its own name: [Store.PutHeld] stores and
// holds in one step, [Store.Hold] holds what is here, [Store.Commit] makes both
// durable, [Store.Release] lets go. A block stays until every owner let go of it.
//
// # What is durable when
//
// Nothing is synced for a Put: after a kill all of it is there, because the kernel
// has it; after a power failure what the kernel had not yet written is gone, and
// will be fetched again. Commit syncs the blocks that its owner holds, then their
// references; Release syncs, too; and before a segment goes, pinned blocks that
// were moved out of it are synced where they landed. A DeleteBlock is as durable
// as a Put.
//
// # When it fails
//
// A block whose CRC is wrong, or that the disk cannot read, is dropped and is not
// found: whoever asked fetches it again. If it was pinned, it is again as soon as
// it is back. A Put that the disk has no space for fails with [ErrDiskFull], and
// nothing else suffers; one that pinned blocks leave no room for fails with a
// [*FullError]. After a crash the store opens with what was completely written
// (format.go says how it knows). It is never served what it cannot prove.
//
// A folder belongs to one process at a time ([ErrLocked]) and to one store: New
// refuses a folder with anything else in it, or of a newer version, and changes
// nothing ([ErrForeign]).
//
// # Who may call it
//
// Everyone, at any time, from any goroutine. Reads wait for no write and no
// eviction. Writes go one at a time; one that makes room does the work itself, so
// the store has no goroutines of its own.
package blockstore
