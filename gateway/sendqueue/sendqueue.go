// Package sendqueue tells how much of what was written to a connection its peer has not
// acknowledged yet. Whoever wants to know whether a client still takes anything asks here:
// the kernel lets a blocked writer on only when a third of its buffer, which may have grown
// to megabytes, is free again.
package sendqueue
