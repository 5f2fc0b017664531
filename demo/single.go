package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// A single is the demo of one edge: the same crowd comes to it cold, warm, with the
// origin switched off and after a restart.
type single struct {
	*show
	plan []visitor
	edge *node
}

// A phase is one visit of the crowd and what happens before it.
type phase struct {
	name   string
	before func(context.Context) error
}

func (s *single) run(ctx context.Context) error {
	s.plan = planCrowd(s.content, s.Visitors, s.Spread, s.Seed)
	s.edge = s.newEdge(EdgeSpec{Name: "edge-1", Data: filepath.Join(s.dir, "edge-1")})
	var results []Result
	var failure error
	for _, p := range []phase{
		{"cold", s.openEdge},
		{"warm", nil},
		{"origin off", s.origin.stop},
		{"restarted", s.restartEdge},
	} {
		if p.before != nil {
			if err := p.before(ctx); err != nil {
				return fmt.Errorf("demo: %s: %w", p.name, ended(ctx, err))
			}
		}
		r, first, err := s.visit(ctx, p.name)
		if err != nil {
			return fmt.Errorf("demo: %s: %w", p.name, ended(ctx, err))
		}
		failure = errors.Join(failure, first)
		results = append(results, r)
	}
	s.out.table(results)
	if failure != nil {
		return fmt.Errorf("demo: responses were not what they should be: %w", failure)
	}
	if s.Keep {
		return s.keep(ctx)
	}
	s.out.ended(false)
	return nil
}

// openEdge starts the edge for the first time and shows where it is.
func (s *single) openEdge(ctx context.Context) error {
	if err := s.start(ctx, s.edge); err != nil {
		return err
	}
	s.out.opening(s.serving(s.edge))
	return nil
}

func (s *single) restartEdge(ctx context.Context) error {
	if err := s.edge.stop(ctx); err != nil {
		return err
	}
	return s.start(ctx, s.edge)
}

// visit sends the crowd and shows what happens. first is the first response that
// failed.
func (s *single) visit(ctx context.Context, name string) (r Result, first, err error) {
	m, err := newMeter(ctx, s.client, s.edge.AdminAddr())
	if err != nil {
		return Result{}, nil, err
	}
	c := &crowd{
		content: s.content, visitors: s.plan, tally: newTally(),
		site: s.edge.siteURL(), addr: s.edge.addr,
		conns: make(chan struct{}, maxConns),
	}
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	begin := time.Now()
	result := func(count counters) Result {
		r := c.tally.result(name, count)
		r.Took = time.Since(begin)
		return r
	}
	watch(refresh, func() { c.visit(limited) }, func() {
		// A reading that fails shows the one before; the last one, after the
		// phase, has to succeed.
		count, _ := m.update(limited)
		s.out.progress(result(count), len(s.plan))
	})
	if err := ctx.Err(); err != nil {
		return Result{}, nil, err
	}
	count, err := m.update(ctx)
	if err != nil {
		return Result{}, nil, err
	}
	r = result(count)
	r.Cut = r.Visitors < len(s.plan)
	s.out.phaseDone(r, len(s.plan))
	return r, c.tally.firstFailure(), nil
}

// watch calls look now and then until work returns.
func watch(every time.Duration, work, look func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			look()
		}
	}
}

// keep leaves everything running until ctx ends. The origin is started again,
// because a real visitor may open what nobody in the crowd did.
func (s *single) keep(ctx context.Context) error {
	if err := s.reviveOrigin(ctx); err != nil {
		return err
	}
	s.out.serving([]Serving{s.serving(s.edge)})
	<-ctx.Done()
	s.out.ended(true)
	return nil
}

// reviveOrigin starts the origin again. Should it have to move to another port, the
// edges are restarted with the new one.
func (s *show) reviveOrigin(ctx context.Context) error {
	before := s.origin.addr
	if err := s.start(ctx, s.origin); err != nil {
		return fmt.Errorf("demo: %w", ended(ctx, err))
	}
	if s.origin.addr == before {
		return nil
	}
	for i, n := range s.edges {
		n.spec.Origin = "http://" + s.origin.addr
		if i > 0 {
			n.spec.Peers = []string{s.edges[0].peer()}
		}
		if err := n.stop(ctx); err != nil {
			return fmt.Errorf("demo: %w", ended(ctx, err))
		}
		if err := s.start(ctx, n); err != nil {
			return fmt.Errorf("demo: %w", ended(ctx, err))
		}
	}
	return nil
}
