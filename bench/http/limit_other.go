//go:build !unix

package main

// maxRequests is the default of gateway.max_requests.
func maxRequests() int { return 4096 }
