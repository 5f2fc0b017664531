package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// An EdgeSpec says which edge to start. Its admin API listens on loopback, on a port
// that the kernel chooses, and has no token.
type EdgeSpec struct {
	// Name is the edge's name in the fleet, and Data the folder that it may fill.
	Name, Data string
	// Listen is host:port of the gateway.
	Listen string
	// Serve is the setting gateway.serve: what strangers may ask for by CID.
	Serve string
	// Origin is the URL of the trustless gateway that the edge asks for what it
	// lacks; "" for an edge that has none.
	Origin string
	// SiteHost is the name of the website that the edge fronts, and SiteContent
	// its content path; "" for none.
	SiteHost, SiteContent string
}

// An Edge is a running edge.
type Edge interface {
	// GatewayAddr and AdminAddr return host:port of the two listeners.
	GatewayAddr() string
	AdminAddr() string
	// Stop drains the edge, until ctx ends, and releases everything: when it
	// returns, the ports and the data folder are free. It is called once.
	Stop(ctx context.Context) error
}

// A StartFunc starts an edge and returns when it serves. ctx bounds the start and
// not the edge's life, which ends with Stop.
type StartFunc func(ctx context.Context, spec EdgeSpec) (Edge, error)

// Options says what to demonstrate and how to show it.
type Options struct {
	// Path is the file or folder to publish; "" publishes the bundled website.
	Path string
	// Edges is how many edges stand in front of the origin. One, for now.
	Edges int
	// Keep leaves the edges running after the table is printed, until the
	// context ends.
	Keep bool

	// Out receives the result: the table and the URLs, or with JSON one object
	// for each event. Live receives what happens meanwhile; nil: Out.
	Out, Live io.Writer
	// Terminal says that Live is a terminal, which is redrawn in place; without
	// it, Live gets a line now and then. Width is its number of columns.
	Terminal bool
	Width    int
	// Color allows colours on a terminal. (NO_COLOR is the caller's to read.)
	Color bool
	// JSON prints machine-readable lines to Out, and nothing to Live.
	JSON bool

	// Visitors is the size of the crowd. They arrive spread over Spread, and a
	// phase is cut short after Limit.
	Visitors      int
	Spread, Limit time.Duration
	// Seed decides who comes and what they look at.
	Seed uint64

	// TempDir is where the edges' folders are made; "" is the system's choice.
	TempDir string
	// Start starts an edge.
	Start StartFunc
}

// DefaultOptions returns the options of `shoal demo`, but for Out and Start.
func DefaultOptions() Options {
	return Options{
		Edges:    1,
		Width:    80,
		Visitors: 80,
		Spread:   2 * time.Second,
		Limit:    15 * time.Second,
		Seed:     1,
	}
}

// Validate reports the first option that is wrong.
func (o Options) Validate() error {
	switch {
	case o.Edges < 1:
		return fmt.Errorf("edges: %d: must be at least 1", o.Edges)
	case o.Edges > 1:
		return fmt.Errorf("edges: %d: edges do not share their content yet, so the demo runs 1", o.Edges)
	case o.Visitors < 1 || o.Visitors > 100_000:
		return fmt.Errorf("visitors: %d: must be between 1 and 100000", o.Visitors)
	case o.Spread < 0:
		return fmt.Errorf("spread: %s: must not be negative", o.Spread)
	case o.Limit <= 0:
		return fmt.Errorf("limit: %s: must be positive", o.Limit)
	case o.Out == nil:
		return errors.New("out: nil: must be a writer")
	case o.Start == nil:
		return errors.New("start: nil: must start an edge")
	}
	return nil
}
