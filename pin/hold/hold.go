package hold

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// ownerPrefix begins the names of this package's owners in the store.
const ownerPrefix = "pin/"

// maxOrigins bounds how many origins are remembered for one root.
const maxOrigins = 4 * record.MaxOrigins

// retryTrouble is when something is tried again that this machine's own disk
// refused.
const retryTrouble = 10 * time.Second

// Errors of a Holder.
var (
	// ErrNotHeld means that a root is not wanted here.
	ErrNotHeld = errors.New("not held on this edge")
	// ErrNotPinned means that a root is not here whole, so that it cannot be checked.
	ErrNotPinned = errors.New("not pinned on this edge yet")

	errLet     = errors.New("let go")
	errClosing = errors.New("closing")
)

// Config is what a Holder works with.
type Config struct {
	Store Store
	// Fetch looks on the disk, then in the fleet, then at the origin.
	Fetch block.Getter
	// Peer returns a peer that a pin names as an origin; nil when there are none. One
	// that is an [io.Closer] is closed when the DAG is whole, has failed or is let go.
	Peer func(multiaddr string) (block.Getter, error)
	// Datastore has the states; all of it belongs to the Holder.
	Datastore ds.Batching
	Log       *slog.Logger          // may be nil
	Metrics   prometheus.Registerer // may be nil
	// Changed is told that a root's state is another one, and once a second while a
	// root is being fetched. It may be nil, must not block, and may be called from
	// many goroutines at once.
	Changed func(root cid.Cid)
}

// Holder has this edge's share of the pins. All methods may be called at once.
type Holder struct {
	opts      Options
	store     Store
	fetch     block.Getter
	peer      func(string) (block.Getter, error)
	datastore ds.Batching
	log       *slog.Logger
	metrics   *metrics
	changed   func(cid.Cid)

	ctx     context.Context // ends with Close
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
	wake    work.Signal
	losses  work.Signal
	leaving work.Signal

	mu           sync.Mutex
	entries      map[string]*entry // by CID, as bytes
	small, large queue
	walks        int // under way
	largeWalks   int
	letting      []*entry
	short        map[*entry]bool  // those that did not fit
	claims       map[*entry]int64 // bytes that walks under way will take
}

