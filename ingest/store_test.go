package ingest_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
)

// memory is a block store that keeps everything in memory and does what the
// contracts of Store and Local say. Blocks are known by their multihash.
type memory struct {
	mu        sync.Mutex
	blocks    map[string]blocks.Block
	holds     map[string]map[string]bool // owner -> multihashes
	committed map[string]bool

	noLeaves bool                                  // remember of raw blocks only that they are there
	onPut    func(b blocks.Block) error            // may refuse a block
	onHold   func(owner string, n int) error       // may refuse a hold
	onCommit func(owner string) error              // may refuse a commit
	onGet    func(c cid.Cid) (blocks.Block, error) // may answer instead
	held     int                                   // calls of PutHeld
}

func newMemory() *memory {
	return &memory{blocks: map[string]blocks.Block{}, holds: map[string]map[string]bool{}, committed: map[string]bool{}}
}

// GetLocal implements [ingest.Local].
func (m *memory) GetLocal(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	b, err := m.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	return blocktest.MadeUp(b.Cid(), b.RawData()), nil
}

func (m *memory) PutHeld(ctx context.Context, owner string, b blocks.Block) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if m.onPut != nil {
		if err := m.onPut(b); err != nil {
			return err
		}
	}
	if !m.noLeaves {
		// What an import hands over must be what its CID says.
		if _, err := block.New(b.Cid(), b.RawData()); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held++
	kept := b
	if m.noLeaves && b.Cid().Type() == cid.Raw {
		kept = blocktest.MadeUp(b.Cid(), nil)
	}
	m.blocks[string(b.Cid().Hash())] = kept
	m.hold(owner, b.Cid())
	return nil
}

func (m *memory) hold(owner string, c cid.Cid) {
	if m.holds[owner] == nil {
		m.holds[owner] = map[string]bool{}
	}
	m.holds[owner][string(c.Hash())] = true
}

func (m *memory) Hold(owner string, cids ...cid.Cid) error {
	if m.onHold != nil {
		if err := m.onHold(owner, len(cids)); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range cids {
		if m.blocks[string(c.Hash())] == nil {
			return block.NotFound(c)
		}
		m.hold(owner, c)
	}
	return nil
}

func (m *memory) Commit(owner string) error {
	if m.onCommit != nil {
		if err := m.onCommit(owner); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holds[owner] == nil {
		return fmt.Errorf("%s holds nothing", owner)
	}
	m.committed[owner] = true
	return nil
}

func (m *memory) Release(owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.holds, owner)
	delete(m.committed, owner)
	return nil
}

func (m *memory) Owners() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.committed))
}

func (m *memory) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	if m.onGet != nil {
		return m.onGet(c)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.blocks[string(c.Hash())]; b != nil {
		return b, nil
	}
	return nil, block.NotFound(c)
}

func (m *memory) Has(_ context.Context, c cid.Cid) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks[string(c.Hash())] != nil, nil
}

func (m *memory) Pinned(c cid.Cid) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, held := range m.holds {
		if held[string(c.Hash())] {
			return true
		}
	}
	return false
}

func (m *memory) Delete(_ context.Context, c cid.Cid) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.blocks[string(c.Hash())]
	if b == nil {
		return 0, nil
	}
	delete(m.blocks, string(c.Hash()))
	return int64(len(b.RawData())), nil
}

// restart forgets what a restart forgets, then evicts all that may be evicted.
func (m *memory) restart() {
	m.mu.Lock()
	for owner := range m.holds {
		if !m.committed[owner] {
			delete(m.holds, owner)
		}
	}
	all := slices.Collect(maps.Values(m.blocks))
	m.mu.Unlock()
	for _, b := range all {
		if !m.Pinned(b.Cid()) {
			delete(m.blocks, string(b.Cid().Hash()))
		}
	}
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.blocks)
}

// protectsNothing fails the test when some owner still holds blocks.
func (m *memory) protectsNothing(t testing.TB) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.holds) > 0 || len(m.committed) > 0 {
		t.Errorf("still protected: %s", strings.Join(slices.Sorted(maps.Keys(m.holds)), ", "))
	}
}
