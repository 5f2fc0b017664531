// Command http measures an edge against a bare net/http server on the same files.
//
//	go run ./bench/http
//
// Both servers are processes of their own, on loopback; the bare one holds the
// files in memory and writes them (http.ServeContent for the large one), which is
// as fast as Go's HTTP server allows. The edge runs with its default settings, but
// for ports and folder; the content was added to it and is fronted as a site. Each
// case is warmed up, then both sides are measured in turn, round after round, so
// that whatever else the machine does hits both. What counts is the ratio.
//
// The load comes from this process, over connections that are kept alive: one
// request at a time on each. It shares the machine with the servers, so requests
// per second understate how different two servers are; the servers' own CPU time
// for each request (from /proc, on Linux) does not. Ratios are speed: 1 is as fast
// as the bare server, 0.5 half as fast. Columns with two values show the bare
// server first.
//
// A second part has an edge that keeps no content in memory against http.ServeContent
// of plain files, with both sides' files in the kernel's page cache.
//
// Each body is compared with the file once at the start of a case, and its length
// every time.
package main
