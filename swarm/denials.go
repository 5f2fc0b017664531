package swarm

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
)

// A home that could not get a block says so for a while without asking again. When the
// block comes to an edge after all, by an import as a rule, whoever was told there that
// it is not hears of it, and looks again at once.

// maxDenials bounds the memory of denials: some 2 MiB.
const maxDenials = 1 << 13

// denials remembers for a moment who was told that a block is not here. It is safe for
// concurrent use.
type denials struct {
	n  atomic.Int64 // len(m), for a look without the lock
	mu sync.Mutex
	m  map[string]denial // by multihash
}

type denial struct {
	to    []peer.ID
	until time.Time
}

func newDenials() *denials { return &denials{m: map[string]denial{}} }

func (d *denials) add(mh string, to peer.ID) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.m) >= maxDenials {
		for k, e := range d.m {
			if now.After(e.until) {
				delete(d.m, k)
			}
		}
		if len(d.m) >= maxDenials {
			clear(d.m)
		}
	}
	e := d.m[mh]
	if len(e.to) < homes {
		e.to = append(e.to, to)
	}
	e.until = now.Add(maxErrorMemory)
	d.m[mh] = e
	d.n.Store(int64(len(d.m)))
}

// take returns who was told, once.
func (d *denials) take(mh string) []peer.ID {
	if d.n.Load() == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.m[mh]
	delete(d.m, mh)
	d.n.Store(int64(len(d.m)))
	return e.to
}

// news collects what is to be told to whom. It is guarded by Swarm.mu.
type news struct {
	due     map[string][]string // CIDs by member
	telling bool
}

// maxNews is how many blocks one call tells of.
const maxNews = 1024

// correct tells those who were told that a block is not here that it is now.
func (s *Swarm) correct(c cid.Cid, to []peer.ID) {
	s.mu.Lock()
	for _, id := range to {
		if name, ok := s.fleet.Name(id); ok && len(s.news.due[name]) < maxNews {
			s.news.due[name] = append(s.news.due[name], c.String())
		}
	}
	start := !s.news.telling
	s.news.telling = true
	s.mu.Unlock()
	if start {
		s.run(s.tell)
	}
}

// tell sends news until there is none. What comes meanwhile goes into one call.
func (s *Swarm) tell() {
	for {
		s.mu.Lock()
		due := s.news.due
		if s.news.due = map[string][]string{}; len(due) == 0 || s.closed {
			s.news.telling = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.ctx, useInterval)
		s.callEach(ctx, "stored", due)
		cancel()
	}
}

// heardOf forgets that blocks could not be had, because a sibling has them now.
func (s *Swarm) heardOf(_ context.Context, _ string, request json.RawMessage) (any, error) {
	var list []string
	if err := json.Unmarshal(request, &list); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range list[:min(len(list), maxNews)] {
		if c, err := cid.Decode(text); err == nil && block.CheckCID(c) == nil {
			mh := string(c.Hash())
			s.failures.forget(mh)
			if f := s.fills[fillKey{mh, false}]; f != nil {
				f.outdated = true
			}
		}
	}
	return nil, nil
}
