package pin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// Lookup returns the pins that an ID or a CID means, whoever owns them, the newest
// first, and says of each edge how far it is. Without any the error is
// [record.ErrNotFound].
func (p *Pins) Lookup(ctx context.Context, idOrCID string) ([]record.View, error) {
	found, err := p.lookup(idOrCID)
	var views []record.View
	for _, pin := range found {
		d, err := p.Detail(ctx, pin.ID)
		if err != nil {
			return nil, err
		}
		views = append(views, d)
	}
	return views, err
}

// Unpin ends the pins that an ID or a CID means, whoever owns them, and returns them as
// they were. With an error, those that it returns have ended.
func (p *Pins) Unpin(ctx context.Context, idOrCID string) ([]record.View, error) {
	found, err := p.lookup(idOrCID)
	if err != nil {
		return nil, err
	}
	var views []record.View
	for _, pin := range found {
		view := p.view(pin)
		if err := p.remove(ctx, pin); err != nil {
			return views, err
		}
		views = append(views, view)
	}
	return views, nil
}

func (p *Pins) lookup(idOrCID string) ([]*record.Pin, error) {
	if pin, ok := p.list.Get(idOrCID); ok {
		return []*record.Pin{pin}, nil
	}
	c, err := cid.Decode(idOrCID)
	if err != nil {
		return nil, fmt.Errorf("pin %.80q: %w", idOrCID, record.ErrNotFound)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.roots[record.Root(c)]
	if r == nil || len(r.pins) == 0 {
		return nil, fmt.Errorf("pin of %s: %w", c, record.ErrNotFound)
	}
	pins := slices.Clone(r.pins)
	slices.SortFunc(pins, func(a, b *record.Pin) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return pins, nil
}

// Detail returns a pin and says of each edge how far it is.
func (p *Pins) Detail(_ context.Context, id string) (record.View, error) {
	pin, err := p.find("", id)
	if err != nil {
		return record.View{}, err
	}
	d := p.view(pin)
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.roots[record.Root(pin.CID)]
	if r == nil {
		return d, nil
	}
	j := p.plan(r)
	for _, name := range j.assigned {
		d.Edges = append(d.Edges, p.edgeShare(r, name, true))
	}
	others := []string{}
	for _, o := range append(slices.Clone(r.reports), report{p.membership.self.Name, r.local}) {
		if o.Status != "" && !slices.Contains(j.assigned, o.edge) {
			others = append(others, o.edge)
		}
	}
	slices.Sort(others)
	for _, name := range others {
		d.Edges = append(d.Edges, p.edgeShare(r, name, false))
	}
	return d, nil
}

func (p *Pins) edgeShare(r *root, name string, assigned bool) record.EdgeShare {
	e := record.EdgeShare{Edge: name, Assigned: assigned, Present: p.membership.isPresent(name), Share: r.share(name, p.membership.self.Name).Share}
	if e.Status == "" {
		e.Status = record.Queued
	}
	return e
}

// Counts returns how many pins there are in each status.
func (p *Pins) Counts() map[record.Status]int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	counts := map[record.Status]int{}
	for _, s := range []record.Status{record.Queued, record.Pinning, record.Pinned, record.Failed} {
		counts[s] = p.counts[s]
	}
	return counts
}

// check is a verification for a sibling. It is guarded by Pins.mu.
type check struct {
	Progress record.Progress `json:"progress"`
	Result   *record.Check   `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Done     bool            `json:"done,omitempty"`
	ended    time.Time
}

const (
	// checkEvery is how often a sibling is asked how far it is with a verification.
	checkEvery = 300 * time.Millisecond
	// maxCheckFailures is how many calls in a row may fail until it is given up.
	maxCheckFailures = 10
	// checkKept is how long a result waits to be fetched.
	checkKept = time.Minute
	// maxChecks bounds the verifications for siblings at once.
	maxChecks = 16
)

// Verify has every edge that holds a pin whole read and check each block, and repair
// what is damaged or missing. progress is called from one goroutine at a time with the
// name of an edge.
func (p *Pins) Verify(ctx context.Context, id string, progress func(record.EdgeProgress)) ([]record.EdgeCheck, error) {
	d, err := p.Detail(ctx, id)
	if err != nil {
		return nil, err
	}
	root := record.Root(d.CID)
	type event struct {
		at       int
		progress record.Progress
		result   *record.EdgeCheck
	}
	var edges []string
	for _, e := range d.Edges {
		if e.Present && e.Status == record.Pinned {
			edges = append(edges, e.Edge)
		}
	}
	events := make(chan event)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, name := range edges {
		report := func(done record.Progress) {
			select {
			case events <- event{at: i, progress: done}:
			case <-ctx.Done():
			}
		}
		if !p.running.Go(func() {
			result := record.EdgeCheck{Edge: name}
			var err error
			if result.Check, err = p.verifyAt(ctx, name, root, report); err != nil {
				result.Error = err.Error()
			}
			select {
			case events <- event{at: i, result: &result}:
			case <-ctx.Done():
			}
		}) {
			return nil, errClosed
		}
	}
	results := make([]record.EdgeCheck, len(edges))
	for left := len(edges); left > 0; {
		select {
		case e := <-events:
			if e.result != nil {
				results[e.at] = *e.result
				left--
			} else {
				progress(record.EdgeProgress{Edge: edges[e.at], Progress: e.progress})
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-p.ctx.Done():
			return nil, errClosed
		}
	}
	return results, nil
}

var errClosed = errors.New("this edge is stopping")

// verifyAt verifies a root on one edge.
func (p *Pins) verifyAt(ctx context.Context, name string, root cid.Cid, progress func(record.Progress)) (record.Check, error) {
	if name == p.self() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.ctx, cancel)()
		return p.hold.Verify(ctx, root, progress)
	}
	failures := 0
	for {
		var c check
		if err := p.fleet.Call(ctx, name, verifyCall, root.String(), &c); err != nil {
			// A connection may break and come back; the verification goes on there.
			if failures++; failures > maxCheckFailures || work.Pause(ctx, checkEvery) != nil {
				return record.Check{}, err
			}
			continue
		}
		failures = 0
		switch {
		case c.Error != "":
			return record.Check{}, errors.New(c.Error)
		case c.Done && c.Result != nil:
			return *c.Result, nil
		}
		progress(c.Progress)
		if err := work.Pause(ctx, checkEvery); err != nil {
			return record.Check{}, err
		}
	}
}

func (p *Pins) self() string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.membership.self.Name
}

// verifyForSibling begins to verify a root, or says how far that is. A result is given
// out once: the next call begins anew.
func (p *Pins) verifyForSibling(_ context.Context, _ string, request json.RawMessage) (any, error) {
	var text string
	if err := json.Unmarshal(request, &text); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	root, err := cid.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	root = record.Root(root)
	p.mu.Lock()
	now := time.Now()
	for other, c := range p.checks {
		if c.Done && now.Sub(c.ended) > checkKept {
			delete(p.checks, other)
		}
	}
	c, running := p.checks[root]
	if !running {
		if len(p.checks) >= maxChecks {
			p.mu.Unlock()
			return nil, fmt.Errorf("%d verifications are under way", maxChecks)
		}
		c = &check{}
		p.checks[root] = c
	} else if c.Done {
		delete(p.checks, root)
	}
	answer := *c
	p.mu.Unlock()
	if !running {
		p.running.Go(func() { p.check(root, c) })
	}
	return answer, nil
}

func (p *Pins) check(root cid.Cid, c *check) {
	result, err := p.hold.Verify(p.ctx, root, func(done record.Progress) {
		p.mu.Lock()
		c.Progress = done
		p.mu.Unlock()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Result, c.Done, c.ended = &result, true, time.Now()
	if err != nil {
		c.Error = err.Error()
	}
}
