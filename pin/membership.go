package pin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	ds "github.com/ipfs/go-datastore"

	"github.com/shoal-cdn/shoal/member"
)

// Fleet is what the pins need to know of the edges. Its methods may be called from
// many goroutines at once.
type Fleet interface {
	// Members returns this edge and all others that are known.
	Members() []member.Member
	// Call has a member answer a method of [Pins.Handlers].
	Call(ctx context.Context, member, method string, request, response any) error
	// Ranker returns a function that ranks edges for the content with a multihash and
	// returns the names of the first n, which are in different zones as far as there are
	// several. It is the same on every edge.
	Ranker(among []member.Member) func(hash []byte, n int) []string
}

// blip is how long others wait before they take on what an absent edge had not
// pinned yet. It covers a broken connection.
const blip = 10 * time.Second

// membership is who counts at one moment. It does not change.
type membership struct {
	self    member.Member
	rank    func(hash []byte, n int) []string
	present []member.Member // this edge included
	// away are the edges that count for what they hold although they are absent. Those
	// with true count for everything: they have hardly been away.
	away map[string]bool
}

func (c *membership) isPresent(name string) bool {
	return slices.ContainsFunc(c.present, func(m member.Member) bool { return m.Name == name })
}

func (c *membership) same(o *membership) bool {
	return o != nil && maps.Equal(c.away, o.away) && slices.EqualFunc(c.present, o.present, func(a, b member.Member) bool {
		return a.Name == b.Name && a.Weight == b.Weight && a.Zone == b.Zone && a.Addr == b.Addr && slices.Equal(a.Listen, b.Listen)
	})
}

// seen is what is remembered of one edge.
type seen struct {
	member.Member
	present bool
	since   time.Time // of its absence
}

// tracker remembers who was there. One goroutine uses it.
type tracker struct {
	grace time.Duration
	store ds.Datastore
	edges map[string]*seen
	saved string
}

var trackerKey = ds.NewKey("/members")

// newTracker has who was there when this edge stopped count as away from now on, so
// that a restart of the whole fleet moves nothing.
func newTracker(ctx context.Context, store ds.Datastore, grace time.Duration, now time.Time) (*tracker, error) {
	r := &tracker{grace: grace, store: store, edges: map[string]*seen{}}
	text, err := store.Get(ctx, trackerKey)
	if errors.Is(err, ds.ErrNotFound) {
		return r, nil
	}
	var edges map[string]savedEdge
	if err == nil {
		err = json.Unmarshal(text, &edges)
	}
	if err != nil {
		return nil, fmt.Errorf("read who was in the fleet: %w", err)
	}
	for name, e := range edges {
		r.edges[name] = &seen{Member: member.Member{Name: name, Weight: e.Weight, Zone: e.Zone}, since: now}
	}
	return r, nil
}

// savedEdge is what is kept of an edge over a restart.
type savedEdge struct {
	Weight uint64 `json:"weight"`
	Zone   string `json:"zone,omitempty"`
}

// MarshalJSON leaves an edge without a zone as versions without zones know it: its weight.
func (e savedEdge) MarshalJSON() ([]byte, error) {
	if e.Zone == "" {
		return json.Marshal(e.Weight)
	}
	type plain savedEdge
	return json.Marshal(plain(e))
}

// UnmarshalJSON takes both forms.
func (e *savedEdge) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &e.Weight) == nil {
		return nil
	}
	type plain savedEdge
	return json.Unmarshal(text, (*plain)(e))
}

// look takes in the members of this moment and returns who counts.
func (r *tracker) look(members []member.Member, now time.Time) *membership {
	c := &membership{away: map[string]bool{}}
	known := make(map[string]bool, len(members))
	for _, m := range members {
		known[m.Name] = true
		if m.Self {
			c.self = m
		}
		r.take(m, now)
	}
	for name, s := range r.edges {
		if !known[name] && s.present {
			s.present, s.since = false, now
		}
		gone := now.Sub(s.since)
		switch {
		case s.present:
			c.present = append(c.present, s.Member)
		case gone < r.grace:
			c.away[name] = gone < blip
		case !known[name]:
			delete(r.edges, name)
		}
	}
	slices.SortFunc(c.present, func(a, b member.Member) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func (r *tracker) take(m member.Member, now time.Time) {
	s := r.edges[m.Name]
	if s == nil {
		s = &seen{since: now}
		r.edges[m.Name] = s
	}
	if !m.Present() && s.present {
		s.since = now
	}
	if m.Weight == 0 { // it was not met yet, since this edge started
		m.Weight, m.Zone = s.Weight, s.Zone
	}
	s.Member, s.present = m, m.Present()
}

// ranked are all edges that count, for a [Fleet.Ranker]. One that was never met is
// taken for one like this edge.
func (r *tracker) ranked(c *membership) []member.Member {
	list := slices.Clone(c.present)
	for name := range c.away {
		list = append(list, r.edges[name].Member)
	}
	slices.SortFunc(list, func(a, b member.Member) int { return strings.Compare(a.Name, b.Name) })
	for i := range list {
		if list[i].Weight == 0 {
			list[i].Weight = c.self.Weight
		}
	}
	return list
}

// save remembers who counts, for the next start.
func (r *tracker) save(ctx context.Context, c *membership) error {
	edges := map[string]savedEdge{}
	for _, m := range r.ranked(c) {
		if m.Name != c.self.Name {
			edges[m.Name] = savedEdge{m.Weight, m.Zone}
		}
	}
	text, err := json.Marshal(edges)
	if err != nil || string(text) == r.saved {
		return err
	}
	if err = r.store.Put(ctx, trackerKey, text); err == nil {
		err = r.store.Sync(ctx, trackerKey)
	}
	if err != nil {
		return fmt.Errorf("remember who is in the fleet: %w", err)
	}
	r.saved = string(text)
	return nil
}
