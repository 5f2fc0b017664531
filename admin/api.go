package admin

import (
	"context"
	"io"
	"mime/multipart"
	"net/http"

	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Deps are what the API works with. All of it may be called from many
// goroutines at once, and none of it may be nil.
type Deps struct {
	// Import takes content in.
	Import Importer
	// Purge has this edge forget what path (a CID, or /ipfs/CID/path) names; with unpin
	// also when an import or a pin of the operator's keeps it.
	Purge func(ctx context.Context, path string, unpin bool) (task.PurgeResult, error)
	// Fleet is this edge's fleet, if only of one.
	Fleet Fleet
	// Pins are the fleet's.
	Pins Pins
	// Resolve returns the CID that a path names: a CID, or /ipfs/... or /ipns/...
	Resolve func(ctx context.Context, path string) (cid.Cid, error)
	// PinService is the pinning service at /pins; it alone may be nil.
	PinService http.Handler
	// Reload reads the settings again and puts in force what can be.
	Reload func() (task.Reloaded, error)
	// Stats returns the figures of this moment.
	Stats func() Stats
	// Ready returns nil when this edge serves, else the reason in an operator's words;
	// and what an operator should know of an edge that serves, if anything.
	Ready func() (note string, err error)
	// URL returns where visitors find imported content.
	URL func(cid.Cid) string
	// Gatherer has the metrics.
	Gatherer prometheus.Gatherer
}

// Importer turns a stream into blocks. It reads to the end of the stream, calls
// progress (never nil) from the goroutine that called it, and leaves nothing
// protected when it fails or when ctx ends.
type Importer interface {
	Tar(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error)
	Multipart(ctx context.Context, r *multipart.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error)
	CAR(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error)
}

// AddResult is the last line of a successful import.
type AddResult struct {
	CID    string   `json:"cid"`
	Roots  []string `json:"roots,omitempty"` // only when there are several
	Name   string   `json:"name,omitempty"`
	Pinned bool     `json:"pinned"`
	Pins   []string `json:"pins,omitempty"` // IDs, one for each root
	Bytes  int64    `json:"bytes"`
	Blocks int64    `json:"blocks"`
	Files  int64    `json:"files"`
	URL    string   `json:"url"`
}

// AddLine is one line of the answer to an import: one of the three.
type AddLine struct {
	Progress *task.Progress `json:"progress,omitempty"`
	Error    *problem.Body  `json:"error,omitempty"`
	*AddResult
}

// Stats are the figures of one moment. Counters count from the start of the process.
type Stats struct {
	Name          string  `json:"name"`
	Version       string  `json:"version"`
	UptimeSeconds float64 `json:"uptime_seconds"`

	Cache Layer `json:"cache"` // memory
	Store Layer `json:"store"` // disk

	// Blocks counts the blocks served, by where they were found: memory, disk,
	// sibling, origin.
	Blocks   map[string]Traffic `json:"blocks"`
	Requests Requests           `json:"requests"`
	// Imports are the root CIDs of imports that no pin has taken over yet.
	Imports []string `json:"imports"`
	// Pins counts the fleet's pins by status.
	Pins map[record.Status]int `json:"pins"`
	// Waiting are the sites whose newest release is not live yet.
	Waiting []record.WaitingSite `json:"waiting,omitempty"`
}

// Layer is how full one place for blocks is.
type Layer struct {
	Bytes         int64 `json:"bytes"`
	CapacityBytes int64 `json:"capacity_bytes"`
	Blocks        int64 `json:"blocks"`
	PinnedBytes   int64 `json:"pinned_bytes"`
	PinnedBlocks  int64 `json:"pinned_blocks"`
}

// Traffic counts blocks and their bytes.
type Traffic struct {
	Blocks int64 `json:"blocks"`
	Bytes  int64 `json:"bytes"`
}

// Requests counts what visitors asked for over HTTP.
type Requests struct {
	Total    int64 `json:"total"`
	Hits     int64 `json:"hits"` // answered from memory
	Errors   int64 `json:"errors"`
	InFlight int64 `json:"in_flight"`
	Bytes    int64 `json:"bytes"`
}
