package swarm

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/swarm/placement"
)

// An edge that has a hot block in memory asks its home for it once, and never again. To
// its home the block would look forgotten, and make room for others. So each edge tells
// the homes what it uses, in one small message to each of them in a second; and a home
// that has let go of something fetches it back from whoever uses it. Where there are
// zones, the home in the zone is told, and passes on to the fleet's home what anybody in
// the zone uses.

const (
	// useInterval is how often uses are reported.
	useInterval = time.Second
	// maxUses is how many blocks are reported to one home at a time, some 15 KiB. What
	// is more is left out: if it is used on, its turn comes.
	maxUses = 256
	// maxBack is how many blocks a home fetches back because of one report, so that a
	// home whose disk is too small for what is in use does not spend its time on that.
	maxBack = 32
)

// uses collects what was used here and is at home elsewhere. It is safe for concurrent
// use.
type uses struct {
	mu  sync.Mutex
	due map[cid.Cid]struct{}
}

// maxDue bounds the memory of uses: some 4 MiB.
const maxDue = 1 << 15

func newUses() *uses { return &uses{due: map[cid.Cid]struct{}{}} }

func (u *uses) add(c cid.Cid) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.due) < maxDue {
		u.due[c] = struct{}{}
	}
}

func (u *uses) take() map[cid.Cid]struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.due) == 0 {
		return nil
	}
	due := u.due
	u.due = map[cid.Cid]struct{}{}
	return due
}

// Used says that a block was used on this edge that is at home elsewhere, so that its
// home keeps it. It does not block.
func (s *Swarm) Used(c cid.Cid) {
	if s.fleet != nil {
		s.uses.add(c)
	}
}

// reportUses tells the homes, until the swarm is closed.
func (s *Swarm) reportUses() {
	tick := time.NewTicker(useInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, useInterval)
		s.flushUses(ctx)
		cancel()
	}
}

// flushUses sends what is due, and returns when the homes have taken it or ctx ends.
func (s *Swarm) flushUses(ctx context.Context) {
	v := s.view.Load()
	due := map[string][]string{}
	for c := range s.uses.take() {
		if name := v.reportsTo(c, s.opts.Name); name != "" && len(due[name]) < maxUses {
			due[name] = append(due[name], c.String())
		}
	}
	s.callEach(ctx, "used", due)
}

// reportsTo returns who is told that a block is used on this edge: its home in the zone, or
// if this edge is that, its home; "" for nobody.
func (v *view) reportsTo(c cid.Cid, self string) string {
	rings := []*placement.Ring{v.ring}
	if v.near != nil {
		rings = []*placement.Ring{v.near.ring, v.ring}
	}
	var buf [1]int
	for _, ring := range rings {
		if first := ring.Homes(c.Hash(), 1, buf[:0]); len(first) > 0 && ring.Member(first[0]).Name != self {
			return ring.Member(first[0]).Name
		}
	}
	return ""
}

// callEach makes one call of each list of CIDs to the member it is for, all at once.
func (s *Swarm) callEach(ctx context.Context, method string, lists map[string][]string) {
	var calls sync.WaitGroup
	for name, list := range lists {
		calls.Add(1)
		if !s.run(func() {
			defer calls.Done()
			if err := s.Call(ctx, name, method, list, nil); err != nil {
				s.log.Debug("swarm: a member was not told", "method", method, "member", name, "err", err)
			}
		}) {
			calls.Done()
		}
	}
	calls.Wait()
}

// used counts the uses that a sibling reports, and fetches from it what is at home here
// and was let go of.
func (s *Swarm) used(ctx context.Context, from string, request json.RawMessage) (any, error) {
	var back atomic.Int64
	id, _ := s.fleet.ID(from)
	return nil, s.eachOf(request, maxUses, func(c cid.Cid) {
		if s.relays(c, id) {
			s.Used(c)
		}
		if s.local.Touch(c) || back.Add(1) > maxBack {
			return
		}
		if s.adoptOne(ctx, from, c) {
			s.local.Touch(c)
		}
	})
}
