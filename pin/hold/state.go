package hold

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/pin/record"
)

// State is how far this edge is with one root. While a damaged DAG is repaired, or one
// is walked again, its blocks and bytes are those of the best try.
type State struct {
	Root cid.Cid // a CIDv1
	record.Report
	// Total is how many bytes there are in all, as the root claims; 0 when it does
	// not say. Blocks that repeat may make it too large.
	Total int64
	// Tries is how many tries have ended without all blocks.
	Tries int
	// Next is when it is tried again; zero when nothing is planned or it is being tried.
	Next time.Time
	// Missing is a block that could not be had at the last try, if that is what it
	// waits for or why it failed; otherwise undefined.
	Missing cid.Cid
	// Needed and Free are bytes, of a DAG that did not fit; Needed is 0 for others.
	Needed, Free int64
}

// saved is what of a state is on disk, as JSON under the root's name.
type saved struct {
	record.Report
	Origins []string `json:"origins,omitempty"`
	Total   int64    `json:"total,omitempty"`
	Tries   int      `json:"tries,omitempty"`
	Missing string   `json:"missing,omitempty"`
	Needed  int64    `json:"needed,omitempty"`
	Free    int64    `json:"free,omitempty"`
	// Lacking is since when nobody has what is missing.
	Lacking time.Time `json:"lacking,omitzero"`
	// Whole says that it was pinned once: it is not given up any more.
	Whole bool `json:"whole,omitempty"`
}

func (s *saved) become(status record.Status, reason string) {
	if s.Status != status {
		s.Status, s.Since = status, time.Now().UTC().Truncate(time.Second)
	}
	s.Reason = reason
}

// wanted reports whether a root in this state is to be protected.
func (s *saved) wanted() bool { return s.Status != record.Failed }

// entry is a root that is wanted, or was until a moment ago. But for root, owner,
// writing and the atomics, Holder.mu guards it.
type entry struct {
	root  cid.Cid
	owner string // in the store
	saved saved
	// let is set when the root is not wanted any more.
	let bool

	// An entry is planned (in a queue), busy (one goroutine has it to itself), in
	// the list of those to let go, or at rest.
	due   time.Time // when planned
	queue *queue
	at    int // in queue
	busy  *job
	large bool // more than largeDAG blocks are known of

	pause backoff.ExponentialBackOff
	peers map[string]block.Getter // the origins in use; for whoever has the entry to itself

	blocks, bytes atomic.Int64 // of the walk that is under way
	taken         atomic.Int64 // of bytes, how many were not held before it

	writing sync.Mutex // one write of the state at a time; taken before Holder.mu
	onDisk  bool       // guarded by writing: its state was synced since it was last let go
}

// job is what has an entry to itself.
type job struct {
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it ends
	yields bool          // to a check on demand
	large  bool          // holds one of the places for large DAGs
}

// state returns what the entry says. The caller holds Holder.mu.
func (e *entry) state() State {
	s := State{Root: e.root, Report: e.saved.Report, Total: e.saved.Total, Tries: e.saved.Tries, Needed: e.saved.Needed, Free: e.saved.Free}
	if s.Status != record.Pinned {
		s.Blocks, s.Bytes = max(s.Blocks, e.blocks.Load()), max(s.Bytes, e.bytes.Load())
	}
	if e.queue != nil {
		s.Next = e.due
	}
	if e.saved.Missing != "" {
		s.Missing, _ = cid.Decode(e.saved.Missing)
	}
	// What fails for want of a block names it.
	s.Unfit = s.Status == record.Failed && (s.Needed > 0 || !s.Missing.Defined())
	return s
}

func stateKey(root cid.Cid) ds.Key { return ds.RawKey("/" + root.String()) }

// save lets change alter the state, first on disk, then in memory, and syncs it if
// durable is set. A root that is let go meanwhile is left as it is: the error is errLet.
func (h *Holder) save(e *entry, durable bool, change func(*saved)) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	h.mu.Lock()
	next, let := e.saved, e.let
	h.mu.Unlock()
	if let {
		return errLet
	}
	change(&next)
	if err := h.write(e.root, &next, durable); err != nil {
		return err
	}
	e.onDisk = e.onDisk || durable
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.let {
		return errLet
	}
	before := e.saved.Origins // only these change otherwise
	change(&e.saved)
	e.saved.Origins = before
	return nil
}

func (h *Holder) write(root cid.Cid, s *saved, durable bool) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the state of %s: %w", root, err)
	}
	// The state of what was done is written even when the edge is about to stop.
	ctx := context.WithoutCancel(h.ctx)
	err = h.datastore.Put(ctx, stateKey(root), text)
	if err == nil && durable {
		err = h.datastore.Sync(ctx, stateKey(root))
	}
	if err != nil {
		return fmt.Errorf("write the state of %s: %w", root, err)
	}
	return nil
}

// erase removes the state of a root, durably.
func (h *Holder) erase(e *entry) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	ctx := context.WithoutCancel(h.ctx)
	err := h.datastore.Delete(ctx, stateKey(e.root))
	if err == nil {
		err = h.datastore.Sync(ctx, stateKey(e.root))
	}
	if err != nil {
		return fmt.Errorf("remove the state of %s: %w", e.root, err)
	}
	e.onDisk = false
	return nil
}

// load reads all states. One that cannot be read is logged and left out: its root is
// not wanted until somebody says so again.
func (h *Holder) load() error {
	results, err := h.datastore.Query(h.ctx, query.Query{})
	if err != nil {
		return fmt.Errorf("read the states of pins: %w", err)
	}
	defer results.Close()
	for r := range results.Next() {
		if r.Error != nil {
			return fmt.Errorf("read the states of pins: %w", r.Error)
		}
		root, err := cid.Decode(ds.RawKey(r.Key).BaseNamespace())
		var s saved
		if err == nil {
			err = json.Unmarshal(r.Value, &s)
		}
		if err == nil {
			err = known(s.Status)
		}
		if err != nil {
			h.log.Error("state of a pin left out: it cannot be read", "key", r.Key, "error", err)
			continue
		}
		e := h.newEntry(root)
		e.saved, e.onDisk = s, true
		e.large = s.Blocks >= largeDAG
		h.entries[root.KeyString()] = e
	}
	return nil
}

func known(s record.Status) error {
	switch s {
	case record.Queued, record.Pinning, record.Pinned, record.Failed:
		return nil
	}
	return fmt.Errorf("status %q: expected queued, pinning, pinned or failed", s)
}

func (h *Holder) newEntry(root cid.Cid) *entry {
	return &entry{
		root: root, owner: ownerPrefix + root.String(), at: -1,
		saved: saved{Report: record.Report{Share: record.Share{Status: record.Queued, Since: time.Now().UTC().Truncate(time.Second)}}},
		pause: backoff.ExponentialBackOff{
			InitialInterval: h.opts.RetryFirst, MaxInterval: h.opts.RetryMost,
			Multiplier: backoff.DefaultMultiplier + 0.5, RandomizationFactor: backoff.DefaultRandomizationFactor / 2,
		},
	}
}
