package ingest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Store keeps the blocks of this edge and protects those that have an owner.
//
// PutHeld stores b and holds it for owner in one step, so that it cannot be
// evicted in between; its errors name the block. Hold adds blocks that are already stored to what owner
// holds; a block that is not stored is an error, and holding a block twice for one
// owner is the same as once. Commit makes owner's holds durable: they are there
// again after a restart, and one that was never committed is not. Release ends
// them all; the blocks stay until they are evicted. To release an owner that holds
// nothing is not an error. Owners lists the committed owners. All of it may be
// called from many goroutines at once.
type Store interface {
	Get(ctx context.Context, c cid.Cid) (blocks.Block, error)
	Has(ctx context.Context, c cid.Cid) (bool, error)
	PutHeld(ctx context.Context, owner string, b blocks.Block) error
	Hold(owner string, cids ...cid.Cid) error
	Commit(owner string) error
	Release(owner string) error
	Owners() []string
}

// Owner names in the store.
const (
	ownerImport = "import/" // followed by a random text: one import under way
	ownerAdded  = "add/"    // followed by a root CID: what an import was asked to keep
)

// Owner returns the name under which the store holds everything below root once
// an import that pins is complete. CIDv0 and CIDv1 of one block share it.
func Owner(root cid.Cid) string {
	return ownerAdded + dag.Canonical(root).String()
}

// Options are the limits of imports.
type Options struct {
	// MaxEntries is the largest number of files, folders and symlinks in one
	// import. Their names and CIDs are kept in memory, about 200 bytes each.
	MaxEntries int
}

// writers is the number of blocks of one import that are being stored at the
// same time. Each is at most 1 MiB (2 MiB from a CAR): with the chunk being
// read, this bounds the memory an import needs besides its list of names to 16 MiB.
const writers = 4

// DefaultOptions lets an import have five million entries.
func DefaultOptions() Options { return Options{MaxEntries: 5_000_000} }

// Validate reports the first value that cannot work.
func (o Options) Validate() error {
	if o.MaxEntries < 1 {
		return fmt.Errorf("ingest: MaxEntries is %d, expected at least 1", o.MaxEntries)
	}
	return nil
}

// Pins are the fleet's, seen from here: what is imported is to be pinned by the fleet, and
// what is purged by it no more.
type Pins interface {
	// Import makes a pin of what an import holds.
	Import(ctx context.Context, request record.Request) (record.View, error)
	// Drop removes all pins of the operator's of the given roots, and returns when this
	// edge has let go of what nobody else wants.
	Drop(ctx context.Context, roots ...cid.Cid) error
	// Listed reports whether some pin wants a root.
	Listed(c cid.Cid) bool
}

// Ingester imports content into a store. Make one with [New].
type Ingester struct {
	opts  Options
	store Store
	pins  Pins // nil until Connect
	log   *slog.Logger

	// keep serialises what changes owners of the form "add/<root>". Two imports of
	// the same content would otherwise hold under one owner at once, and the one
	// that fails would take the other's holds with it.
	keep sync.Mutex
}

// New returns an Ingester that writes to store. It starts nothing and has nothing
// to close.
func New(opts Options, store Store, log *slog.Logger) (*Ingester, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	return &Ingester{opts: opts, store: store, log: log}, nil
}

// Connect has imports become pins of the fleet from now on. Before, and without it, they
// are kept on this edge alone. It is called before the first import, if at all.
func (in *Ingester) Connect(pins Pins) { in.pins = pins }

// session is one import under way. All of it but the sink's writers belongs to
// the goroutine that imports.
type session struct {
	task.Progress
	*sink
	params task.Import
	limit  int // of entries
	report func(task.Progress)
}

// run gives build an owner of its own, then checks and keeps the roots that it
// returns. However it ends, nothing stays held under the import's own owner.
func (in *Ingester) run(ctx context.Context, p task.Import, report func(task.Progress), build func(context.Context, *session) ([]cid.Cid, error)) (task.Imported, error) {
	started := time.Now()
	owner := ownerImport + rand.Text()
	defer func() {
		if err := in.store.Release(owner); err != nil {
			in.log.Error("release a finished import: its blocks stay protected until the next start", "owner", owner, "error", err)
		}
	}()
	if report == nil {
		report = func(task.Progress) {}
	}
	s := &session{params: p, limit: in.opts.MaxEntries, report: report}
	s.sink = newSink(ctx, in.store, owner, writers, func() { s.Blocks++; s.report(s.Progress) })

	roots, err := build(s.ctx, s)
	if err := s.wait(err); err != nil {
		return task.Imported{}, in.failed(ctx, p, err)
	}
	if err := in.finish(ctx, owner, roots, p.Pin); err != nil {
		return task.Imported{}, in.failed(ctx, p, err)
	}
	in.log.Info("import complete", "cid", roots[0], "name", p.Name, "pinned", p.Pin, "bytes", s.Bytes,
		"files", s.Files, "blocks", s.Blocks, "seconds", time.Since(started).Seconds())
	return in.pinned(ctx, p, task.Imported{Progress: s.Progress, CID: roots[0], Roots: roots})
}

// pinned makes pins of what an import holds.
func (in *Ingester) pinned(ctx context.Context, p task.Import, done task.Imported) (task.Imported, error) {
	if !p.Pin || in.pins == nil {
		return done, nil
	}
	for _, root := range done.Roots {
		view, err := in.pins.Import(ctx, record.Request{CID: root, Name: p.Name})
		if err != nil {
			return done, fmt.Errorf("%s is on this edge to stay, but the fleet has no pin of it: %w", root, err)
		}
		done.Pins = append(done.Pins, view.ID)
	}
	return done, nil
}

// failed logs err and gives a caller who left the reason for leaving.
func (in *Ingester) failed(ctx context.Context, p task.Import, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("import stopped: %w", cause)
	}
	in.log.Warn("import failed; nothing of it stays protected", "name", p.Name, "error", err)
	return err
}

// finish walks each root and, when pin is set, keeps it. A failure undoes what it
// had kept, but never what an earlier import keeps.
func (in *Ingester) finish(ctx context.Context, owner string, roots []cid.Cid, pin bool) (err error) {
	if !pin {
		for _, root := range roots {
			if err := in.walk(ctx, root, nil); err != nil {
				return err
			}
		}
		return nil
	}
	in.keep.Lock()
	defer in.keep.Unlock()
	var kept []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range kept {
			if rerr := in.store.Release(name); rerr != nil {
				err = errors.Join(err, fmt.Errorf("undo pin %s: %w", name, rerr))
			}
		}
	}()
	for _, root := range roots {
		name := Owner(root)
		if slices.Contains(in.store.Owners(), name) {
			continue
		}
		kept = append(kept, name)
		hold := func(cids ...cid.Cid) error { return in.store.Hold(name, cids...) }
		if err := in.walk(ctx, root, hold); err != nil {
			return err
		}
		if err := in.store.Commit(name); err != nil {
			return fmt.Errorf("commit the import of %s: %w", root, err)
		}
	}
	return nil
}

// Held lists the roots that imports keep on this edge, in no order.
func (in *Ingester) Held() []cid.Cid {
	var roots []cid.Cid
	for _, owner := range in.store.Owners() {
		text, ok := strings.CutPrefix(owner, ownerAdded)
		if !ok {
			continue
		}
		if c, err := cid.Decode(text); err == nil {
			roots = append(roots, c)
		}
	}
	return roots
}

// badInput says that what was sent cannot be imported: sending it again will fail again.
// Its text is for whoever sent it.
func badInput(format string, args ...any) error {
	return problem.Errorf(problem.BadRequest, format, args...)
}
