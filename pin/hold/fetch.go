package hold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

const (
	// What is held is committed after so many blocks or bytes: until then the store
	// has the references in memory, and a crash takes them.
	checkpointBlocks = 16384
	checkpointBytes  = 256 << 20

	tellEvery = time.Second // how often progress is told
)

// fetching is the visitor that gets all of a DAG held.
type fetching struct {
	*walk
	h    *Holder
	e    *entry
	from sources
	free int64 // bytes that could be held when it began

	blocks, bytes int64        // dealt with
	fetched       atomic.Int64 // blocks that were not on the disk
	// held since the last checkpoint
	newBlocks, newBytes int64
	told                time.Time
}

func (h *Holder) newFetching(e *entry) *fetching {
	f := &fetching{h: h, e: e, from: h.sources(e), free: h.store.Room(), told: time.Now()}
	f.walk = newWalk(h.opts, parallel, f)
	e.taken.Store(0)
	return f
}

func (f *fetching) run(ctx context.Context) error {
	if err := f.h.store.References(f.e.owner, f.remember); err != nil {
		return err
	}
	return f.walk.run(ctx, f.e.root)
}

// Glance implements [dag.Visitor].
func (f *fetching) Glance(ctx context.Context, v dag.Visit) (int64, bool, error) {
	n, err := f.h.store.GetSize(ctx, v.CID)
	if err == nil && !v.Known {
		err = f.h.store.Hold(f.e.owner, v.CID)
	}
	switch {
	case err == nil:
		f.h.metrics.block(block.Disk.String(), n)
		return int64(n), true, nil
	case ipld.IsNotFound(err):
		return 0, false, nil
	}
	return 0, false, f.storeError(err)
}

// Read implements [dag.Visitor]. What it returns for a block that cannot be had is an
// *absence.
func (f *fetching) Read(ctx context.Context, v dag.Visit) ([]byte, error) {
	b, err := f.h.store.Get(ctx, v.CID)
	from := block.Disk.String()
	switch {
	case err == nil && v.Known:
		f.h.metrics.block(from, len(b.RawData()))
		return b.RawData(), nil
	case ipld.IsNotFound(err):
		if b, from, err = f.from.get(ctx, v.CID); err != nil {
			return nil, err
		}
		f.fetched.Add(1)
	case err != nil:
		return nil, f.storeError(err)
	}
	// A block that is in hand is stored, even when the walk is about to end.
	if err := f.h.store.PutHeld(context.WithoutCancel(ctx), f.e.owner, b); err != nil {
		return nil, f.storeError(err)
	}
	f.h.metrics.block(from, len(b.RawData()))
	return b.RawData(), nil
}

// After implements [dag.Visitor].
func (f *fetching) After(ctx context.Context, v dag.Visited) error {
	if ok, err := f.took(ctx, v); !ok {
		return err
	}
	if v.Depth == 0 {
		if err := f.fits(v); err != nil {
			return err
		}
	}
	if v.Fresh {
		f.blocks++
		f.bytes += v.Size
		f.e.blocks.Store(f.blocks)
		f.e.bytes.Store(f.bytes)
	}
	if !v.Known {
		f.newBlocks++
		f.newBytes += v.Size
		f.e.taken.Add(v.Size)
	}
	if now := time.Now(); now.Sub(f.told) >= tellEvery {
		f.told = now
		f.h.changed(f.e.root)
	}
	if f.blocks == largeDAG && v.Fresh && !f.h.grow(f.e) {
		return errParked
	}
	if f.newBlocks >= checkpointBlocks || f.newBytes >= checkpointBytes {
		f.newBlocks, f.newBytes = 0, 0
		if err := f.h.checkpoint(f.e); err != nil {
			return f.storeError(err)
		}
	}
	return nil
}

