package pin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// check is a verification for a sibling. It is guarded by verifier.checking.
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

// verifier has pins read through, here and at siblings.
type verifier struct {
	*gossip
	hold holder

	checking sync.Mutex // guards checks
	checks   map[cid.Cid]*check
}

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
			if result.Check, err = p.verifier.at(ctx, name, root, report); err != nil {
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

// at verifies a root on one edge.
func (v *verifier) at(ctx context.Context, name string, root cid.Cid, progress func(record.Progress)) (record.Check, error) {
	if name == v.self() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(v.ctx, cancel)()
		return v.hold.Verify(ctx, root, progress)
	}
	failures := 0
	for {
		var c check
		if err := v.fleet.Call(ctx, name, verifyCall, root.String(), &c); err != nil {
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

// answer begins to verify a root, or says how far that is. A result is given
// out once: the next call begins anew.
func (v *verifier) answer(_ context.Context, _ string, request json.RawMessage) (any, error) {
	var text string
	if err := json.Unmarshal(request, &text); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	root, err := cid.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	root = record.Root(root)
	v.checking.Lock()
	now := time.Now()
	for other, c := range v.checks {
		if c.Done && now.Sub(c.ended) > checkKept {
			delete(v.checks, other)
		}
	}
	c, running := v.checks[root]
	if !running {
		if len(v.checks) >= maxChecks {
			v.checking.Unlock()
			return nil, fmt.Errorf("%d verifications are under way", maxChecks)
		}
		c = &check{}
		v.checks[root] = c
	} else if c.Done {
		delete(v.checks, root)
	}
	answer := *c
	v.checking.Unlock()
	if !running {
		v.running.Go(func() { v.check(root, c) })
	}
	return answer, nil
}

func (v *verifier) check(root cid.Cid, c *check) {
	result, err := v.hold.Verify(v.ctx, root, func(done record.Progress) {
		v.checking.Lock()
		c.Progress = done
		v.checking.Unlock()
	})
	v.checking.Lock()
	defer v.checking.Unlock()
	c.Result, c.Done, c.ended = &result, true, time.Now()
	if err != nil {
		c.Error = err.Error()
	}
}
