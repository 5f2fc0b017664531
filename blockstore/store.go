package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	boxo "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/metric"
)

// Store is the block store of an edge. All methods may be called at once.
type Store struct {
	options    Options
	fsys       fileSystem
	log        *slog.Logger
	lock       io.Closer
	keys       keyer
	index      index
	buffers    sync.Pool // of *[]byte, for View
	stats      counters
	closed     atomic.Bool
	unregister func() // takes the metrics out of the registry
	watch      Watcher

	capacity atomic.Int64 // in force, in bytes; see room.go
	fitted   atomic.Int64 // when the file system was last asked, in ns since 1970
	bounded  atomic.Bool  // capacity is less than the options'; for the log

	// tableMu guards segments for those who read without mu. It is the
	// innermost lock but for those of the index; mu is always taken before it.
	tableMu  sync.RWMutex
	segments map[uint32]*segment

	// mu is held by whoever writes: it orders appends, evictions, and all that
	// owners do. Reads never wait for it.
	mu       sync.Mutex
	active   [classes]*segment // what is being appended to; nil until needed
	nextID   uint32
	nextAge  uint64
	ghost    ghost
	budget   int64 // bytes that may be copied forward, see evict.go
	scratch  []byte
	newFiles bool // created since the folder was last synced
	owners   map[string]*owner
	reflog   *referenceLog
}

var (
	_ boxo.Blockstore = (*Store)(nil)
	_ boxo.Viewer     = (*Store)(nil)
)

// New opens the store in options.Dir, creating it when it is not there, and takes
// the folder for this process. It returns an error that wraps [ErrLocked],
// [ErrForeign] or [ErrReadOnly] when it cannot. A nil logger or registerer is
// allowed.
func New(options Options, logger *slog.Logger, registerer prometheus.Registerer) (*Store, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	fsys, err := openFolder(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("open block store %s: %w", options.Dir, writeError(err))
	}
	return newStore(options, fsys, logger, registerer)
}

func newStore(options Options, fsys fileSystem, logger *slog.Logger, registerer prometheus.Registerer) (*Store, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		options:  options,
		fsys:     fsys,
		log:      logger,
		keys:     newKeyer(),
		segments: map[uint32]*segment{},
		owners:   map[string]*owner{},
		nextID:   1,
		watch:    Watcher{func(*block.Verified) {}, func() {}},
		scratch:  make([]byte, 0, recordHeaderSize+maxMultihash+joinBelow),
	}
	s.capacity.Store(options.Capacity)
	if err := s.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open block store %s: %w", options.Dir, err)
	}
	var err error
	if s.unregister, err = metric.Register(registerer, s.collectors()...); err != nil {
		s.Close()
		return nil, fmt.Errorf("open block store %s: %w", options.Dir, err)
	}
	return s, nil
}

// Watcher is told what happens to blocks. Neither function may block or call the store.
type Watcher struct {
	// Stored is told of each block that was not here before.
	Stored func(b *block.Verified)
	// Lost is called for each held block that is not here any more, because it could not
	// be read or was damaged.
	Lost func()
}

// Watch says who is told of blocks from now on. It is called before anything is read or
// written.
func (s *Store) Watch(w Watcher) { s.watch = w }

// Close writes what makes the next start quick, and lets go of the folder. What
// is being read meanwhile is still read to its end; later calls return
// [ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	s.unregister()
	var errs []error
	for _, g := range s.active {
		if g != nil {
			errs = append(errs, s.written(g.seal()))
		}
	}
	if err := errors.Join(append(errs, s.closeFiles())...); err != nil {
		return fmt.Errorf("close block store %s: %w", s.options.Dir, err)
	}
	return nil
}

