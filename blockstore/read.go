package blockstore

import (
	"context"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// Get is [Store.Read] as the IPFS libraries have it.
func (s *Store) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b, err := s.Read(ctx, c)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Read returns the block, or an [ipld.ErrNotFound]. Its bytes are the caller's to
// keep.
func (s *Store) Read(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	return s.read(ctx, c, func(n int) []byte { return make([]byte, n) })
}

// View calls f with the block's bytes, which are f's only until it returns.
func (s *Store) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	var pooled *[]byte
	b, err := s.read(ctx, c, func(n int) []byte {
		if pooled == nil {
			pooled = s.buffer(n)
		}
		return (*pooled)[:n]
	})
	if pooled != nil {
		defer s.buffers.Put(pooled)
	}
	if err != nil {
		return err
	}
	return f(b.RawData())
}

// buffer returns a pooled buffer of at least n bytes.
func (s *Store) buffer(n int) *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok && cap(*b) >= n {
		return b
	}
	b := make([]byte, max(n, 4<<10))
	return &b
}

// Use counts one use of a block, as reading it would, and reports whether it is here.
// It reads no disk.
func (s *Store) Use(c cid.Cid) bool {
	if !c.Defined() || s.closed.Load() {
		return false
	}
	e, ok := s.index.use(s.keys.key(c.Hash()))
	return ok && e.present()
}

func isNotFound(err error) bool { return err != nil && ipld.IsNotFound(err) }

// location is where a block's data lies: in the file of a segment that is acquired.
type location struct {
	*segment
	entry entry
}

// locate finds a block, counts one use of it, and acquires its segment, which the
// caller must release.
func (s *Store) locate(ctx context.Context, k key, c cid.Cid) (location, error) {
	for {
		if err := s.usable(ctx); err != nil {
			return location{}, err
		}
		e, ok := s.index.use(k)
		if !ok || !e.present() {
			return location{}, block.NotFound(c)
		}
		// A segment that is gone was reclaimed since: the index knows better now.
		if g := s.segment(e.segment); g != nil && g.acquire() {
			return location{g, e}, nil
		}
	}
}

// read returns the block, in a buffer that allocate makes for its length.
func (s *Store) read(ctx context.Context, c cid.Cid, allocate func(int) []byte) (*block.Verified, error) {
	if !c.Defined() {
		return nil, block.NotFound(c)
	}
	k := s.keys.key(c.Hash())
	p, err := s.locate(ctx, k, c)
	if err != nil {
		return nil, err
	}
	defer p.release()
	buf := allocate(p.entry.length())
	err = p.fill(buf, p.entry.offset)
	var b *block.Verified
	if err == nil {
		if b, err = block.Restore(c, buf, block.Checksum(p.entry.crc)); err != nil {
			err = errBadRecord
		}
	}
	if err != nil {
		s.drop(k, c, p, err)
		return nil, block.NotFound(c)
	}
	return b, nil
}

// drop takes a block that cannot be read out of the store, so that it is fetched
// again; if it is held, it will be pinned where it lands.
func (s *Store) drop(k key, c cid.Cid, p location, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.index.get(k)
	if s.closed.Load() || !ok || e.segment != p.entry.segment || e.offset != p.entry.offset {
		return // someone else dropped or moved it first
	}
	s.lost(e)
	err := fmt.Errorf("read block %s: segment %d: %w", c, e.segment, cause)
	if errors.Is(cause, errBadRecord) {
		s.stats.corrupt.Add(1)
		err = errors.Join(err, s.forget(k, e, c.Hash()))
	} else {
		// The disk may recover, so the record is forgotten only until the next start.
		s.stats.readFailures.Add(1)
		s.index.change(k, func(e *entry) { e.segment = 0 })
		s.unplaced(s.segments[e.segment], e, c.Hash())
	}
	s.log.Error("block dropped from the store; it will be fetched again when asked for", "error", err)
}
