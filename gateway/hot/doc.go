// Package hot keeps the results of the gateway's steps, so that a request like one before
// does none of them again: where a name in a folder leads, the rules of a site, the map of
// a large file, a finished answer, an encoded form of content.
//
// A [Store] is bounded in bytes, keys included, and takes what it uses from the budget of
// the memory cache, so that both together stay within it. What stands for blocks shares
// their bytes and keeps them found in memory.
//
// A look-up takes no lock and writes to no memory that others read, so that it costs the
// same however many processors ask for the same page. Whoever adds or removes takes the
// one mutex; that happens when something was assembled from blocks, which costs a hundred
// times as much.
//
// What goes when the room is needed, SIEVE decides (Zhang et al., "SIEVE is Simpler than
// LRU", NSDI 2024): a hit leaves a mark and moves nothing, and what was asked for only once
// goes first.
package hot
