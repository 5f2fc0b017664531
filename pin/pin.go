package pin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/database"
	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
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

// Pins is this edge's part in the fleet's pins. It is safe for concurrent use.
type Pins struct {
	opts      Options
	fleet     Fleet
	imports   Imports
	list      pinList
	hold      holder
	log       *slog.Logger
	own       *journal
	tracker   *tracker
	unmetered func()
	protected func(cid.Cid) bool // by the block store
	methods   map[string]Handler // of the list
	orphans   []cid.Cid          // what imports held when this edge started
	db        *database.Database // nil: somebody else's

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running work.Group

	work queue // roots and pins that changed

	mu         sync.RWMutex // guards what follows
	membership *membership
	roots      map[cid.Cid]*root
	pins       map[string]*record.Pin // by ID: those that roots have
	counts     map[record.Status]int  // of pins
	siblings   map[string]*sibling
	// mayRelease says that this edge knows enough to let go of something.
	mayRelease bool
	stamp      time.Time // the last that was given out
	checks     map[cid.Cid]*check
	// exposed counts the roots that are pinned by the fleet, by multihash.
	exposed map[string]int

	// hashes has the keys of exposed, for readers that must not wait.
	hashes sync.Map
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
	p := &Pins{
		opts: opts, own: newJournal(), work: newQueue(),
		roots: map[cid.Cid]*root{}, pins: map[string]*record.Pin{}, counts: map[record.Status]int{},
		siblings: map[string]*sibling{}, checks: map[cid.Cid]*check{}, exposed: map[string]int{},
		protected: func(cid.Cid) bool { return false },
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// assemble gives Pins what they work with.
func (p *Pins) assemble(r parts) (err error) {
	p.list, p.hold, p.fleet, p.imports, p.log = r.list, r.hold, r.fleet, r.imports, r.log
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
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
func (p *Pins) setMembership(c *membership) {
	c.rank = p.fleet.Ranker(p.tracker.ranked(c))
	p.mu.Lock()
	p.membership = c
	p.mu.Unlock()
}

// changedPins is told by the list which pins came or went.
func (p *Pins) changedPins(ids []string) { p.work.pins(ids) }

// Lost says that the block store has lost a block that was held, so that the pins that
// lack it get it back. It does not block.
func (p *Pins) Lost() { p.hold.Lost() }

// changedRoot is told by the holder that something became of a root.
func (p *Pins) changedRoot(c cid.Cid) { p.work.root(record.Root(c)) }

// Start goes on with what is being fetched, and begins to bring the list and what is
// held together once ready is closed, which may be nil: when the siblings were met.
func (p *Pins) Start(ready <-chan struct{}) {
	p.hold.Start()
	p.list.Start()
	p.running.Go(func() { p.reconcile(ready) })
}

// load takes up all that is there.
func (p *Pins) load() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.hold.All() {
		p.at(record.Root(s.Root)).local = s.Report
		p.own.set(record.Root(s.Root), s.Report)
	}
	for pin := range p.list.All() {
		p.setPin(pin.ID, pin)
	}
	for c, r := range p.roots {
		p.replan(r)
		p.work.root(c)
	}
}

// Close ends what runs and returns when it has ended. What is held stays held.
func (p *Pins) Close() error {
	if !p.running.Close(p.cancel) {
		return nil
	}
	return p.closeParts()
}

// at returns the root, which may be a new one. p.mu is held.
func (p *Pins) at(c cid.Cid) *root {
	r := p.roots[c]
	if r == nil {
		r = &root{cid: c}
		p.roots[c] = r
	}
	return r
}

// Pinned reports whether c is protected on this edge, or listed. It is quick.
func (p *Pins) Pinned(c cid.Cid) bool { return p.protected(c) || p.Listed(c) }

// Listed reports whether c is the root of something that the fleet pins, whatever the
// version and codec of the CID. It is quick.
func (p *Pins) Listed(c cid.Cid) bool {
	if !c.Defined() {
		return false
	}
	_, ok := p.hashes.Load(string(c.Hash()))
	return ok
}

// closeParts closes the list, what is held, and the database of both.
func (p *Pins) closeParts() error {
	p.unmetered()
	err := errors.Join(p.list.Close(), p.hold.Close())
	if p.db != nil {
		err = errors.Join(err, p.db.Close())
	}
	return err
}
