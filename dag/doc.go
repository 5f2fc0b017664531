// Package dag reads what blocks link to, and walks what hangs together by links.
//
// Whoever publishes a site, imports an archive or names a pin chooses the blocks,
// so this package takes every block for hostile. It is the only place that decodes
// links, and each room that follows them does so by a [Walk]: pins fetch and
// check what they hold, imports look whether all is there, purges find what to
// remove, and the gateway learns which CIDs lie inside a site. Its exports, which stop
// wherever the client does, go by Scan from block to block.
//
// # The links of a block
//
// [Scan] goes through the bytes of a block and reports each link as it comes to it. It builds no nodes: a dag-cbor block of 2 MiB may hold two million empty
// arrays, and as nodes they would take a hundred megabytes. What it costs follows
// from the bytes of the block alone, whatever lengths and depths they claim:
//
//   - dag-pb: the fields of the message, on the wire;
//   - dag-cbor: the heads of the items. How deep they are nested does not matter,
//     because only the number of items to come is kept;
//   - dag-json: the tokens. A link is four of them in a row.
//
// Scan looks for links and does not judge the rest: it finds the links of every
// block that go-ipld-prime decodes, and also those of some that it refuses (a key
// that is there twice, a number in a longer form than it needs). That errs on the
// safe side: what is pinned or imported has all blocks that anybody could follow.
//
// Who needs more of a block than its links has three more readers that build nothing: with
// [ReadPB] a dag-pb node is read link by link, with names, sizes and data; [Find] follows
// a path into a block of CBOR or JSON up to the link that leads out of it; and [Values]
// counts what decoding such a block would build.
//
// [IsLeaf] says that a codec cannot express links, so that the block need not be
// read. A block of a codec that is not known is an error that wraps [ErrCodec]; who
// only looks for what can be reached takes it for a leaf. [Inline] returns the
// content of a CID that carries it in itself (multihash "identity"), which is
// stored nowhere and may link to other blocks. [Canonical] is the one CID for the
// many that name the same block with the same links.
//
// # A walk
//
// A [Walk] visits the DAG below a root depth first, a parent before its children,
// each block once, and some at the same time. What is done with a block is the
// [Visitor]'s. A walk keeps
//
//   - what it has met: 16 bytes for each block (20 to 32 with the empty slots), up to
//     [Limits].Blocks;
//   - what it is still to visit: the bytes of the CID and a few more for each, up
//     to [Limits].Pending bytes in all;
//   - the blocks being read: [Limits].Parallel of them.
//
// A DAG cannot contain itself, since a hash names what was there before. But it
// can have more paths than anybody could walk, a chain of any length, and as many
// links as its author likes to make up. A DAG over one of the limits ends the walk
// with an error that wraps [ErrLimit] and gives the number.
//
// # Who may call it
//
// Everybody: the package imports block and no other package of this module. It
// holds no state. A Walk is used once, by one goroutine.
package dag
