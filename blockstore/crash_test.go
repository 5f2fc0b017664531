package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// universe is the blocks that the models know: what is not among them cannot be
// served by mistake either, because it was never stored.
var universe = func() (all [60]*block.Verified) {
	for i := range all {
		all[i] = storetest.Block(i, 40+(i*i*17)%1500)
	}
	return all
}()

// model is what a store must remember.
type model struct {
	stored    map[int]bool           // acknowledged, not deleted; may be evicted unless held
	committed map[string]map[int]int // per owner: blocks and how often they are held
	pending   map[string]map[int]int
}

func newModel() *model {
	return &model{map[int]bool{}, map[string]map[int]int{}, map[string]map[int]int{}}
}

func (m *model) clone() *model {
	c := newModel()
	for i := range m.stored {
		c.stored[i] = true
	}
	for _, of := range []struct{ from, to map[string]map[int]int }{{m.committed, c.committed}, {m.pending, c.pending}} {
		for owner, held := range of.from {
			of.to[owner] = map[int]int{}
			for i, n := range held {
				of.to[owner][i] = n
			}
		}
	}
	return c
}

func (m *model) held(i int) bool {
	for _, owners := range []map[string]map[int]int{m.committed, m.pending} {
		for _, blocks := range owners {
			if blocks[i] > 0 {
				return true
			}
		}
	}
	return false
}

// randomStep does one thing to the store and, if it succeeds, to the model. It
// returns an error only for a failure that the model does not allow; faults are
// what the caller injected.
func randomStep(s *Store, m *model, random *rand.Rand) error {
	i, owner := random.IntN(len(universe)), fmt.Sprint("owner-", random.IntN(4))
	b := universe[i]
	add := func() {
		if m.pending[owner] == nil {
			m.pending[owner] = map[int]int{}
		}
		m.pending[owner][i]++
	}
	var err error
	switch n := random.IntN(100); {
	case n < 35:
		if err = s.Put(ctx, b); err == nil {
			m.stored[i] = true
		}
	case n < 65:
		got, getErr := s.Get(ctx, b.Cid())
		if getErr == nil && !bytes.Equal(got.RawData(), b.RawData()) {
			return fmt.Errorf("block %d: wrong bytes", i)
		}
		if getErr == nil && !m.stored[i] {
			return fmt.Errorf("block %d was never stored, or was deleted", i)
		}
		if ipld.IsNotFound(getErr) {
			getErr = nil
		}
		err = getErr
	case n < 75:
		if err = s.PutHeld(ctx, owner, b); err == nil {
			m.stored[i] = true
			add()
		}
	case n < 80:
		if err = s.Hold(owner, b.Cid()); err == nil {
			add()
		}
		if ipld.IsNotFound(err) && !m.held(i) {
			err = nil
		}
	case n < 88:
		if err = s.Commit(owner); err == nil {
			if m.committed[owner] == nil {
				m.committed[owner] = map[int]int{}
			}
			for i, n := range m.pending[owner] {
				m.committed[owner][i] += n
			}
			delete(m.pending, owner)
		}
	case n < 92:
		if err = s.Release(owner); err == nil {
			delete(m.committed, owner)
			delete(m.pending, owner)
		}
	default:
		err = s.DeleteBlock(ctx, b.Cid())
		if errors.Is(err, ErrPinned) == m.held(i) && (err == nil || m.held(i)) {
			if err == nil {
				delete(m.stored, i)
			}
			err = nil
		}
	}
	if errors.Is(err, ErrFull) {
		err = nil
	}
	return err
}

// compare returns what a store that was just opened has wrong. One of before and
// after holds: the process ended between them.
func compare(s *Store, before, after *model) error {
	owners := s.Owners()
	for _, want := range []*model{before, after} {
		for owner := range want.committed {
			if before.committed[owner] != nil && after.committed[owner] != nil && !slices.Contains(owners, owner) {
				return fmt.Errorf("%s is gone", owner)
			}
		}
	}
	for _, owner := range owners {
		if before.committed[owner] == nil && after.committed[owner] == nil {
			return fmt.Errorf("%s is back", owner)
		}
	}
	for i, b := range universe {
		must := committedHolds(before, i) && committedHolds(after, i)
		may := committedHolds(before, i) || committedHolds(after, i)
		if got := s.Pinned(b.Cid()); got && !may || !got && must {
			return fmt.Errorf("block %d: pinned is %v", i, got)
		}
		got, err := s.Get(ctx, b.Cid())
		switch {
		case err == nil && !bytes.Equal(got.RawData(), b.RawData()):
			return fmt.Errorf("block %d: wrong bytes", i)
		case err == nil && !before.stored[i] && !after.stored[i]:
			return fmt.Errorf("block %d is back", i)
		case err != nil && must:
			return fmt.Errorf("block %d is pinned: %w", i, err)
		case err != nil && !ipld.IsNotFound(err):
			return err
		}
	}
	return nil
}

