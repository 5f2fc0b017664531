// Package cli is the command line: it parses, calls the room that does the work,
// and prints.
//
// serve, demo and config build on the edge and on its configuration; add, pin, purge,
// reload and swarm talk to a running edge over its admin API (--edge, --token); health
// asks the edge that the configuration is of. Results go to standard output, everything else (logs, progress, errors) to standard error,
// so that `cid=$(shoal add -q ./public)` works. Progress is drawn only on a
// terminal. With --json every line on standard output is one JSON object.
//
// Exit codes are part of the contract: 0 done, 1 failed, 2 wrong usage or an
// invalid configuration. An error is one line that begins with "shoal:".
package cli
