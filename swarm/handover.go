package swarm

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/block"
)

// A restart takes an edge's disk away for some seconds. Whatever is at home there and
// asked for meanwhile would be fetched from the origin although the fleet has it. So an
// edge that leaves tells the next homes what was asked of it lately, and they fetch
// that from it while it is still there.

// maxRecent is how many blocks are remembered as asked for lately.
const maxRecent = 4096

// recent remembers the blocks that were served or filled last.
type recent struct {
	mu   sync.Mutex
	ring [maxRecent]asset
	next int
}

type asset struct {
	cid  cid.Cid
	size int
}

func (r *recent) add(b *block.Verified) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next] = asset{b.Cid(), len(b.RawData())}
	r.next = (r.next + 1) % maxRecent
}

// list returns the latest blocks, each once, the last one first, up to a number of
// bytes in all.
func (r *recent) list(bytes int64) []cid.Cid {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []cid.Cid
	seen := map[cid.Cid]bool{}
	for i := range maxRecent {
		a := r.ring[(r.next-1-i+2*maxRecent)%maxRecent]
		if !a.cid.Defined() || seen[a.cid] {
			continue
		}
		seen[a.cid] = true
		if bytes -= int64(a.size); bytes < 0 {
			break
		}
		list = append(list, a.cid)
	}
	return list
}

// serving is the Local as siblings see it: what they get is noted.
type serving struct {
	Local
	recent *recent
}

func (s serving) Get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	b, err := s.GetLocal(ctx, c)
	if err == nil {
		s.recent.add(b)
	}
	return b, err
}

const (
	// maxHandOver is how many blocks are handed over in one call.
	maxHandOver = 256
	// adopting is how many of them the other edge fetches at once.
	adopting = 16
)

// handOver tells the next homes what to take over, the hottest first, and returns when
// they have it or ctx ends.
func (s *Swarm) handOver(ctx context.Context) {
	v := s.view.Load() // without this edge
	due := map[string][]string{}
	seen := map[cid.Cid]bool{}
	var buf [1]int
	for _, c := range append(s.local.Hottest(s.opts.HandOver), s.recent.list(s.opts.HandOver)...) {
		first := v.ring.Homes(c.Hash(), 1, buf[:0])
		if seen[c] || len(first) == 0 {
			continue
		}
		seen[c] = true
		name := v.ring.Member(first[0]).Name
		due[name] = append(due[name], c.String())
		if v.near == nil {
			continue
		}
		// The zone's copy stays in the zone.
		if near := v.near.ring.Member(v.near.ring.Homes(c.Hash(), 1, buf[:0])[0]).Name; near != name {
			due[near] = append(due[near], c.String())
		}
	}
	for len(due) > 0 && ctx.Err() == nil {
		next := map[string][]string{}
		for name, list := range due {
			n := min(len(list), maxHandOver)
			if due[name], next[name] = list[n:], list[:n]; n == len(list) {
				delete(due, name)
			}
		}
		s.callEach(ctx, "adopt", next)
	}
}

// adopt takes over blocks from a member that is leaving.
func (s *Swarm) adopt(ctx context.Context, from string, request json.RawMessage) (any, error) {
	return nil, s.eachOf(request, maxHandOver, func(c cid.Cid) {
		if ok, _ := s.local.Has(ctx, c); !ok {
			s.adoptOne(ctx, from, c)
		}
	})
}

// eachOf calls f for the CIDs in a request that are at home here, several at once, and
// returns when all calls have.
func (s *Swarm) eachOf(request json.RawMessage, most int, f func(cid.Cid)) error {
	var list []string
	if err := json.Unmarshal(request, &list); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(adopting)
	for _, text := range list[:min(len(list), most)] {
		c, err := cid.Decode(text)
		if err != nil || block.CheckCID(c) != nil || s.Rank(c) < 0 && !s.Near(c) {
			continue
		}
		group.Go(func() error { f(c); return nil })
	}
	return group.Wait()
}

// adoptOne fetches a block from the named member and stores it. It reports whether it
// did.
func (s *Swarm) adoptOne(ctx context.Context, from string, c cid.Cid) bool {
	id, ok := s.fleet.ID(from)
	if !ok {
		return false
	}
	b, _ := s.askAround(ctx, c, []peer.ID{id}, s.fleet.Absent)
	if b == nil {
		return false
	}
	if err := s.local.Put(ctx, b); err != nil {
		s.log.Debug("swarm: a block was not kept", "cid", c, "err", err)
		return false
	}
	s.metrics.adopted.Inc()
	return true
}
