// Command fleet measures what a fleet is for: how often the origin is asked, how
// much the caches add up to, how near a sibling is, and what visitors notice when an
// edge dies or freezes.
//
//	go -C bench run ./fleet
//	go -C bench run ./fleet -only large
//
// Every edge is a process of its own on loopback, with settings as shown; the
// origin, which counts, and the visitors are this process. All of them share the
// machine's processors, so with few of those times are upper bounds, and p99 says
// more about the scheduler than about the edge. What does not depend on the machine
// are the ratios of origin fetches.
//
// The cases:
//
//   - cold: a crowd for a whole site at every edge at once, nothing cached anywhere.
//     Origin fetches for each unique block; 1 is perfect.
//   - order: the same site asked of one edge after the other.
//   - zipf: visitors with a Zipf appetite for more than the caches hold. Offload is
//     the share of requests that needed no origin, after a warm-up; the yardstick is
//     one LRU cache, computed, with as many bytes as all edges' memory and disk
//     together, on the same sequence. Its bytes are those of the content alone, while
//     an edge's limits count overhead too.
//   - keep: one edge with a memory of 32 MiB and a disk of 64 MiB, 12 pages asked for 100
//     times each among 500 files of 200 kB asked for once, one request at a time. Then
//     it is restarted cleanly with its origin off: how many of the pages, and of the last
//     100 files, it still answers. Hits in memory count as uses on the disk, which cannot
//     be switched off; what they cost with it is shown as hits per second of waiting for
//     them, while the files come in.
//   - block: one cold block of 64 KiB at a time from a sibling, through HTTP, and as
//     the asking edge measures it itself (interpolated in the histogram
//     shoal_swarm_sibling_seconds). Nothing else is going on.
//   - large: a file of 100 MB through an edge that has just joined and holds none of
//     it, from its siblings; beside it the same bytes over one bare libp2p stream
//     (TCP, TLS, yamux) between two processes, and over such a stream to a process
//     that does nothing but hash them and pass them on over HTTP, to a third.
//   - kill, freeze: one of four edges is killed or frozen half way through a cold
//     crowd at the others. Freeze is compared with an undisturbed run.
//   - roll: all edges are restarted one after the other under load.
//   - zones: three zones of three edges, in network namespaces with 1 ms and then 40 ms
//     between them (one way; made by a router in this process), once with swarm.zone and
//     once without. Visitors with a Zipf appetite at all edges: bytes that crossed between
//     zones, headers and everything else that edges say included, over the bytes that
//     visitors got, after a warm-up; how long visitors waited; origin fetches for each
//     block. Then one zone is cut off from the others and back under load. Needs root, and
//     is left out where namespaces cannot be made. Before that, zones whose disks are too
//     small for what is asked for, on loopback: what their copies cost at the origin.
//   - flash: a visitor at each of 20 edges asks for the same new file of 100 MB at the same
//     moment. Origin fetches for each block, how much the edge that sent most to its
//     siblings sent over the mean, and how long the last visitor waited, against as many
//     visitors at one edge alone.
package main
