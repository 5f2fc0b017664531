// Command sim simulates fleets of 10 to 5000 edges, which nobody has at hand, to
// find out what becomes of the origin's load, of messages and of balance.
//
//	go -C bench run ./sim                                     # ten edges, every scenario
//	go -C bench run ./sim -edges 5000 -zipf 0.9 -share 50     # about a minute
//	go -C bench run ./sim -only offload -trace FILE,FILE      # real requests
//	go -C bench run ./sim -only sweep -share 50               # vary the admission's settings
//
// It prints tables in Markdown, or lines of JSON with -json. A run with the same flags
// gives the same figures every time. RESULTS.md has the last ones.
//
// # What is real
//
// Homes are computed by [placement.Ring] and copies are admitted by
// [placement.Admission], the code that edges run, from real CIDs. The delays after
// which an edge hedges are those of [swarm.DefaultOptions].
//
// # What is modelled
//
//   - An edge's miss and a home's fill (edge.go, fill.go) follow swarm/get.go and
//     swarm/fill.go want by want: WANT-BLOCK to the first home; its flight, which asks
//     the other home, those that are leaving, and after a loss everyone, with
//     WANT-HAVE; then the origin; a hedge when the home is slow; cancels.
//   - Who is asked for a hot block whose home has too much to do is what
//     [placement.Load] says; -spread=false leaves that out. All edges are in one zone.
//   - Memory is an LRU list bounded in bytes with the charges of package cache, but
//     not divided into shards.
//   - A disk is S3-FIFO block by block (disk.go), in place of package blockstore,
//     which works in segments and bounds how much it rewrites; -lru makes it an LRU
//     list. RESULTS.md says how far the model is from the real store.
//   - The network delays each message by -latency, spread evenly by half, and by the
//     size of a block over -bandwidth; messages between two edges do not queue up.
//     The origin has everything and takes -origin, spread alike.
//   - Each request goes to an edge at random.
//
// # What it does not show
//
// All edges always agree about who is there, no message is lost, nobody freezes and
// the origin never fails: that is for the tests of package swarm and e2e/. Pings and
// the exchange of members are not counted; with every edge connected to every other
// they grow with the square of the fleet. Nor is CPU. Nothing is handed over by an
// edge that leaves; it is asked while it drains. A content of a hundred thousand blocks
// spread over thousands of edges leaves each with a few blocks, where a real disk has
// tens of thousands: shares of it, such as memory and hot copies, are then less than a
// block.
//
// # The scenarios
//
//   - crowd: every edge, with an empty and large enough disk, is asked for every
//     block, at once or one edge after the other.
//   - offload: a trace is replayed on edges with small caches, beside one LRU list of
//     the summed size (memory and disk of all edges, the charge for a block in memory
//     not counted), one store of that size with the disks' eviction, separate caches,
//     and caches that ask everyone and copy.
//   - churn: an edge joins, leaves or is lost, and everything is asked for again.
//   - balance: how evenly blocks lie on their homes, beside what chance alone does.
//   - sweep (with -only): offload, with one setting changed at a time.
package main
