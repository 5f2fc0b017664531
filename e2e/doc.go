// Package e2e holds the whole-system tests: the real binary as real processes on
// loopback, with real signals. They need the build tag e2e and nothing else:
//
//	go test -tags e2e ./e2e
//
// The fleet that is cut in two (TestSplitFleet), the container that is stopped
// (TestAStopInAContainerCutsNobody) and what the image holds in a container
// (container_test.go) also need root, iproute2 and util-linux, for namespaces of their
// own, and are skipped where they may not make them.
//
// What runs the processes, the origin that counts and the crowd is package lab.
package e2e