func committedHolds(m *model, i int) bool {
	for _, blocks := range m.committed {
		if blocks[i] > 0 {
			return true
		}
	}
	return false
}

// checkFigures compares what the store counts with what it holds.
func checkFigures(s *Store, m *memoryFolder) error {
	n := s.Stats()
	var blocks, pinned, missing int64
	for _, b := range universe {
		if has(s, b.Cid()) {
			blocks++
			if s.Pinned(b.Cid()) {
				pinned++
			}
		} else if s.Pinned(b.Cid()) {
			missing++
		}
	}
	if n.Blocks != blocks || n.PinnedBlocks != pinned || n.MissingPinned != missing {
		return fmt.Errorf("counted %+v; found %d blocks, %d pinned, %d missing", n, blocks, pinned, missing)
	}
	var held, live, total int64
	for _, g := range s.segments {
		held, live, total = held+g.held, live+g.live, total+g.size()
		if g.live < g.held || g.live > g.size() {
			return fmt.Errorf("segment %d of %d bytes: %d live, %d held", g.id, g.size(), g.live, g.held)
		}
	}
	for _, o := range s.owners {
		total += int64(len(o.pending))
	}
	if total += s.reflog.size; held != n.PinnedBytes || total != n.Bytes {
		return fmt.Errorf("counted %d held of %d bytes; found %d of %d", n.PinnedBytes, n.Bytes, held, total)
	}
	if got := m.size(); got > n.Bytes || n.Bytes > tiny.Capacity {
		return fmt.Errorf("files of %d bytes, counted %d, capacity %d", got, n.Bytes, tiny.Capacity)
	}
	return nil
}

func TestModel(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		m, want := newMemoryFolder(), newModel()
		s := openMemory(t, m)
		for i := range 1500 {
			if err := randomStep(s, want, random); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if i%100 == 0 {
				if err := checkFigures(s, m); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
			if i%250 == 249 {
				mustClose(t, s)
				s = openMemory(t, m)
				want.pending = map[string]map[int]int{}
				if err := errors.Join(compare(s, want, want), checkFigures(s, m)); err != nil {
					t.Fatalf("seed %d, restart at step %d: %v\n%s", seed, i, err, m)
				}
			}
		}
	}
}

// TestKillAtEveryStep ends the process between any two changes to the folder, and
// in the middle of each write.
func TestKillAtEveryStep(t *testing.T) {
	for seed := range uint64(2) {
		random := rand.New(rand.NewPCG(seed, 2))
		m := newMemoryFolder()
		m.recording = true
		s := openMemory(t, m)
		type moment struct {
			steps         int
			before, after *model
		}
		want := newModel()
		moments := []moment{{len(m.steps), want, want}}
		for i := range 300 {
			before := want.clone()
			if err := randomStep(s, want, random); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			moments = append(moments, moment{len(m.steps), before, want.clone()})
		}
		at := 1
		for n := moments[0].steps; n < len(m.steps); n++ {
			for moments[at].steps <= n {
				at++
			}
			parts := []int{0}
			if size := m.steps[n].size; size > 1 {
				parts = append(parts, 1+random.IntN(size-1))
			}
			for _, part := range parts {
				dead := after(m.steps, n, part)
				survivor, err := newStore(tiny, dead, nil, nil)
				if err != nil {
					t.Fatalf("seed %d, killed at %d+%d: %v", seed, n, part, err)
				}
				if err := errors.Join(compare(survivor, moments[at].before, moments[at].after), checkFigures(survivor, dead)); err != nil {
					t.Fatalf("seed %d, killed at %d+%d: %v\n%s", seed, n, part, err, dead)
				}
				mustClose(t, survivor)
			}
		}
	}
}

// TestPowerFailure loses everything that was not synced.
func TestPowerFailure(t *testing.T) {
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 3))
		m, want := newMemoryFolder(), newModel()
		s := openMemory(t, m)
		for i := range 600 {
			before := want.clone()
			if err := randomStep(s, want, random); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if i%7 != 0 {
				continue
			}
			dead := m.powerFailure()
			survivor, err := newStore(tiny, dead, nil, nil)
			if err != nil {
				t.Fatalf("seed %d, power lost at step %d: %v", seed, i, err)
			}
			for j := range universe {
				// A delete is not synced, so a block may be back.
				before.stored[j] = true
			}
			if err := compare(survivor, before, want); err != nil {
				t.Fatalf("seed %d, power lost at step %d: %v\n%s", seed, i, err, dead)
			}
			mustClose(t, survivor)
		}
	}
}
