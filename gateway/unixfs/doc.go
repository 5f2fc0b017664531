// Package unixfs reads files and folders where they lie in their blocks
// (https://specs.ipfs.tech/unixfs/).
//
// A publisher chooses the blocks, so every one is taken for hostile: a decoded link takes
// ten times its bytes, a small block can name a million links to nothing, and sizes can
// lie. Here nothing is decoded into objects. A [Node] is its block's bytes and where its
// parts begin; a [Reader] looks at each link once, from left to right, and counts what it
// does for nothing: nodes, empty links and bytes of nodes that bring no bytes of a file. What
// goes beyond the bounds there, or is not what it says it is, is an error that wraps
// [ErrNode].
//
// # Files
//
// A [Reader] reads a part of a file: it skips what lies before the part by the sizes
// beside the links, and fetches nothing behind its end. Blocks ahead of the one that is
// read next are asked for together, so that they come from everywhere at once.
//
// A [Map] says in which leaves the bytes of a file lie. Who has one reads the file without
// its index blocks, and begins a part at the right leaf. A map is made of index blocks that
// are at hand.
//
// # Folders
//
// [Lookup] finds one name, in a folder or in a sharded one by the hash of the name. A
// [Folder] lists entries in the order of the blocks, from any entry on: a page of a folder
// costs what is on it.
//
// Nothing here keeps state. Readers and folders are used by one goroutine; nodes and maps
// never change.
package unixfs
