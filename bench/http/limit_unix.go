//go:build unix

package main

import "syscall"

// maxRequests is the default of gateway.max_requests, or as much of it as the limit
// of open files allows: each visitor is a connection, here and in the edge.
func maxRequests() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(max(16, min(4096, uint64(limit.Cur)/2)))
}
