package pin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/database"
	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/record"
)

// pinList is the fleet's list of pins; see package list.
type pinList interface {
	Start()
	Add(ctx context.Context, pins ...record.Pin) error
	Remove(ctx context.Context, ids ...string) error
	Get(id string) (*record.Pin, bool)
	All() iter.Seq[*record.Pin]
	Owned(owner string) iter.Seq[*record.Pin]
	Close() error
}

// holder has this edge's share; see package hold.
type holder interface {
	Start()
	Hold(root cid.Cid, origins []string)
	Let(root cid.Cid)
	State(root cid.Cid) (hold.State, bool)
	All() iter.Seq[hold.State]
	Settle(root cid.Cid) error
	Lost()
	Verify(ctx context.Context, root cid.Cid, progress func(record.Progress)) (record.Check, error)
	Close() error
}

// Imports are what this edge's imports hold under names of their own. Pins take over
// from them. It may be called from many goroutines at once.
type Imports interface {
	// Held lists the roots that imports hold.
	Held() []cid.Cid
	// Unpin ends what the imports of roots hold, and reports whether they did.
	Unpin(roots ...cid.Cid) (bool, error)
}

// Pins is this edge's part in the fleet's pins, in four layers, each of which knows only
// those below it: the table of what is wanted and held, the gossip about it, the
// controller that acts, and here what operators, clients and sites ask for. It is safe
// for concurrent use.
type Pins struct {
	*controller
	opts      Options
	cancel    context.CancelFunc // of gossip.ctx
	verifier  *verifier
	unmetered func()
	protected func(cid.Cid) bool // by the block store
	methods   map[string]Handler // of the list
	orphans   []cid.Cid          // what imports held when this edge started
	db        *database.Database // nil: somebody else's
	stamp     time.Time          // the last that was given out; guarded by table.mu
}

// parts are what newPins makes Pins of.
type parts struct {
	list    pinList
	hold    holder
	fleet   Fleet
	imports Imports
	store   ds.Batching // for what this package remembers
	log     *slog.Logger
	metrics prometheus.Registerer
}

// newPins makes Pins that know nothing yet. The list and the holder tell it what
// changed by changedPins and changedRoot.
func newPins(opts Options) (*Pins, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gossip{table: newTable(opts.Replicas), ctx: ctx, own: newJournal(), others: map[string]*sibling{}}
	return &Pins{
		controller: &controller{gossip: g, every: opts.Look}, opts: opts, cancel: cancel, protected: func(cid.Cid) bool { return false },
	}, nil
}

// assemble gives Pins what they work with.
func (p *Pins) assemble(r parts) (err error) {
	p.list, p.hold, p.fleet, p.imports, p.log = r.list, r.hold, r.fleet, r.imports, r.log
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.adopt = p.adoptImports
	p.verifier = &verifier{gossip: p.gossip, hold: p.hold, checks: map[cid.Cid]*check{}}
	now := time.Now()
	if p.tracker, err = newTracker(p.ctx, r.store, p.opts.Grace, now); err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	p.setMembership(p.tracker.look(p.fleet.Members(), now))
	p.load()
	if p.imports != nil {
		p.orphans = p.imports.Held()
	}
	if p.unmetered, err = p.meter(r.metrics); err != nil {
		return fmt.Errorf("pins: register metrics: %w", err)
	}
	return nil
}

// setMembership notes who counts.
func (ctl *controller) setMembership(c *membership) {
	c.rank = ctl.fleet.Ranker(ctl.tracker.ranked(c))
	ctl.mu.Lock()
	ctl.membership = c
	ctl.mu.Unlock()
}

// changedPins is told by the list which pins came or went.
func (ctl *controller) changedPins(ids []string) { ctl.work.pins(ids) }

// Lost says that the block store has lost a block that was held, so that the pins that
// lack it get it back. It does not block.
func (ctl *controller) Lost() { ctl.hold.Lost() }

// changedRoot is told by the holder that something became of a root.
func (ctl *controller) changedRoot(c cid.Cid) { ctl.work.root(record.Root(c)) }

// Start goes on with what is being fetched, and begins to bring the list and what is
// held together once ready is closed, which may be nil: when the siblings were met.
func (p *Pins) Start(ready <-chan struct{}) {
	p.hold.Start()
	p.list.Start()
	p.running.Go(func() { p.reconcile(ready) })
}

// load takes up all that is there.
func (ctl *controller) load() {
	ctl.mu.Lock()
	defer ctl.mu.Unlock()
	for s := range ctl.hold.All() {
		ctl.at(record.Root(s.Root)).local = s.Report
		ctl.own.set(record.Root(s.Root), s.Report)
	}
	for pin := range ctl.list.All() {
		ctl.setPin(pin.ID, pin)
	}
	for c, r := range ctl.roots {
		ctl.replan(r)
		ctl.work.root(c)
	}
}

// Close ends what runs and returns when it has ended. What is held stays held.
func (p *Pins) Close() error {
	if !p.running.Close(p.cancel) {
		return nil
	}
	return p.closeParts()
}

// Pinned reports whether c is protected on this edge, or listed. It is quick.
func (p *Pins) Pinned(c cid.Cid) bool { return p.protected(c) || p.Listed(c) }

// closeParts closes the list, what is held, and the database of both.
func (p *Pins) closeParts() error {
	p.unmetered()
	err := errors.Join(p.list.Close(), p.hold.Close())
	if p.db != nil {
		err = errors.Join(err, p.db.Close())
	}
	return err
}
