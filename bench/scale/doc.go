// Command scale measures what it costs to be many: fleets of real `shoal serve`
// processes on this machine that have nothing to do.
//
//	go -C bench run ./scale
//	go -C bench run ./scale -edges 60 -profile /tmp/edge.pprof
//
// For each size it starts the edges, some at a time, each knowing the first three. It
// reports
//
//   - settled: from the last edge's start until each edge sees all of them alive;
//   - idle: processor time of an edge in percent of one core, over half a minute in which
//     nobody asks for anything, mean and largest, and its resident memory;
//   - killed: ten edges end by SIGKILL at the same moment: until every other edge counts
//     them as lost;
//   - back: the ten are started again: until each edge sees all of them alive.
//
// All processes share the machine's processors, so times with many edges are upper
// bounds.
package main
