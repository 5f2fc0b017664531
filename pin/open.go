package pin

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/pin/database"
	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/list"
)

// Config is what [Pins] work with.
type Config struct {
	// Store has this edge's blocks.
	Store hold.Store
	// Fetch looks on the disk, then in the fleet, then at the origin.
	Fetch block.Getter
	// Peer returns a peer that a pin names as an origin; nil when there are none.
	Peer    func(multiaddr string) (block.Getter, error)
	Fleet   Fleet
	Imports Imports               // nil: nothing is imported here
	Log     *slog.Logger          // may be nil
	Metrics prometheus.Registerer // may be nil
}

// New opens the database below Options.Dir and reads the list and what is held. Nothing
// is fetched or let go before [Pins.Start].
func New(opts Options, cfg Config) (*Pins, error) {
	p, err := newPins(opts)
	if err != nil {
		return nil, err
	}
	db, err := database.New(filepath.Join(opts.Dir, "pins.db"))
	if err != nil {
		return nil, fmt.Errorf("pins: %w", err)
	}
	if err := p.open(db, cfg); err != nil {
		p.cancel()
		return nil, errors.Join(err, db.Close())
	}
	p.db = db
	return p, nil
}

// open makes the list and the holder in one database.
func (p *Pins) open(db ds.Batching, cfg Config) error {
	entries, err := list.New(p.opts.List, list.Config{
		Datastore: db, Peers: peers{cfg.Fleet}, Log: cfg.Log, Metrics: cfg.Metrics, Changed: p.changedPins,
	})
	if err != nil {
		return err
	}
	shares, err := hold.New(p.opts.Hold, hold.Config{
		Store: cfg.Store, Fetch: cfg.Fetch, Peer: cfg.Peer, Datastore: namespace.Wrap(db, ds.NewKey("/hold")),
		Log: cfg.Log, Metrics: cfg.Metrics, Changed: p.changedRoot,
	})
	if err != nil {
		return errors.Join(err, entries.Close())
	}
	p.methods = entries.Handlers()
	p.protected = cfg.Store.Pinned
	err = p.assemble(parts{
		list: entries, hold: shares, fleet: cfg.Fleet, imports: cfg.Imports,
		store: namespace.Wrap(db, ds.NewKey("/room")), log: cfg.Log, metrics: cfg.Metrics,
	})
	if err != nil {
		return errors.Join(err, entries.Close(), shares.Close())
	}
	return nil
}

// Store is a part of the database for somebody else, who must be done with it before
// Close.
func (p *Pins) Store(prefix ds.Key) ds.Batching { return namespace.Wrap(p.db, prefix) }

// peers are the siblings that the list talks to.
type peers struct{ Fleet }

// Names implements [list.Peers].
func (f peers) Names() (names []string) {
	for _, m := range f.Members() {
		if m.Present() && !m.Self {
			names = append(names, m.Name)
		}
	}
	return names
}

// Handlers are the methods that siblings call, to be registered before the first call
// can come.
func (p *Pins) Handlers() map[string]Handler {
	all := map[string]Handler{reportCall: p.hear, verifyCall: p.verifier.answer}
	maps.Copy(all, p.methods)
	return all
}
