// Command http measures an edge against a bare net/http server, and against nginx
// where that is installed, on the same files.
//
//	go -C bench run ./http
//
// All are processes of their own, on loopback. The bare server holds the files in
// memory and writes them (http.ServeContent for the large one), which is as fast as
// Go's HTTP server allows. nginx sends files from the kernel's cache, with sendfile,
// open files kept and no log: what C and the kernel can do, without an access log
// and with a fifth of the header fields. The edge runs with its default settings, but
// for ports and folder; the content was added to it and is fronted as a site. Every
// file is asked for before anything is measured, but for the part "first". Each case
// is warmed up, then the sides are measured in turn, round after round, so that whatever
// else the machine does hits all. What counts is the ratio: each round's, and of those the median.
//
// The load comes from wrk where it is installed, with one thread, else from this
// process; both keep connections alive and have one request at a time on each. It
// shares the machine with the servers, so requests per second understate how
// different two servers are; the servers' own CPU time for each request (from /proc,
// on Linux) does not. Ratios are speed: 1 is as fast as the bare server, 0.5 half as
// fast. Columns with several values show the bare server first, then the edge, then
// nginx; those of latency and CPU time are of the round in the middle.
//
// The parts (-parts):
//
//	memory   hot objects of 1 KiB to 96 MiB, by all doors, and ranges and 304
//	disk     an edge that keeps no content in memory against http.ServeContent of
//	         plain files, with both sides' files in the kernel's page cache
//	large    64 KiB in the middle of a file of 5 GiB, against the same plain file
//	first    the first answer to each of many files and pages, see below
//	budget   more content than memory: processor time per GB, and resident memory
//	misses   how long hits take while the edge has misses to answer, see below
//	start    from the start of the process to the first answer, a million blocks stored
//
// # First answers
//
// The content was added to the edge, which has been started anew since then: it is on
// the edge's disk, in the kernel's page cache as are the bare server's plain files
// (http.ServeFile), and nothing of it in memory. Everything is asked for once, by the
// site's name and over kept connections, which were opened by asking for a file that is
// not counted. There are as many rounds as elsewhere, each with new processes on both
// sides, but -round does not count: a round is over when everything was asked for. Files
// are a hundred in a folder, two folders down; those six folders down have five of these
// for themselves. A page is the listing of a folder of 100 files, and beside it stands
// the plainer one that net/http makes. The load is the built-in generator's. Times are
// until the body was there whole. Ratios are those of the bare server's time to the
// edge's, round by round: 1 is as fast, 0.5 takes twice as long. /proc counts processor
// time in hundredths of a second, so that of all rounds is put together. Two programs
// are compared (-binary) by their ratios in turns of some runs each.
//
// # Hits beside misses
//
// The visitors who miss and a counting origin are one further process; each miss is
// for a block that nobody asked for before. On few processors everything that works
// slows everything else down, whatever the edge does about it, so three neighbours
// are told apart. Misses that wait for a slow origin, as many as gateway.max_requests
// lets wait and some that are refused: they take little processor time, and hits that
// were queued behind them would show. Misses that the origin answers at once, as fast
// as 32 connections can ask: they do work. And as many further hits, which work, too,
// and say how much of the former is due to sharing the processors. Latencies are the
// built-in generator's, with all connections busy all the time.
//
// # What is compared
//
// Each body is compared with the file once at the start of a case, and its length
// every time; wrk's are by their sum. In the part "first" every body is compared, by a
// hash; a page must have the names of all files in the folder, in order.
package main
