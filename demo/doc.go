// Package demo shows on one machine what an edge does: it runs an origin and an
// edge on loopback, publishes a website, sends a crowd of visitors through the
// edge, and reports where each answer came from.
//
// # The story of a demo
//
//  1. The content is the bundled website or any file or folder ([Options.Path]).
//     An origin is started in a fresh folder and the content is added to it over
//     its admin API, as `shoal add` would.
//  2. An edge is started next to it, with the content as a site and the origin as
//     the only place that it may ask.
//  3. A crowd is planned: who arrives when, which pages they open, which assets
//     their browsers then load. The plan follows from the content and from
//     [Options.Seed] alone, so the same crowd can come again.
//  4. It comes four times: to a cold edge, to a warm one, with the origin switched
//     off, and after the edge was restarted, with nothing but its disk.
//  5. A table says what was asked, what came from where and how long it took.
//
// Every response is compared, byte for byte, with the file that it should be; one
// that differs or fails makes the demo fail. Where a response came from is what its
// Cache-Status header says; bytes by place and requests to the origin are the
// edge's own counters, from its /metrics. A header leaves with the first byte, so
// for a large file only the counters tell the whole story.
//
// # Who calls it
//
// The command line. The package knows no room: [Options.Start] starts an edge, and
// [Edge] is what it needs of one. Everything else goes over HTTP, as it would for
// anybody.
//
// # When it fails
//
// Whatever happens, both edges are stopped and their folders removed before [Run]
// returns. Nothing outside the temporary folder is written.
package demo
