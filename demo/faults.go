package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
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
	// Again were served at the second attempt only, although an edge held the file all
	// the time.
	Again int `json:"again"`
	// NotHeld were refused, rightly: no edge held the file.
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
func (f *fleet) smallCrowd() *queue { return f.newQueue(f.appetite.next((f.Requests + 3) / 4)) }

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
	refused, first := map[string]int{}, map[string]error{}
	q.refused = func(r request, o outcome) {
		mu.Lock()
		defer mu.Unlock()
		if refused[r.file]++; refused[r.file] == 1 {
			first[r.file] = &RequestError{o.path, o.err}
		}
	}
	r, err := f.suffer(ctx, q, 4*f.Clients, FaultResult{Fault: "origin off"})
	if err == nil {
		err = f.judge(ctx, q, &r, refused, first)
	}
	return r, err
}

// judge decides about requests that were refused with the origin off: rightly, when
// no edge holds the file. Otherwise a visitor who tries again later has to get it.
func (f *fleet) judge(ctx context.Context, q *queue, r *FaultResult, refused map[string]int, first map[string]error) error {
	defer q.close()
	waited := false
	for i, file := range f.content.files {
		times := refused[file.name]
		if times == 0 {
			continue
		}
		r.Requests += times
		held, err := f.holders(ctx, file)
		if err != nil {
			return err
		}
		if len(held) == 0 {
			r.NotHeld += times
			continue
		}
		if !waited {
			waited = pause(ctx, secondAttempt)
		}
		if q.content.fetch(ctx, q.client, q.sites[i%len(q.sites)], request{file: file.name, length: file.size}).err == nil {
			r.Served += times
			r.Again += times
			continue
		}
		r.Failed += times
		if f.failure == nil { // one says enough
			f.failure = fmt.Errorf("%w, though %s has it", first[file.name], strings.Join(held, ", "))
		}
	}
	return ctx.Err()
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

// holders returns the edges that hold a file. It knows only of files that are one
// block and were served before; no edge holds one that never was.
func (f *fleet) holders(ctx context.Context, of file) ([]string, error) {
	id, ok := f.known.Load(of.name)
	if !ok || of.size > chunk {
		return nil, nil
	}
	var where struct {
		Holders []string `json:"holders"`
	}
	if err := f.ask(ctx, f.edges[0], "/api/v1/swarm/where?cid="+url.QueryEscape(id.(string)), &where); err != nil {
		return nil, fmt.Errorf("ask where %s is: %w", of.name, err)
	}
	return where.Holders, nil
}
