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
	// Memory and Disk are the sizes of its caches in bytes; 0 is the edge's own
	// default.
	Memory, Disk int64
	// Secret is the fleet's; "" for an edge that stands alone. Peers are members
	// of the fleet to begin with, each as name@host:port.
	Secret string
	Peers  []string
}

// An Edge is a running edge.
type Edge interface {
	// GatewayAddr and AdminAddr return host:port of the two listeners.
	GatewayAddr() string
	AdminAddr() string
	// SwarmAddr returns host:port where siblings connect; "" for an edge that
	// stands alone.
	SwarmAddr() string
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
	// Edges is how many edges the largest fleet has. With 1, the demo is about
	// what a single edge does; with more, about how the origin's load falls.
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

	// Visitors is the size of the crowd that comes to a single edge. They arrive
	// spread over Spread.
	Visitors int
	Spread   time.Duration
	// Requests is how many requests of the crowd that comes to a fleet are counted,
	// after as many that fill its caches, and Clients how many it makes at once.
	Requests, Clients int
	// Memory and Disk are the sizes of the caches of each edge of a fleet, in
	// bytes. If what is published is not at least twice as large as the caches of
	// one edge, LibraryFiles made-up files of LibraryBytes bytes altogether are
	// added.
	Memory, Disk int64
	LibraryFiles int
	LibraryBytes int64
	// Secret is the secret of the fleets.
	Secret string
	// Chart is the file for the chart of a fleet, an HTML page; "" for none.
	Chart string
	// A phase is cut short after Limit.
	Limit time.Duration
	// Seed decides who comes and what they look at.
	Seed uint64

	// TempDir is where the edges' folders are made; "" is the system's choice.
	TempDir string
	// Start starts an edge.
	Start StartFunc
}

// DefaultOptions returns the options of `shoal demo`, but for Out, Start and Secret.
func DefaultOptions() Options {
	return Options{
		Edges:        4,
		Width:        80,
		Visitors:     80,
		Spread:       2 * time.Second,
		Requests:     6000,
		Clients:      8,
		Memory:       1 << 20,
		Disk:         16 << 20,
		LibraryFiles: 2000,
		LibraryBytes: 80 << 20,
		Chart:        "demo-chart.html",
		Limit:        40 * time.Second,
		Seed:         1,
	}
}

// maxEdges is the size of the largest fleet. All of them share this machine.
const maxEdges = 32

// Validate reports the first option that is wrong.
func (o Options) Validate() error {
	switch {
	case o.Edges < 1 || o.Edges > maxEdges:
		return fmt.Errorf("edges: %d: must be between 1 and %d", o.Edges, maxEdges)
	case o.Visitors < 1 || o.Visitors > 100_000:
		return fmt.Errorf("visitors: %d: must be between 1 and 100000", o.Visitors)
	case o.Spread < 0:
		return fmt.Errorf("spread: %s: must not be negative", o.Spread)
	case o.Requests < 1 || o.Requests > 10_000_000:
		return fmt.Errorf("requests: %d: must be between 1 and 10000000", o.Requests)
	case o.Clients < 1 || o.Clients > maxConns:
		return fmt.Errorf("clients: %d: must be between 1 and %d", o.Clients, maxConns)
	case o.Memory < 0 || o.Disk < 0:
		return fmt.Errorf("memory, disk: %d, %d: must not be negative", o.Memory, o.Disk)
	case o.LibraryFiles < 1 || o.LibraryBytes < int64(o.LibraryFiles) || o.LibraryBytes/int64(o.LibraryFiles) > 128<<10:
		return fmt.Errorf("library: %d files of %d bytes altogether: must be files of 1 byte to 128 KiB on average", o.LibraryFiles, o.LibraryBytes)
	case o.Limit <= 0:
		return fmt.Errorf("limit: %s: must be positive", o.Limit)
	case o.Out == nil:
		return errors.New("out: nil: must be a writer")
	case o.Start == nil:
		return errors.New("start: nil: must start an edge")
	case o.Edges > 1 && o.Secret == "":
		return errors.New("secret: empty: a fleet needs one")
	}
	return nil
}