// New reads the states of the roots that are wanted here. Nothing is done for them
// before [Holder.Start].
func New(opts Options, cfg Config) (*Holder, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h := &Holder{
		opts: opts, store: cfg.Store, fetch: cfg.Fetch, peer: cfg.Peer, datastore: cfg.Datastore, log: cfg.Log, changed: cfg.Changed,
		ctx: ctx, cancel: cancel, wake: work.NewSignal(), losses: work.NewSignal(), leaving: work.NewSignal(),
		entries: map[string]*entry{}, short: map[*entry]bool{}, claims: map[*entry]int64{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.changed == nil {
		h.changed = func(cid.Cid) {}
	}
	err := h.load()
	if err == nil {
		h.metrics, err = newMetrics(cfg.Metrics, h)
	}
	if err != nil {
		cancel(errClosing)
		return nil, err
	}
	return h, nil
}

// Start releases what nobody wants any more, goes on with what was interrupted, and
// begins the checks in the background. It is called once.
func (h *Holder) Start() {
	h.running.Add(4)
	swept := make(chan struct{}) // closed when it is known what has lost its protection
	go h.schedule(swept)
	go h.letGo()
	go h.verifyAll(swept)
	go h.heedLosses()
}

// Close ends all work and returns when it has. What was fetched of a DAG stays
// protected, and the next start goes on from there. The store and the datastore must
// stay open until then.
func (h *Holder) Close() error {
	h.mu.Lock() // whoever begins something does so under it
	h.cancel(errClosing)
	h.mu.Unlock()
	h.running.Wait()
	h.letAll() // what was let go before is let go now
	for _, e := range h.entries {
		e.dismissPeers()
	}
	h.metrics.unregister()
	return nil
}

// Hold says that the DAG below root is wanted here from now on. To say it again adds
// the origins, which are multiaddrs of peers that may have it. A new one ends a pause
// between tries; a root that failed is tried again if there is a new one, or its
// failure is older than Options.RetryFailed.
//
// It is remembered durably once the first attempt has begun; until then a restart
// forgets it.
func (h *Holder) Hold(root cid.Cid, origins []string) {
	root = dag.Canonical(root)
	if !root.Defined() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return
	}
	e := h.entries[root.KeyString()]
	if e == nil {
		e = h.newEntry(root)
		h.entries[root.KeyString()] = e
		h.plan(e, time.Now())
	} else if e.let {
		// It is being let go: that comes to its end, then this begins.
		e.let = false
		fresh := h.newEntry(root)
		e.saved, e.large = fresh.saved, false
	}
	added := h.addOrigins(e, origins)
	failed := e.saved.Status == record.Failed && e.busy == nil
	if failed && (added || time.Since(e.saved.Since) >= retryFailed) {
		e.saved.become(record.Queued, "")
		e.saved.Tries, e.saved.Lacking, e.saved.Needed, e.saved.Free = 0, time.Time{}, 0, 0
		e.pause.Reset()
		delete(h.short, e)
		h.plan(e, time.Now())
	} else if added && e.queue != nil && e.saved.Status != record.Failed {
		h.plan(e, time.Now())
	}
}

// addOrigins reports whether any was new.
func (h *Holder) addOrigins(e *entry, origins []string) bool {
	added := false
	for _, o := range origins {
		if !slices.Contains(e.saved.Origins, o) && len(e.saved.Origins) < maxOrigins {
			// Another slice, because the old one may be on its way to the disk.
			e.saved.Origins = append(slices.Clip(e.saved.Origins), o)
			added = true
		}
	}
	return added
}

// Let says that root is not wanted here any more. It is not held from now on as far
// as [Holder.State] is concerned; the protection of its blocks ends durably a moment
// later. A root that is not held is no error.
func (h *Holder) Let(root cid.Cid) {
	root = dag.Canonical(root)
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[root.KeyString()]
	if e == nil || e.let {
		return
	}
	e.let = true
	h.unplan(e)
	delete(h.short, e)
	if e.busy != nil {
		e.busy.cancel(errLet)
	} else {
		h.leave(e)
	}
}

// State returns how far this edge is with root; false when it is not wanted here.
func (h *Holder) State(root cid.Cid) (State, bool) {
	root = dag.Canonical(root)
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[root.KeyString()]
	if e == nil || e.let {
		return State{}, false
	}
	return e.state(), true
}

// All returns the states of all roots that were wanted when it began, in no order.
func (h *Holder) All() iter.Seq[State] {
	return func(yield func(State) bool) {
		h.mu.Lock()
		roots := make([]*entry, 0, len(h.entries))
		for _, e := range h.entries {
			roots = append(roots, e)
		}
		h.mu.Unlock()
		for _, e := range roots {
			h.mu.Lock()
			s, let := e.state(), e.let
			h.mu.Unlock()
			if !let && !yield(s) {
				return
			}
		}
	}
}

// Settle remembers durably that the fleet had enough replicas of root at some time.
func (h *Holder) Settle(root cid.Cid) error {
	root = dag.Canonical(root)
	h.mu.Lock()
	e := h.entries[root.KeyString()]
	settled := e != nil && e.saved.Settled
	h.mu.Unlock()
	if e == nil {
		return fmt.Errorf("settle %s: %w", root, ErrNotHeld)
	}
	if settled {
		return nil
	}
	err := h.save(e, true, func(s *saved) { s.Settled = true })
	if errors.Is(err, errLet) {
		err = ErrNotHeld
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w", root, err)
	}
	return nil
}

// leave has a root that nobody works on let go. The caller holds mu.
func (h *Holder) leave(e *entry) {
	_, j := h.take(e)
	j.cancel(nil) // it only keeps others away
	h.letting = append(h.letting, e)
	h.leaving.Give()
}

// letGo lets go of what is in the list, one after the other.
func (h *Holder) letGo() {
	defer h.running.Done()
	for {
		var retry <-chan time.Time
		if h.letAll() {
			retry = time.After(retryTrouble)
		}
		select {
		case <-h.leaving:
		case <-retry:
		case <-h.ctx.Done():
			return
		}
	}
}

// letAll reports whether some could not be let go.
func (h *Holder) letAll() (again bool) {
	h.mu.Lock()
	all := h.letting
	h.letting = nil
	h.mu.Unlock()
	for _, e := range all {
		if err := h.release(e); err != nil {
			h.log.Error("pin not let go; trying again", "root", e.root.String(), "error", err)
			h.mu.Lock()
			h.letting = append(h.letting, e)
			h.mu.Unlock()
			again = true
		}
	}
	if len(all) > 0 {
		h.retryShort()
	}
	return again
}

// release ends what is on the disk for a root: the state first, so that a kill in
// between leaves an owner that the next start knows to be unwanted.
func (h *Holder) release(e *entry) error {
	e.dismissPeers()
	if err := h.erase(e); err != nil {
		return err
	}
	if err := h.store.Release(e.owner); err != nil {
		return err
	}
	h.log.Debug("pin let go", "root", e.root.String())
	h.mu.Lock()
	e.blocks.Store(0)
	e.bytes.Store(0)
	if e.let {
		delete(h.entries, e.root.KeyString())
		close(e.busy.done)
		e.busy = nil
		h.mu.Unlock()
		h.changed(e.root)
		return nil
	}
	defer h.mu.Unlock()
	h.giveBack(e, time.Now())
	return nil
}

// retryShort plans a try, soon, of what did not fit, now that there may be room.
func (h *Holder) retryShort() {
	h.mu.Lock()
	defer h.mu.Unlock()
	soon := time.Now().Add(retryTrouble)
	for e := range h.short {
		if e.busy == nil && e.queue != nil && e.due.After(soon) {
			h.plan(e, soon)
		}
	}
}

// sweep makes states and protection agree: owners that no state wants are released,
// and what has to be tried is planned.
func (h *Holder) sweep() {
	owners := map[string]bool{}
	for _, owner := range h.store.Owners() {
		if !strings.HasPrefix(owner, ownerPrefix) {
			continue
		}
		owners[owner] = true
		if h.unwanted(owner) {
			if err := h.store.Release(owner); err != nil {
				h.log.Error("blocks stay protected that nobody wants, until the next start", "owner", owner, "error", err)
			} else {
				h.log.Info("released blocks that nobody wants", "owner", owner)
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, e := range h.entries {
		switch {
		case e.let || e.busy != nil || e.queue != nil:
		case e.saved.Status == record.Failed && e.saved.Needed > 0:
			h.short[e] = true
			h.plan(e, now)
		case e.saved.Status == record.Queued, e.saved.Status == record.Pinning:
			h.plan(e, now)
		case e.saved.Status == record.Pinned && !owners[e.owner]:
			h.log.Error("protection of a pin is gone; pinning it again", "root", e.root.String())
			e.saved.become(record.Pinning, "its protection was lost")
			h.plan(e, now)
		}
	}
}

func (h *Holder) unwanted(owner string) bool {
	root, err := cid.Decode(strings.TrimPrefix(owner, ownerPrefix))
	if err != nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entries[root.KeyString()]
	return e == nil || e.owner != owner || !e.saved.wanted()
}
