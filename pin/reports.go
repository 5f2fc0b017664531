package pin

import (
	"context"
	"encoding/json"
	"fmt"
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

// heard is the answer to a message: what the receiver knows now.
type heard struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// followSiblings begins to tell siblings that came, stops telling those that went, and forgets
// those that do not count any more. p.mu is held.
func (p *Pins) followSiblings(c *membership) {
	for _, m := range c.present {
		if m.Self {
			continue
		}
		s := p.sibling(m.Name)
		if s.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(p.ctx)
		s.stop = stop
		p.running.Go(func() { p.tell(ctx, m.Name) })
	}
	for name, s := range p.siblings {
		if c.isPresent(name) {
			continue
		}
		if s.stop != nil {
			s.stop()
			s.stop = nil
		}
		if _, away := c.away[name]; !away {
			p.forget(name, s)
			delete(p.siblings, name)
		}
	}
}

// sibling returns what is known of one. p.mu is held.
func (p *Pins) sibling(name string) *sibling {
	s := p.siblings[name]
	if s == nil {
		s = &sibling{entries: map[cid.Cid]uint64{}}
		p.siblings[name] = s
	}
	return s
}

// forget drops all that a sibling said. p.mu is held.
func (p *Pins) forget(name string, s *sibling) {
	for c := range s.entries {
		p.edit(c, func(r *root) { r.setReport(name, record.Report{}) })
	}
	p.setSites(name, s, nil)
	s.epoch, s.seq, s.digest = 0, 0, 0
	clear(s.entries)
}

// setSites notes where the sites of an edge lead. p.mu is held.
func (p *Pins) setSites(name string, s *sibling, roots []cid.Cid) {
	for _, c := range s.sites {
		if !slices.Contains(roots, c) {
			p.edit(c, func(r *root) { r.sites = slices.DeleteFunc(r.sites, func(by string) bool { return by == name }) })
		}
	}
	for _, c := range roots {
		if !slices.Contains(s.sites, c) {
			p.edit(c, func(r *root) { r.sites = append(r.sites, name) })
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
func (p *Pins) tell(ctx context.Context, name string) {
	var known heard
	if p.await(ctx) != nil {
		return
	}
	for {
		m, changed := p.own.since(known.Epoch, known.Seq)
		var answer heard
		err := p.say(ctx, name, m, &answer)
		pause := p.pace()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Debug("pins: a report did not arrive", "sibling", name, "err", err)
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
func (p *Pins) await(ctx context.Context) error {
	p.mu.RLock()
	n := len(p.siblings)
	p.mu.RUnlock()
	if n <= manySiblings {
		return nil
	}
	m, changed := p.own.since(0, 0)
	if len(m.Entries)+len(m.Sites) > 0 {
		return work.Pause(ctx, rand.N(time.Duration(n)*soon))
	}
	return work.Wait(ctx, rand.N(p.pace()), changed)
}

// pace returns how often a sibling that needs no news is asked whether it knows
// everything.
func (p *Pins) pace() time.Duration {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if n := len(p.siblings); n > manySiblings {
		return max(heartbeat, time.Duration(n)*seldom)
	}
	return heartbeat
}

func (p *Pins) say(ctx context.Context, name string, m *message, answer *heard) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	return p.fleet.Call(ctx, name, reportCall, m, answer)
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// hear takes in what a sibling tells.
func (p *Pins) hear(_ context.Context, from string, request json.RawMessage) (any, error) {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sibling(from)
	if !p.follows(from, s, &m) {
		return heard{s.epoch, s.seq}, nil
	}
	for c, e := range said {
		p.take(from, s, c, e)
	}
	p.setSites(from, s, sites)
	s.seq = max(s.seq, m.Seq)
	if m.Last {
		if s.seq == m.Seq && s.digest != m.Digest {
			p.log.Warn("pins: what a sibling said does not add up, asking for all of it again", "sibling", from)
			p.forget(from, s)
			return heard{}, nil
		}
		if !s.complete {
			s.complete = true
			p.work.kick.Give()
		}
	}
	return heard{s.epoch, s.seq}, nil
}

// follows reports whether a message says how it goes on from what is known. p.mu is
// held.
func (p *Pins) follows(from string, s *sibling, m *message) bool {
	if m.Epoch != s.epoch && m.Base == 0 {
		p.forget(from, s)
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

// take takes in one entry. p.mu is held.
func (p *Pins) take(from string, s *sibling, c cid.Cid, e *entry) {
	s.digest ^= s.entries[c] ^ e.sum()
	if e.Status == "" {
		delete(s.entries, c)
	} else {
		s.entries[c] = e.sum()
	}
	p.edit(c, func(r *root) { r.setReport(from, e.Report) })
}
