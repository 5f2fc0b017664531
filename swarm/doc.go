// Package swarm makes a number of edges one fleet: siblings fill each other over
// Bitswap, and only a block's home ever asks the origin.
//
// # How it is used
//
//	s, err := swarm.New(opts, swarm.Config{Local: cache, Log: log, Metrics: reg}) // listens
//	kubo, err := s.PeerOrigin("/ip4/10.0.0.9/tcp/4001/p2p/12D3...")               // if there is one
//	s.Handle("purge", func(ctx, from, request) (any, error) { ... })              // calls between edges
//	s.Start(origin)                                                               // joins the fleet
//	b, source, err := s.Get(ctx, c)                                               // when this edge lacks it
//	s.Drain(ctx); s.Close()
//
// The read path (package cache) is both in front of the swarm and behind it: what is not
// in memory or on disk it has found by Get, which asks the homes, or by Fill if this edge
// is the first of them; what siblings ask for is looked for and stored there ([Local]).
// Whatever comes to this edge is told to [Swarm.Stored].
//
// An edge without a secret stands alone: it is home to everything, so Get asks the
// origin, one fetch per block at a time. It listens only for the guests in
// [Options].Allow.
//
// # Parts
//
//   - placement says which edges are home to a block, and what an edge keeps. It is
//     pure computation.
//   - members knows who belongs to the fleet and who of them is there, and makes the
//     connections with them.
//   - bitswap carries wants and blocks between peers.
//   - This package opens the libp2p host (TCP or QUIC, TLS, yamux) and decides whom
//     to ask.
//
// # A visitor's miss
//
// The edge that lacks a block (lookup, in get.go) finds its homes among the members
// that are there and sends a WANT-BLOCK straight to the first. Then:
//
//  1. The block comes. It was verified when it arrived.
//  2. The home is silent for 25 ms. If nothing at all was heard from it meanwhile, it
//     is asked for a sign of life. One that gives none is suspect within 60 ms or what is
//     usual for it, and the next home gets a WANT-BLOCK.
//  3. The home is slower than it is in 19 of 20 cases. The next home is asked, once,
//     whether it happens to have the block (WANT-HAVE), which causes no fetch. After a
//     quarter of a second the home itself is asked, by a call, what it is doing about the
//     want (inquire, in sibling.go), and once more a moment later. One that is looking
//     for the block says so, and is left to take its time. One that knows nothing of the
//     want, has the block and does not send it, or does not answer the call either, has
//     failed: the next home gets a WANT-BLOCK, and its breaker counts. After a second
//     without an answer, the want is sent once more. After five seconds the next home is
//     asked to fetch it, whatever the first one is doing.
//  4. The home disconnects: the next one is asked at once.
//  5. The home says DONT_HAVE: it has asked the origin and everyone else, or does not
//     take itself for a home. The second home is asked. When that denies too, the
//     homes are asked for the reason, which DONT_HAVE cannot carry, and the visitor
//     gets a [block.NotFound] or a [*block.UnavailableError].
//  6. No home can be reached, or all have failed: the edge asks the origin itself, for a
//     bounded number of blocks at a time.
//
// When the visitor leaves, the wants are cancelled.
//
// # Zones and load
//
// Where members are in several zones, an edge sends its WANT-BLOCK to the block's home in
// its own zone first (firstAsked, in view.go). That one relays: it gets the block from the
// fleet's homes as for a visitor of its own, in the same flight, keeps it for the zone and
// answers. It never asks the origin in place of a home. When it denies, fails or is gone,
// the fleet's homes are asked as ever; while it is only slow, a hedge asks the second home
// in the zone. In a fleet in one zone nothing of this happens.
//
// An edge that has asked a home for more than its share asks the next in rank for what is
// hot ([placement.Load]). If that is one of the homes it fills, which finds the block at
// the first; if not, it relays. So no load makes a fetch from the origin.
//
// # A sibling that does not deliver
//
// Pings say that a sibling is there, wants whether it is of use. Each has a breaker
// (sibling.go). It opens when three wants in half a minute, and a tenth of all, were
// left as in 3 above, or at the first wrong bytes. Such a sibling stays a member and
// home to its blocks, but is asked after all others, and what it may have counts as
// not heard of. After ten seconds one want of a block that is at home there is sent to
// it beside the one to the next home, so that no visitor waits for the outcome.
//
// # A home's fill
//
// A WANT-BLOCK from a member for a block that is not stored here starts a fill
// (fill.go), if this edge is among the block's homes; a visitor's miss of this edge
// for a block at home here does the same. Everyone who asks joins the one flight, which
// the read path has ([Local]); it calls [Swarm.Fill].
// It asks, with WANT-HAVE, who may well have the block: the other home, which was the
// first one before this edge joined; members that are leaving; and for two minutes
// after a member was lost, everyone, because what the lost one held has passed
// through the others. Then the origin. Whoever waits is then answered with the block
// or with DONT_HAVE, and the block is stored. A failure is remembered for two seconds,
// or longer if the origin wished so.
//
// If the origin fails, denies, or is silent for half a second (origin.go), the search
// goes on elsewhere while its attempt does: all other siblings are asked what they have,
// 64 at a time, and the homes that rank behind this edge are asked with WANT-BLOCK, to
// fetch it their own way; for the latter, an origin that usually is slower gets up to
// two seconds. The first block wins. After three failures in a row the siblings go
// first, and the origin follows when they fail or are silent; one request a second is
// sent to it all the same, so that its recovery shows. So while all is well an origin is
// asked once for each block, and a denial costs one request of each home. The block is
// not found if every sibling that is there and each of those homes says so. If one was
// not heard, or was lost in the last ten minutes, it is unavailable, and the error
// names them. Who has left is not missed.
//
// # Who waits for whom
//
// A WANT-HAVE never causes a fetch and is never passed on. A fill sends a WANT-BLOCK
// only to who said HAVE, and to homes that rank behind this edge. Of two members, which
// one is the better home does not depend on the others, so all edges agree on it
// ([placement.Ring.Before]), however they differ about who is there.
//
// Edges that disagree may take themselves for the first home of a block at the same
// time. So a WANT-HAVE that finds a fill is not always answered with DONT_HAVE:
// whoever asks an edge that is a better home, or one that waits for nobody but the
// origin, waits for the end of that fill; and a worse home, asked by a better one,
// asks back before it turns to the origin. But nobody waits along with a fill that
// searches among all others: it answers such wants with DONT_HAVE, and lets go those
// who wait already, before it asks anybody (letGo).
//
// Nobody but visitors waits for a relay: a WANT-HAVE is not told of one, and a WANT-BLOCK
// from a better home starts a fill beside it. An edge relays only to those that rank behind
// it, and a relay waits for fills, and for relays of edges that rank before it; so there is
// no circle of relays either.
//
// So nobody waits in a circle. (Who said HAVE and has lost the block since is not waited
// for longer than five seconds.) Take any circle of fills of one block in which each
// waits for the next. If one of them has sent a WANT-BLOCK to the next as a home, it
// is searching; so the one that waits for it does not do so by a WANT-HAVE, but by a
// WANT-BLOCK, too; and so on all around. Then each would rank behind the one before it,
// which no circle can. If all wait by WANT-HAVE, each is waited for, so none is
// searching, and each waits for someone, so none is at the origin; then each waits for
// a better home, which no circle can either. What a visitor of an edge waits for
// (get.go) does not count: no sibling can join that, only a fill. A WANT-BLOCK from a
// home that this edge's own visitor has asked starts a fill of its own.
//
// # What happens when
//
//   - an edge starts: it meets the siblings that it knows of, for two seconds at most,
//     before it fills anything ([Swarm.Joined]).
//   - an edge joins: everyone hears of it within a second, it becomes home to its share,
//     and gets those blocks from their old homes when they are asked for.
//   - an edge is killed: its connections break, within milliseconds it is out of the
//     ring, and what was asked of it is asked of the next homes. Who was not connected with
//     it finds out when it is asked for something, or hears of it within seconds.
//   - an edge freezes: what is asked of it at that moment goes to the next home after
//     some 85 ms, what comes later goes there directly.
//   - an edge has left: nobody asks it, waits for it or misses it.
//   - an edge is restarted: it leaves ([Swarm.Drain]), others take its share and fetch
//     from it what its memory has and what was asked of it lately (handover.go), it comes back under the same
//     name with its disk.
//   - the fleet is cut in two: each part is a fleet of its own and asks the origin once
//     for a block. Afterwards they find each other within some seconds.
//   - edges disagree about who is there: as a rule one of them fetches a block, at most the first two homes.
//   - a sibling sends wrong bytes: they are dropped, it is asked last, and the block
//     comes from the next home.
//   - a sibling hangs but answers pings: the first blocks at home there take as long as
//     it takes to ask it what it is doing, and then it is asked last.
//   - the origin is down: what any edge holds is still found, because a home asks
//     everyone before it gives up.
//   - one edge's way to the origin is sick: the other homes fetch for it.
//   - a zone is cut off: each side is a fleet, and serves what it has of the other's blocks.
//   - a zone's home of a block is gone: the fleet's home is asked, and then the next in the
//     zone.
//   - edges have different origins: what the first home's deny, those of the other
//     two homes are asked for; those of a fourth edge are not.
//
// # Wire contract
//
// Bitswap 1.2.0 as specified, nothing added. /shoal/member/1 and /shoal/swim/1
// (package members) and /shoal/call/1 (call.go) are spoken among members only, and so are
// memberlist's packets over UDP. The computation of homes
// (package placement) and of identities (package members) is part of the contract.
//
// # Locks
//
// In the order in which they are taken: bitswap's Exchange.mu, Swarm.mu, members'
// Fleet.mu. None is held while anything is dialed, sent, stored or fetched.
package swarm
