// Package swarm makes a number of edges one fleet: siblings fill each other over
// Bitswap, and only a block's home ever asks the origin.
//
// # How it is used
//
//	s, err := swarm.New(opts, swarm.Config{Local: store, Log: log, Metrics: reg}) // listens
//	kubo, err := s.PeerOrigin("/ip4/10.0.0.9/tcp/4001/p2p/12D3...")               // if there is one
//	s.Handle("purge", func(ctx, from, request) (any, error) { ... })              // calls between edges
//	s.Start(origin)                                                               // joins the fleet
//	b, source, err := s.Get(ctx, c)                                               // after memory and disk
//	s.Drain(ctx); s.Close()
//
// Get is the layer behind the block store. It stores what is at home here, without
// having its caller wait for the disk; of everything else the caller decides what to
// keep, with [Swarm.IsHome] and [placement.Admission]. Whoever stores a block by other means
// (an import, a copy that proved hot) says so with [Swarm.Stored].
//
// An edge without a secret stands alone: it is home to everything, so Get asks the
// origin, one fetch per block at a time. It listens only for the guests in
// [Options].Allow.
//
// # Parts
//
//   - placement says which edges are home to a block, and what an edge keeps. It is
//     pure computation.
//   - members knows who belongs to the fleet and who of them is there.
//   - bitswap carries wants and blocks between peers.
//   - This package opens the libp2p host (TCP or QUIC, TLS, yamux) and decides whom
//     to ask.
//
// # A visitor's miss
//
// The edge that lacks a block (pursuit, in get.go) finds its homes among the members
// that are there and sends a WANT-BLOCK straight to the first. Then:
//
//  1. The block comes. It was verified when it arrived.
//  2. The home is silent for 25 ms. If nothing at all was heard from it meanwhile, it
//     is pinged. A home that answers pings is waiting for the origin: that is not
//     silence, and is left to take its time. A home that does not is suspect within
//     60 ms or what is usual for it, and the next home gets a WANT-BLOCK.
//  3. The home is slower than it is in 19 of 20 cases. The next home is asked, once,
//     whether it happens to have the block (WANT-HAVE), which causes no fetch. After
//     a second without an answer, the want is sent once more. After five seconds the
//     next home is asked to fetch it, whatever the first one may be waiting for.
//  4. The home disconnects: the next one is asked at once.
//  5. The home says DONT_HAVE: it has asked the origin and everyone else, or does not
//     take itself for a home. The second home is asked. When that denies too, the
//     homes are asked for the reason, which DONT_HAVE cannot carry, and the visitor
//     gets a [block.NotFound] or a [*block.UnavailableError].
//  6. No home can be reached: the edge asks the origin itself, for a bounded number
//     of blocks at a time.
//
// When the visitor leaves, the wants are cancelled.
//
// # A home's fill
//
// A WANT-BLOCK from a member for a block that is not stored here starts a flight
// (fill.go), if this edge is among the block's homes; a visitor's miss of this edge
// for a block at home here does the same. Everyone who asks joins the one flight.
// It asks, with WANT-HAVE, who may well have the block: the other home, which was the
// first one before this edge joined; members that are leaving; and for two minutes
// after a member was lost, everyone, because what the lost one held has passed
// through the others. Then the origin. If that fails, all other siblings, since one
// of them may hold a copy or an import. Whoever waits is then answered with the block
// or with DONT_HAVE, and the block is stored. A failure is remembered for two seconds,
// or longer if the origin wished so.
//
// A WANT-HAVE never causes a fetch and is never passed on, and a fill sends nothing
// else. So a want travels one hop, whatever the edges believe of each other.
//
// Edges that disagree about who is there may take themselves for the first home of a
// block at the same time. So a WANT-HAVE that finds a flight is not always answered
// with DONT_HAVE: whoever asks an edge that is a better home, or one that is waiting for
// the origin already, waits for the end of that flight; and a worse home, asked by a
// better one, asks back before it turns to the origin. Of two members, which one is the
// better home does not depend on the others, so they agree on it, and nobody waits in a
// circle.
//
// # What happens when
//
//   - an edge starts: it meets the siblings that it knows of, for two seconds at most,
//     before it fills anything ([Swarm.Joined]).
//   - an edge joins: everyone hears of it within a ping, it becomes home to its share,
//     and gets those blocks from their old homes when they are asked for.
//   - an edge is killed: its connections break, within milliseconds it is out of the
//     ring, and what was asked of it is asked of the next homes.
//   - an edge freezes: what is asked of it at that moment goes to the next home after
//     some 85 ms, what comes later goes there directly.
//   - an edge is restarted: it leaves ([Swarm.Drain]), others take its share and fetch
//     from it what was asked of it lately (handover.go), it comes back under the same
//     name with its disk.
//   - the fleet is cut in two: each part is a fleet of its own and asks the origin once
//     for a block. Afterwards they find each other within some seconds.
//   - edges disagree about who is there: as a rule one of them fetches a block, at most the first two homes.
//   - a sibling sends wrong bytes: they are dropped, it is not asked for a minute, and
//     the block comes from the next home.
//   - the origin is down: what any edge holds is still found, because a home asks
//     everyone before it gives up.
//
// # Wire contract
//
// Bitswap 1.2.0 as specified, nothing added. /shoal/member/1 (package members) and
// /shoal/call/1 (call.go) are spoken among members only. The computation of homes
// (package placement) and of identities (package members) is part of the contract.
//
// # Locks
//
// In the order in which they are taken: bitswap's Exchange.mu, Swarm.mu, members'
// Fleet.mu. None is held while anything is dialed, sent, stored or fetched.
package swarm