// closeFiles lets go of the files and, last, of the folder.
func (s *Store) closeFiles() error {
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	var errs []error
	for _, g := range s.segments {
		errs = append(errs, g.release())
	}
	s.segments = nil
	if s.reflog != nil {
		errs = append(errs, s.reflog.file.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func (s *Store) segment(id uint32) *segment {
	s.tableMu.RLock()
	defer s.tableMu.RUnlock()
	return s.segments[id]
}

// Has reports whether the block is here. It reads no disk.
func (s *Store) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := s.find(ctx, c)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// GetSize returns the length of the block's data in bytes. It reads no disk.
func (s *Store) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	e, err := s.find(ctx, c)
	if err != nil {
		return -1, err
	}
	return e.length(), nil
}

func (s *Store) find(ctx context.Context, c cid.Cid) (entry, error) {
	if err := s.usable(ctx); err != nil {
		return entry{}, err
	}
	if !c.Defined() {
		return entry{}, block.NotFound(c)
	}
	e, ok := s.index.get(s.keys.key(c.Hash()))
	if !ok || !e.present() {
		return entry{}, block.NotFound(c)
	}
	return e, nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	return context.Cause(ctx)
}

// Put stores a block for as long as it is wanted. A [*block.Verified] is taken as
// it is, any other block is hashed first. When the block cannot be stored
// because the disk is full or pinned blocks fill the store, the error wraps
// [ErrDiskFull] or [ErrFull]: what the caller has in hand is good nevertheless.
func (s *Store) Put(ctx context.Context, b blocks.Block) error {
	return s.put(ctx, b, nil)
}

// PutMany puts the blocks in order and stops at the first that fails.
func (s *Store) PutMany(ctx context.Context, bs []blocks.Block) error {
	for _, b := range bs {
		if err := s.Put(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func verify(b blocks.Block) (*block.Verified, error) {
	v, ok := b.(*block.Verified)
	if !ok {
		return block.New(b.Cid(), b.RawData())
	}
	if n := len(v.RawData()); n > block.MaxSize {
		return nil, fmt.Errorf("block %s: %w: %d bytes, the limit is %d", v.Cid(), block.ErrTooLarge, n, block.MaxSize)
	}
	if n := len(v.Cid().Hash()); n == 0 || n > maxMultihash {
		return nil, fmt.Errorf("block %s: %w: multihash of %d bytes", v.Cid(), block.ErrUnsupported, n)
	}
	return v, nil
}

// DeleteBlock forgets a block, for good: it does not come back with a restart. A
// block that is not here is no error; one that an owner holds is [ErrPinned].
func (s *Store) DeleteBlock(ctx context.Context, c cid.Cid) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if !c.Defined() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	k := s.keys.key(c.Hash())
	e, ok := s.index.get(k)
	switch {
	case !ok:
		return nil
	case e.holds > 0:
		return fmt.Errorf("delete block %s: %w", c, ErrPinned)
	}
	if err := s.forget(k, e, c.Hash()); err != nil {
		return fmt.Errorf("delete block %s: forgotten, but it may be back after a restart: %w", c, err)
	}
	return nil
}

// Discard drops a block whose bytes are not those that its CID names, although
// their checksum is right. Whoever holds it goes on holding it, so that it is pinned
// again as soon as it is back. A block that is not here is no error.
func (s *Store) Discard(ctx context.Context, c cid.Cid) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	k := s.keys.key(c.Hash())
	e, ok := s.index.get(k)
	if !ok || !e.present() {
		return nil
	}
	s.stats.corrupt.Add(1)
	s.lost(e)
	if err := s.forget(k, e, c.Hash()); err != nil {
		return fmt.Errorf("discard block %s: forgotten, but it may be back after a restart: %w", c, err)
	}
	return nil
}

// lost tells of a held block that is about to lose its place.
func (s *Store) lost(e entry) {
	if e.holds > 0 {
		s.watch.Lost()
	}
}

// Room returns how many bytes could be held at most besides what is held now: the
// capacity, or what the file system has, without what is pinned and what the store keeps
// free for itself.
func (s *Store) Room() int64 {
	s.fit()
	now := s.limits()
	return max(0, now.Capacity-now.reserve()-s.stats.pinnedBytes.Load())
}

// forget removes the block at e for good. The caller holds mu.
func (s *Store) forget(k key, e entry, h multihash.Multihash) error {
	g := s.segments[e.segment]
	s.index.change(k, func(e *entry) { e.segment = 0 })
	s.unplaced(g, e, h)
	if g.live == 0 && !s.isActive(g) {
		return s.removeSegment(g)
	}
	g.dead = append(g.dead, e.offset)
	return s.written(s.appendDead(g.id, e.offset))
}

// AllKeysChan sends the CID, with the raw codec, of every block that is here.
// Blocks that come or go meanwhile may be missed.
func (s *Store) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	out := make(chan cid.Cid)
	go func() {
		defer close(out)
		for _, g := range s.sorted() {
			if s.sendKeys(ctx, g, out) != nil {
				return
			}
		}
	}()
	return out, nil
}

// sendKeys sends the blocks whose place is segment g.
func (s *Store) sendKeys(ctx context.Context, g *segment, out chan<- cid.Cid) error {
	s.mu.Lock()
	if s.closed.Load() || !g.acquire() {
		s.mu.Unlock()
		return nil
	}
	entries, _ := g.list()
	s.mu.Unlock()
	defer g.release()
	return eachEntry(entries, func(r record) error {
		e, ok := s.index.get(s.keys.key(r.hash))
		if !ok || !e.at(g.id, r) {
			return nil
		}
		select {
		case out <- cid.NewCidV1(cid.Raw, append(multihash.Multihash(nil), r.hash...)):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// isActive reports whether g is being appended to. The caller holds mu.
func (s *Store) isActive(g *segment) bool { return s.active[g.class] == g }
