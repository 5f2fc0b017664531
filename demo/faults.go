package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// secondAttempt is when a visitor who was refused tries again. An edge that could not
// get a block remembers that for two seconds.
const secondAttempt = 2500 * time.Millisecond

// A FaultResult is what became of a crowd while something was wrong.
type FaultResult struct {
	// Fault says what was wrong: "edge stopped" or "origin off".
	Fault string `json:"fault"`
	// Edge is the edge that was stopped.
	Edge     string `json:"edge,omitempty"`
	Requests int    `json:"requests"`
	// Served were answered with the right bytes, Moved of them by another edge
	// than the one first asked.
	Served int `json:"served"`
	Moved  int `json:"moved"`
	// Again were served at the second attempt only, by the edge that had refused.
	Again int `json:"again"`
	// NotHeld were refused, rightly: some block on the way to the file was nowhere.
	NotHeld int `json:"not_held"`
	// Failed were not answered, or with wrong bytes, or not at all though an edge
	// held the file.
	Failed         int           `json:"failed"`
	OriginRequests int64         `json:"origin_requests"`
	P99            time.Duration `json:"p99_ns"`
	Cut            bool          `json:"cut,omitempty"`
}

// faults stops an edge of the last fleet halfway through another crowd, starts it
// again, and switches the origin off.
func (f *fleet) faults(ctx context.Context) ([]FaultResult, error) {
	last := f.edges[len(f.edges)-1]
	f.out.fault("edge stopped", last.spec.Name)
	stopped, err := f.withoutEdge(ctx, last)
	if err != nil {
		return nil, fmt.Errorf("with %s stopped: %w", last.spec.Name, err)
	}
	f.out.faultDone(stopped)
	if err := f.start(ctx, last); err != nil {
		return nil, err
	}
	if err := f.allHere(ctx, len(f.edges)); err != nil {
		return nil, err
	}
	f.out.fault("origin off", last.spec.Name)
	off, err := f.withoutOrigin(ctx)
	if err != nil {
		return nil, fmt.Errorf("with the origin off: %w", err)
	}
	f.out.faultDone(off)
	return []FaultResult{stopped, off}, nil
}

// smallCrowd is a crowd that is a quarter of the others.
func (f *fleet) smallCrowd() *queue { return f.newQueue(f.popularity.next((f.Requests + 3) / 4)) }

// withoutEdge stops an edge when half of a crowd was there.
func (f *fleet) withoutEdge(ctx context.Context, e *node) (FaultResult, error) {
	q := f.smallCrowd()
	q.insist = true
	half, stopping := make(chan struct{}), make(chan error, 1)
	q.reached = func(i int) {
		if i == len(q.requests)/2 {
			close(half)
		}
	}
	stopCtx, over := context.WithCancel(ctx)
	go func() {
		select {
		case <-half:
			stopping <- e.stop(ctx)
		case <-stopCtx.Done(): // cut short before
			stopping <- nil
		}
	}()
	r, err := f.suffer(ctx, q, f.Clients, FaultResult{Fault: "edge stopped", Edge: e.spec.Name})
	over()
	return r, errors.Join(err, <-stopping, e.stop(ctx))
}

// withoutOrigin sends a crowd to a fleet that has nothing but what it holds.
func (f *fleet) withoutOrigin(ctx context.Context) (FaultResult, error) {
	if err := f.origin.stop(ctx); err != nil {
		return FaultResult{}, err
	}
	q := f.smallCrowd()
	var mu sync.Mutex
	refused := map[refusal]int{}
	q.refused = func(what refusal) {
		mu.Lock()
		defer mu.Unlock()
		refused[what]++
	}
	r, err := f.suffer(ctx, q, 4*f.Clients, FaultResult{Fault: "origin off"})
	if err == nil {
		err = f.judge(ctx, q, &r, refused)
	}
	return r, err
}

// A refusal is a request that an edge gave up on.
type refusal struct {
	request
	edge int // in the order of the fleet
}

// judge decides about requests that were refused with the origin off: rightly, when
// the fleet does not hold what they need. Otherwise a visitor who tries again later,
// at the same edge, has to get it.
func (f *fleet) judge(ctx context.Context, q *queue, r *FaultResult, refused map[refusal]int) error {
	defer q.close()
	if len(refused) == 0 || !pause(ctx, secondAttempt) {
		return ctx.Err()
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Clients)
	for what, times := range refused {
		group.Go(func() error {
			again := q.ask(ctx, what.edge, what.request)
			var held []string
			if again.err != nil {
				var err error
				if held, err = f.holders(ctx, q, what); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			r.Requests += times
			switch {
			case again.err == nil:
				r.Served += times
				r.Again += times
			case len(held) == 0:
				r.NotHeld += times
			default:
				r.Failed += times
				if f.failure == nil { // one says enough
					f.failure = fmt.Errorf("%w, though %s it", again.failure(), have(held))
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// have is who has something: "a has", "a and b have", "a, b and c have".
func have(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0] + " has"
	}
	return strings.Join(names[:last], ", ") + " and " + names[last] + " have"
}

// suffer sends a crowd and counts.
func (f *fleet) suffer(ctx context.Context, q *queue, clients int, r FaultResult) (FaultResult, error) {
	defer q.close()
	var origin *meter
	if f.origin.Edge != nil {
		m, err := newMeter(ctx, f.client, f.origin.AdminAddr())
		if err != nil {
			return r, err
		}
		origin = m
	}
	limited, cancel := context.WithTimeout(ctx, f.Limit)
	defer cancel()
	watch(fleetRefresh, func() { q.run(limited, clients) }, func() {
		f.out.faultProgress(r, min(int(q.next.Load()), len(q.requests)), len(q.requests))
	})
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if origin != nil {
		count, err := origin.update(ctx)
		if err != nil {
			return r, err
		}
		r.OriginRequests = count.served
	}
	t := q.tally.result("", counters{})
	r.Requests, r.Failed, r.Served, r.P99 = t.Requests, t.Failed, t.Requests-t.Failed, t.P99
	r.Moved = q.tally.moved
	r.Cut = int(q.next.Load()) < len(q.requests)
	f.failure = errors.Join(f.failure, q.tally.firstFailure())
	return r, nil
}

// holders returns the edges that have what was refused: those that answer it, or else
// those that have the file, if somebody has each block on the way to it. Which blocks
// these are is known of files that are one block and were served before; no edge
// holds one that never was.
func (f *fleet) holders(ctx context.Context, q *queue, what refusal) (names []string, err error) {
	for i, e := range f.edges {
		if i != what.edge && q.ask(ctx, i, what.request).err == nil {
			names = append(names, e.spec.Name)
		}
	}
	path, ok := f.known.Load(what.file)
	if len(names) > 0 || !ok || what.part || what.length > chunk {
		return names, nil
	}
	for _, id := range path.([]string) {
		var where struct {
			Holders []string `json:"holders"`
		}
		if err := f.ask(ctx, f.edges[0], "/api/v1/swarm/where?cid="+url.QueryEscape(id), &where); err != nil {
			return nil, fmt.Errorf("ask where block %s of %s is: %w", id, what.file, err)
		}
		if names = where.Holders; len(names) == 0 {
			return nil, nil
		}
	}
	return names, nil
}
