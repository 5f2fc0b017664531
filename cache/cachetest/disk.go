// Package cachetest has a disk in memory for tests of what stands around one.
package cachetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
)

// ErrFull is what a full disk says.
var ErrFull = errors.New("disk full")

// Disk is a block store in memory that lets go of nothing by itself. It is safe for
// concurrent use.
type Disk struct {
	mu   sync.Mutex
	m    map[string]*block.Verified
	uses map[string]int
	full bool
}

var _ cache.Disk = (*Disk)(nil)

// New returns a disk with blocks on it.
func New(all ...*block.Verified) *Disk {
	d := &Disk{m: map[string]*block.Verified{}, uses: map[string]int{}}
	for _, b := range all {
		d.m[string(b.Cid().Hash())] = b
	}
	return d
}

// SetFull has every Put fail with [ErrFull], or not.
func (d *Disk) SetFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// Len returns the number of blocks.
func (d *Disk) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.m)
}

// Uses returns how often a block was used, read or not.
func (d *Disk) Uses(c cid.Cid) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.uses[string(c.Hash())]
}

// Read implements [cache.Disk].
func (d *Disk) Read(_ context.Context, c cid.Cid) (*block.Verified, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.m[string(c.Hash())]
	if b == nil {
		return nil, block.NotFound(c)
	}
	d.uses[string(c.Hash())]++
	return b, nil
}

// Has implements [cache.Disk].
func (d *Disk) Has(_ context.Context, c cid.Cid) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.m[string(c.Hash())] != nil, nil
}

// GetSize implements [cache.Disk].
func (d *Disk) GetSize(_ context.Context, c cid.Cid) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.m[string(c.Hash())]; b != nil {
		return len(b.RawData()), nil
	}
	return -1, block.NotFound(c)
}

// ViewPart implements [cache.Disk].
func (d *Disk) ViewPart(ctx context.Context, c cid.Cid, _, from, to int, f func([]byte) error) error {
	b, err := d.Read(ctx, c)
	if err != nil {
		return err
	}
	return f(b.RawData()[from:to])
}

// Put implements [cache.Disk].
func (d *Disk) Put(_ context.Context, b blocks.Block) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return ErrFull
	}
	v, ok := b.(*block.Verified)
	if !ok {
		return fmt.Errorf("block %s was not verified", b.Cid())
	}
	d.m[string(b.Cid().Hash())] = v
	return nil
}

// DeleteBlock implements [cache.Disk].
func (d *Disk) DeleteBlock(_ context.Context, c cid.Cid) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, string(c.Hash()))
	return nil
}

// Use implements [cache.Disk].
func (d *Disk) Use(c cid.Cid) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.m[string(c.Hash())] == nil {
		return false
	}
	d.uses[string(c.Hash())]++
	return true
}

// Pinned implements [cache.Disk]: nothing is.
func (d *Disk) Pinned(cid.Cid) bool { return false }

// Admission lets blocks to the disk that are at home there.
type Admission struct{}

// ToDisk implements [cache.Admission].
func (Admission) ToDisk(_ cid.Cid, _ []byte, home, _ bool) bool { return home }
