// Package block is the vocabulary that the rooms share: what a verified block
// is, how large one may be, where one came from, and how a fetch may fail.
//
// Bytes enter an edge in three places: from an origin, from a sibling, and by
// import. Each of them turns (CID, bytes) into a block with [New], which hashes
// the bytes and refuses them when they are not what the CID names. What New
// returns is a [*Verified]; no other code can make one, so a room that is handed
// one (the block store, say) knows without hashing again that its bytes are right.
//
// The package imports no other room, and every room may import it. It holds no
// state. All of it is safe for concurrent use.
package block
