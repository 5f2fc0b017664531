// Package ingest turns files, folders and CAR archives into blocks of this edge,
// and forgets them again.
//
// What comes in is a stream: a tar archive ([Ingester.Tar], what `shoal add`
// sends for files and folders, and what `tar c . | curl --data-binary @-` gives),
// the files of a form ([Ingester.Multipart]) or a CAR archive ([Ingester.CAR]).
// What goes out are verified blocks, put one by one into the [Store], and the
// root CID. [Pack] is the other end of the tar stream: it walks files and folders
// and writes them in the form that Tar reads.
//
// # The story of an import
//
//  1. The import gets an owner of its own, "import/<random>". Each block is put
//     and held under it in one step, so that nothing can be evicted while the rest
//     is still on its way, however full the disk is.
//  2. Files are cut into chunks and hashed as they stream past. At most
//     [Options.Writers] blocks are in flight; what stays in memory for a file that
//     is done is its name, CID and size. Folders are built last, from those.
//  3. The DAG under each root is walked by its links through local blocks. A block
//     that is missing fails the import. When the import is to stay (Params.Pin),
//     the walk holds each block under "add/<root CID>" and commits that owner: from
//     here on the content survives restarts and is never evicted.
//  4. The import's own owner is released, always and last. After success the blocks
//     stay with "add/<root CID>", or, without Pin, as ordinary cached blocks; after
//     any failure (bad input, a full disk, a caller who left) nothing is protected
//     and eviction reclaims whatever had been written.
//
// The name of the permanent owner is all that has to be remembered: [Ingester.Purge]
// finds the import of a CID by it, after a restart too, and importing the same
// content again finds it already there and changes nothing.
//
// # The DAG
//
// The layout is the unixfs-v1-2025 profile of IPIP-499: CIDv1, sha2-256, raw
// leaves, chunks of 1 MiB, 1024 links a node, balanced; a folder whose block would
// be larger than 256 KiB becomes a HAMT of width 256. The CIDs are those that any
// other tool gives with that profile. Modes and modification times are not kept.
//
// # Who may call it
//
// The admin API (admin/). All methods are safe for concurrent use. A component
// that wants less than an Ingester declares an interface of its own.
//
// # When it fails
//
// A [problem.BadRequest] says that what was sent is at fault and names the entry or the
// block; anything else is this edge's own trouble (the disk, the caller's context).
package ingest
