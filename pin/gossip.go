package pin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// Methods that siblings call.
const (
	reportCall = "pin/report"
	verifyCall = "pin/verify"
)

// Handler answers the calls of siblings to one method.
type Handler = func(ctx context.Context, from string, request json.RawMessage) (any, error)

// maxSites is how many roots of sites one edge may speak of.
const maxSites = 10_000

// sibling is what another edge said. It is guarded by Pins.mu.
type sibling struct {
	epoch, seq uint64
	digest     uint64
	entries    map[cid.Cid]uint64 // the sums of what it said of each root
	sites      []cid.Cid
	complete   bool // it has told everything once
	stop       context.CancelFunc
}

// gossip tells siblings how far this edge is, and takes in what they say.
type gossip struct {
	*table
	fleet   Fleet
	log     *slog.Logger
	ctx     context.Context // ends with Close
	running work.Group
	own     *journal            // what this edge has to tell
	others  map[string]*sibling // by name; guarded by table.mu
}

// heard is the answer to a message: what the receiver knows now.
type heard struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// followSiblings begins to tell siblings that came, stops telling those that went, and forgets
// those that do not count any more. table.mu is held.
func (g *gossip) followSiblings(c *membership) {
	for _, m := range c.present {
		if m.Self {
			continue
		}
		s := g.sibling(m.Name)
		if s.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(g.ctx)
		s.stop = stop
		g.running.Go(func() { g.tell(ctx, m.Name) })
	}
	for name, s := range g.others {
		if c.isPresent(name) {
			continue
		}
		if s.stop != nil {
			s.stop()
			s.stop = nil
		}
		if _, away := c.away[name]; !away {
			g.forget(name, s)
			delete(g.others, name)
		}
	}
}

// sibling returns what is known of one. table.mu is held.
func (g *gossip) sibling(name string) *sibling {
	s := g.others[name]
	if s == nil {
		s = &sibling{entries: map[cid.Cid]uint64{}}
		g.others[name] = s
	}
	return s
}

// forget drops all that a sibling said. table.mu is held.
func (g *gossip) forget(name string, s *sibling) {
	for c := range s.entries {
		g.edit(c, func(r *root) { r.setReport(name, record.Report{}) })
	}
	g.setSites(name, s, nil)
	s.epoch, s.seq, s.digest = 0, 0, 0
	clear(s.entries)
}

// setSites notes where the sites of an edge lead. table.mu is held.
func (g *gossip) setSites(name string, s *sibling, roots []cid.Cid) {
	for _, c := range s.sites {
		if !slices.Contains(roots, c) {
			g.edit(c, func(r *root) { r.sites = slices.DeleteFunc(r.sites, func(by string) bool { return by == name }) })
		}
	}
	for _, c := range roots {
		if !slices.Contains(s.sites, c) {
			g.edit(c, func(r *root) { r.sites = append(r.sites, name) })
		}
	}
	s.sites = roots
}

const (
	// tellEvery is the shortest time between two messages to one sibling: what changes
	// meanwhile goes in one.
	tellEvery = 100 * time.Millisecond
	// tellAgain is when a message that failed is sent again.
	tellAgain = time.Second
	// tellTimeout bounds one message.
	tellTimeout = 15 * time.Second
)

// tell keeps one sibling informed until ctx ends.
func (g *gossip) tell(ctx context.Context, name string) {
	var known heard
	if g.await(ctx) != nil {
		return
	}
	for {
		m, changed := g.own.since(known.Epoch, known.Seq)
		var answer heard
		err := g.say(ctx, name, m, &answer)
		pause := g.pace()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.log.Debug("pins: a report did not arrive", "sibling", name, "err", err)
			pause, changed = tellAgain, nil
		default:
			behind := answer.Epoch != m.Epoch || answer.Seq != m.Seq
			known = answer
			if !behind && !m.Last {
				continue // with the next page
			}
			if behind {
				changed = closedChannel
			}
		}
		if work.Wait(ctx, pause, changed) != nil || work.Pause(ctx, tellEvery) != nil {
			return
		}
	}
}

