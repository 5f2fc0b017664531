// Package placement decides which edges are home to a block, and what an edge
// keeps of the blocks that pass through it. It knows no network, no clock and no
// randomness: the same members and the same block give the same answer on every
// machine, which is what lets a fleet agree without talking about it. A simulator
// can use the very same code.
//
// # Homes
//
// Homes are found by weighted rendezvous hashing (Thaler and Ravishankar, "Using
// Name-Based Mappings to Increase Hit Rates", 1998). Every member draws a lot for
// every block; the members with the smallest lots are its homes, smallest first.
// A lot depends on the block and on that one member only. So a member that joins
// takes its share evenly from everyone, 1/(N+1) of the blocks where weights are
// equal, and no block moves between two others; and a member that is gone leaves
// its blocks to those that were second in line.
//
// How a lot is drawn is part of the contract between edges: edges that draw
// differently disagree about homes, and then blocks are fetched twice. It must not
// change. All arithmetic on 64-bit integers wraps around.
//
//	mix(x):     x ^= x>>33; x *= 0xff51afd7ed558ccd
//	            x ^= x>>33; x *= 0xc4ceb9fe1a85ec53; x ^= x>>33
//	seed:       xxHash64(the member's name, seed 0)
//	key:        xxHash64(the block's whole multihash, seed 0)
//	hash:       mix(mix(key) ^ seed)
//	u:          ((hash >> 12) + 0.5) / 2^52, between 0 and 1
//	lot:        -ln(u) / weight
//
// mix is the finalizer of MurmurHash3. The lots of a member of weight w are
// exponentially distributed with rate w, hence a member's chance of having the
// smallest is its weight over the sum of all weights. ln is computed in IEEE 754
// double precision with the operations written in lot.go, each rounded by itself
// (no fused multiply-add), so that every platform gets the same bits. Equal lots
// are ordered by name. testdata/homes.txt holds test vectors.
//
// The weight is the member's disk capacity in bytes. A member without a disk has
// the weight 1: it is home only where there is nobody else.
//
// # Zones
//
// Where members are in several zones, a block also has a home in each: the best in rank of
// the members there ([Ring.Zone]). The fleet's home is the home in its own zone, too,
// because a lot depends on nobody else. An edge asks the home in its zone, which asks the
// fleet's home, and only that one asks the origin. Zones change no lot. An edge that has
// not said where it is asks the fleet's homes.
//
// # Load
//
// An edge that has asked a home for more than 1.2 of its share asks the next in rank for
// blocks that it asks for again and again ([Load]); they get those from the home. What
// decides is what this edge itself has asked for: nobody has to tell anybody how busy they
// are, and where all edges see the same popularity it comes to the same.
//
// # What stays where
//
// A home keeps its blocks on disk: that is what lets the capacity of a fleet add
// up. Any other edge keeps what it passes through in memory only, and takes to
// disk what proved hot: a block that it has to fetch again although it fetched it
// not long ago. Index blocks (dag-pb nodes with links) are taken at the first
// fetch: they are few and small, and each of them stands before many others.
// Copies that are not at home get a bounded share of the bytes written to disk,
// so that they cannot crowd out the blocks that only this edge keeps. See
// [Admission].
//
// The home in a zone keeps in memory what passes through it. On disk it keeps what was
// asked for twice in the zone: at any distance while its disk is not full yet, and after
// that before a quarter of the disk has passed through it, or while the block was still in
// somebody's memory. Then the disk compares all that it has by its uses: a use counts at
// the home in the zone, and once a second for the whole zone at the fleet's home. So a
// block that all of n zones want has n times the uses at its home that it has at each
// copy. What is asked for often enough stays in every zone, where each byte saves one
// between zones; what is not stays at its home alone, where it saves one at the origin.
// Where a zone's disks hold what its visitors want, they add up within the zone; where
// they do not, the disks of the fleet do.
package placement
