package record

import (
	"errors"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/problem"
)

// Status is the state of a pin.
type Status string

// The states of a pin.
const (
	Queued  Status = "queued"
	Pinning Status = "pinning"
	Pinned  Status = "pinned"
	Failed  Status = "failed"
)

// Errors of whoever keeps pins.
var (
	// ErrNotFound means that there is no such pin, or that it is somebody else's.
	ErrNotFound = problem.With(problem.NotFound, errors.New("no such pin"))
)

// Request is what a client asks for.
type Request struct {
	CID cid.Cid
	// Text is the CID as the client wrote it, where that is not CID.String() (another
	// multibase, say), so that the client gets it back as it was; otherwise empty.
	Text    string
	Name    string            // at most MaxName characters; empty for none
	Origins []string          // at most MaxOrigins multiaddrs with a peer ID, of peers that have it
	Meta    map[string]string // at most MaxMeta entries; nil for none
	// Replicas is how many edges are to hold the DAG; 0 for the fleet's default.
	Replicas int
}

// Bounds of a request. Name and origins are those of the specification.
const (
	MaxName      = 255 // Unicode code points, which is what a JSON schema's maxLength counts
	MaxOrigins   = 20
	MaxMeta      = 1000
	MaxMetaBytes = 16 << 10 // keys and values together
	MaxReplicas  = 100
)

// Pin is one entry of the fleet's list.
type Pin struct {
	Request
	// ID is unique in the fleet and never used again.
	ID string
	// Owner is who may see and change the pin: the digest of a token, or Operator.
	Owner string
	// Created is in UTC, in whole milliseconds, and unique among the pins of an
	// owner that one edge has made, so that a client can page by it.
	Created time.Time
	// Replaces is the ID of the pin that this one took the place of; empty for none.
	Replaces string
	// Old is the root that this pin took the place of; [cid.Undef] for none. It is
	// kept until this pin is pinned or has failed.
	Old cid.Cid
}

// Operator owns the pins that are made through the admin API.
const Operator = "operator"

// View is a pin as a client sees it. Its Replicas are never 0.
type View struct {
	Pin
	Status Status
	// Info is for people: the reason of a failure, the progress, the edges that hold
	// it. It may be nil.
	Info map[string]string
	// Delegates are multiaddrs of the edges that are to hold it, each with its peer
	// ID at the end.
	Delegates []string
	// Edges says how far each edge is, those to hold it first, in the order of rank; nil
	// where nobody asked.
	Edges []EdgeShare
}

// Page is a part of the pins that match a [Query], the newest first.
type Page struct {
	// Count is how many match in all.
	Count int
	Pins  []View
}
