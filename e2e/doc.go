// Package e2e holds the whole-system tests: the real binary as real processes on
// loopback, with real signals. They need the build tag e2e and nothing else:
//
//	go test -tags e2e ./e2e
package e2e
