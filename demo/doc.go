// Package demo shows on one machine what Shoal is for. It runs an origin and edges
// on loopback, publishes a website, sends a crowd of visitors, and reports where
// each answer came from.
//
// # The story of a fleet
//
// With [Options.Edges] of 2 or more, the demo is about the origin's load:
//
//  1. The content is the bundled website or any file or folder ([Options.Path]). If
//     it is not at least twice as large as the caches of one edge, made-up files are
//     added (library.go): otherwise one edge would hold everything.
//  2. An origin is started in a fresh folder and the content is added to it over its
//     admin API, as `shoal add` would.
//  3. The requests of the crowd are drawn, by Zipf's law (popularity.go). They follow
//     from the content and from [Options.Seed] alone.
//  4. A fleet of one edge is started, with empty and small caches. The first half of
//     the requests fills them; the second half is counted. The edges take turns, so
//     that each gets an equal part. Then the fleet is stopped and forgotten, and a
//     new one of two edges gets the very same requests, and so on.
//  5. In the last fleet an edge is stopped while more requests come, and visitors of
//     that edge go on to another, as a load balancer would have them. It is started
//     again with its disk, and the origin is switched off (faults.go).
//  6. A table and a chart compare what the origin sent with two computed fleets,
//     through which the same requests were replayed: caches that share nothing, and
//     one cache of the summed size (replay.go).
//
// What the origin sent is what it counted itself. Where a response came from is what
// its Cache-Status header says; an edge that got a block from a sibling cannot know
// that the sibling had to ask the origin, so [FleetResult] corrects for that.
//
// # The story of a single edge
//
// With one edge, the demo is about where an edge's answers come from. A crowd is
// planned: who arrives when, which pages they open, which assets their browsers
// then load. It comes four times: to a cold edge, to a warm one, with the origin
// switched off, and after the edge was restarted, with nothing but its disk. Bytes
// by place and requests to the origin are the edge's own counters, from its
// /metrics. A header leaves with the first byte, so for a large file only the
// counters tell the whole story.
//
// In both, every response is compared, byte for byte, with the file that it should
// be; one that differs or fails makes the demo fail. A fleet without its origin may
// refuse a file, but only if no edge answers it and some block on the way to it (the
// root, a folder, the file) is nowhere: they are asked.
//
// # Who calls it
//
// The command line. The package knows no room: [Options.Start] starts an edge, and
// [Edge] is what it needs of one. Everything else goes over HTTP, as it would for
// anybody.
//
// # When it fails
//
// Whatever happens, all edges are stopped and their folders removed before [Run]
// returns. Nothing outside the temporary folder is written but the chart, which
// appears whole or not at all.
package demo