const (
	// soon is the time between two first messages of an edge, to whomever, on average.
	soon = 50 * time.Millisecond
	// manySiblings is above how many siblings connections are not kept, and a heartbeat
	// costs one.
	manySiblings = 32
	// seldom is the time between two heartbeats of an edge, to whomever, then.
	seldom = 10 * time.Second
)

// await delays the first message to a sibling of a large fleet, so that an edge that
// starts does not connect with all at once: a little, or if there is nothing to tell, as
// long as a heartbeat may take. The error is that ctx has ended.
func (g *gossip) await(ctx context.Context) error {
	g.mu.RLock()
	n := len(g.others)
	g.mu.RUnlock()
	if n <= manySiblings {
		return nil
	}
	m, changed := g.own.since(0, 0)
	if len(m.Entries)+len(m.Sites) > 0 {
		return work.Pause(ctx, rand.N(time.Duration(n)*soon))
	}
	return work.Wait(ctx, rand.N(g.pace()), changed)
}

// pace returns how often a sibling that needs no news is asked whether it knows
// everything.
func (g *gossip) pace() time.Duration {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if n := len(g.others); n > manySiblings {
		return max(heartbeat, time.Duration(n)*seldom)
	}
	return heartbeat
}

func (g *gossip) say(ctx context.Context, name string, m *message, answer *heard) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	return g.fleet.Call(ctx, name, reportCall, m, answer)
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// hear takes in what a sibling tells.
func (g *gossip) hear(_ context.Context, from string, request json.RawMessage) (any, error) {
	var m message
	if err := json.Unmarshal(request, &m); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if len(m.Sites) > maxSites {
		return nil, fmt.Errorf("report: %d sites, the limit is %d", len(m.Sites), maxSites)
	}
	said := make(map[cid.Cid]*entry, len(m.Entries))
	for i := range m.Entries {
		c, err := checkEntry(&m.Entries[i])
		if err != nil {
			return nil, fmt.Errorf("report: %w", err)
		}
		said[c] = &m.Entries[i]
	}
	sites := make([]cid.Cid, len(m.Sites))
	for i, text := range m.Sites {
		var err error
		if sites[i], err = cid.Decode(text); err != nil {
			return nil, fmt.Errorf("report: site: %w", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sibling(from)
	if !g.follows(from, s, &m) {
		return heard{s.epoch, s.seq}, nil
	}
	for c, e := range said {
		g.take(from, s, c, e)
	}
	g.setSites(from, s, sites)
	s.seq = max(s.seq, m.Seq)
	if m.Last {
		if s.seq == m.Seq && s.digest != m.Digest {
			g.log.Warn("pins: what a sibling said does not add up, asking for all of it again", "sibling", from)
			g.forget(from, s)
			return heard{}, nil
		}
		if !s.complete {
			s.complete = true
			g.work.kick.Give()
		}
	}
	return heard{s.epoch, s.seq}, nil
}

// follows reports whether a message says how it goes on from what is known. table.mu is
// held.
func (g *gossip) follows(from string, s *sibling, m *message) bool {
	if m.Epoch != s.epoch && m.Base == 0 {
		g.forget(from, s)
		s.epoch = m.Epoch
	}
	return m.Epoch == s.epoch && m.Base <= s.seq
}

func checkEntry(e *entry) (cid.Cid, error) {
	c, err := cid.Decode(e.Root)
	if err != nil {
		return cid.Undef, fmt.Errorf("root %.80q: %w", e.Root, err)
	}
	switch e.Status {
	case record.Queued, record.Pinning, record.Pinned, record.Failed, "":
		return record.Root(c), nil
	}
	return cid.Undef, fmt.Errorf("root %s: unknown status %.20q", c, e.Status)
}

// take takes in one entry. table.mu is held.
func (g *gossip) take(from string, s *sibling, c cid.Cid, e *entry) {
	s.digest ^= s.entries[c] ^ e.sum()
	if e.Status == "" {
		delete(s.entries, c)
	} else {
		s.entries[c] = e.sum()
	}
	g.edit(c, func(r *root) { r.setReport(from, e.Report) })
}
