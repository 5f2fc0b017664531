package record

import "time"

// Share is how far one edge is with one DAG.
type Share struct {
	// Status is empty for an edge that has nothing to do with the DAG.
	Status Status `json:"status"`
	Blocks int64  `json:"blocks"` // held so far, each once
	Bytes  int64  `json:"bytes"`
	// Reason says why it failed, or what it waits for; empty otherwise. It is for people,
	// and names no address.
	Reason string `json:"reason,omitempty"`
	// Since is when the status began; to the second after a restart.
	Since time.Time `json:"since,omitzero"`
	// Verified is when every block was last read and found to be good; zero if never.
	Verified time.Time `json:"verified,omitzero"`
}

// Report is a share with what edges tell each other besides.
type Report struct {
	Share
	// Settled says that the fleet had enough replicas at some time.
	Settled bool `json:"settled,omitempty"`
	// Unfit says that it failed for a reason that lies in the content or in the space
	// for it: nothing that is missing could change that.
	Unfit bool `json:"unfit,omitempty"`
}

// EdgeShare is how far an edge is with a pin.
type EdgeShare struct {
	Edge     string `json:"edge"`
	Assigned bool   `json:"assigned"` // it is to hold it
	Present  bool   `json:"present"`
	Share
}

// Progress is how far a verification is.
type Progress struct {
	Blocks int64 `json:"blocks"` // read, or fetched again
	Bytes  int64 `json:"bytes"`
}

// EdgeProgress is how far a verification is on one edge.
type EdgeProgress struct {
	Edge string `json:"edge"`
	Progress
}

// Check is what a verification found.
type Check struct {
	Blocks   int64 `json:"blocks"` // good now
	Bytes    int64 `json:"bytes"`
	Repaired int64 `json:"repaired"` // blocks that were damaged or missing and are whole again
	Missing  int64 `json:"missing"`  // blocks that are damaged or missing, and that nobody has
}

// EdgeCheck is what a verification found on one edge, or why it found nothing.
type EdgeCheck struct {
	Edge string `json:"edge"`
	Check
	Error string `json:"error,omitempty"`
}

// WaitingSite is a site whose newest release is held back until it is pinned whole.
type WaitingSite struct {
	Site    string    `json:"site"`
	Live    string    `json:"live"`    // path of the release that is shown
	Release string    `json:"release"` // path of the one that waits
	Since   time.Time `json:"since"`
	Status  Status    `json:"status"`
	Blocks  int64     `json:"blocks"`
	Bytes   int64     `json:"bytes"`
	Reason  string    `json:"reason,omitempty"`
}