// fits reports a *shortage when the sizes that the root gives for what is below it
// show that it cannot fit. What is held already needs no room; a child that is, is
// taken to be so with all that is below it.
func (f *fetching) fits(root dag.Visited) error {
	links, err := dag.Links(root.CID, root.Data, f.h.opts.MaxLinks)
	if err != nil {
		return err
	}
	total, needed := root.Size, int64(0)
	if !root.Known {
		needed = root.Size
	}
	counted := make(map[string]bool, len(links))
	for _, l := range links {
		key := string(l.CID.Hash())
		if counted[key] {
			continue
		}
		counted[key] = true
		total = saturate(total, l.Size)
		if !f.h.store.Pinned(l.CID) {
			needed = saturate(needed, l.Size)
		}
	}
	if total == root.Size && len(links) > 0 {
		total = 0 // it does not say
	}
	f.h.mu.Lock()
	f.e.saved.Total = total
	f.h.mu.Unlock()
	free := f.h.claim(f.e, needed)
	if !root.Known {
		free += root.Size // which is counted as needed
	}
	if needed > free {
		return &shortage{needed: needed, free: max(0, free)}
	}
	return nil
}

// claim notes what the DAG of e will take, and returns how many bytes could be held
// besides what others that are under way will still take: two that fit one by one, but
// not both, must not fill the store together until both fail.
func (h *Holder) claim(e *entry, needed int64) (free int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	others := func() (all int64) {
		for other, claimed := range h.claims {
			if other != e {
				all = saturate(all, max(0, claimed-other.taken.Load()))
			}
		}
		return all
	}
	// What others take meanwhile is to be missing in one of the two figures, and not
	// in both or none.
	for before := others(); ; {
		free = h.store.Room() - before
		after := others()
		if after == before {
			break
		}
		before = after
	}
	h.claims[e] = needed
	return free
}

func saturate(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// storeError says what an error of the store is for the DAG.
func (f *fetching) storeError(err error) error {
	short, ok := asShortage(err, f.e.bytes.Load(), f.free)
	if !ok {
		return err
	}
	f.h.mu.Lock()
	total := f.e.saved.Total
	f.h.mu.Unlock()
	if total > short.needed {
		short.needed, short.atLeast = total, false
	}
	return short
}

// sources are who is asked for blocks: what the edge has always, then the origins
// of the pin.
type sources struct {
	getters []block.Getter
	timeout time.Duration
	// first is asked first: the one that had what others lacked.
	first *atomic.Int32
}

// peerSource names the peers of a pin in metrics.
const peerSource = "peer"

func (h *Holder) sources(e *entry) sources {
	h.mu.Lock()
	origins := e.saved.Origins
	h.mu.Unlock()
	s := sources{getters: []block.Getter{h.fetch}, timeout: fetchTimeout, first: &atomic.Int32{}}
	for _, o := range origins {
		if h.peer == nil {
			break
		}
		peer := e.peers[o]
		if peer == nil {
			var err error
			if peer, err = h.peer(o); err != nil {
				h.log.Info("origin of a pin left out", "root", e.root.String(), "origin", o, "error", err)
				continue
			}
			if e.peers == nil {
				e.peers = map[string]block.Getter{}
			}
			e.peers[o] = peer
		}
		s.getters = append(s.getters, peer)
	}
	return s
}

// dismissPeers closes those that can be closed. Until the DAG is whole or given up,
// they stay, also between tries: one that cannot be reached from here may connect
// meanwhile, if whoever made them lets it in.
func (e *entry) dismissPeers() {
	for o, peer := range e.peers {
		if c, ok := peer.(io.Closer); ok {
			c.Close()
		}
		delete(e.peers, o)
	}
}

// get returns a block, verified, and where it came from; or an *absence.
func (s sources) get(ctx context.Context, c cid.Cid) (*block.Verified, string, error) {
	var errs []error
	nowhere := true
	first := int(s.first.Load())
	for i := range s.getters {
		at := (first + i) % len(s.getters)
		b, from, err := s.ask(ctx, at, c)
		if err == nil {
			if i > 0 {
				s.first.Store(int32(at))
			}
			return b, from, nil
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		// What is too large for a block will be so tomorrow.
		if !ipld.IsNotFound(err) && !errors.Is(err, block.ErrTooLarge) {
			nowhere = false
		}
		errs = append(errs, err)
	}
	return nil, "", &absence{cid: c, nowhere: nowhere, err: errors.Join(errs...)}
}

func (s sources) ask(ctx context.Context, at int, c cid.Cid) (*block.Verified, string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("no answer within %s", s.timeout))
	defer cancel()
	b, source, err := s.getters[at].Get(ctx, c)
	if err != nil {
		return nil, "", err
	}
	from := source.String()
	if at > 0 {
		from = peerSource
	}
	b, err = b.As(c)
	return b, from, err
}
