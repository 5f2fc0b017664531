package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	// siteHost is the name of the website on the edge. Browsers lead every name
	// below localhost to this machine.
	siteHost = "demo.localhost"
	// stopWithin bounds how long the end of a demo may wait for an edge.
	stopWithin = 20 * time.Second
	// refresh is how often the display is redrawn.
	refresh = 100 * time.Millisecond
)

// Run shows the demo and returns when it is over: after the table, or with
// [Options.Keep] when ctx ends. It returns an error when something could not be
// started, when ctx ended before the table, or when a response failed or had the
// wrong bytes (a [*RequestError]). Both edges are stopped and their folders
// removed by then.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	c, err := openContent(o.Path)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	dir, err := os.MkdirTemp(o.TempDir, "shoal-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s := &show{Options: o, content: c, dir: dir, out: newPrinter(o), client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	return s.run(ctx)
}

// A show is one run of the demo.
type show struct {
	Options
	content *content
	dir     string
	out     *printer
	client  *http.Client // for the admin APIs

	cid          string
	plan         []visitor
	origin, edge Edge   // nil while stopped
	originAddr   string // of its gateway, also while it is stopped
	edgeAddr     string
}

// A phase is one visit of the crowd and what happens before it.
type phase struct {
	name   string
	before func(context.Context) error
}

func (s *show) run(ctx context.Context) error {
	if err := s.publish(ctx); err != nil {
		return fmt.Errorf("demo: %w", ended(ctx, err))
	}
	s.plan = planCrowd(s.content, s.Visitors, s.Spread, s.Seed)
	var results []Result
	var failure error
	for _, p := range []phase{
		{"cold", s.openEdge},
		{"warm", nil},
		{"origin off", s.stopOrigin},
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

// ended says so when err is only that the caller wanted to stop.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	return err
}

// publish starts the origin and adds the content to it.
func (s *show) publish(ctx context.Context) error {
	if err := s.startOrigin(ctx); err != nil {
		return err
	}
	s.out.publishing(s.content, 0)
	id, err := publish(ctx, s.origin.AdminAddr(), s.content, func(sent int64) { s.out.publishing(s.content, sent) })
	if err != nil {
		return fmt.Errorf("add %s to the origin: %w", s.content.title, err)
	}
	s.cid = id
	s.out.published(s.content, id)
	return nil
}

func (s *show) startOrigin(ctx context.Context) error {
	spec := EdgeSpec{Name: "origin", Data: filepath.Join(s.dir, "origin"), Serve: "pinned"}
	e, err := s.start(ctx, spec, s.originAddr)
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	s.origin, s.originAddr = e, e.GatewayAddr()
	return nil
}

func (s *show) startEdge(ctx context.Context) error {
	spec := EdgeSpec{
		Name: "edge-1", Data: filepath.Join(s.dir, "edge-1"), Serve: "sites",
		Origin:   "http://" + s.originAddr,
		SiteHost: siteHost, SiteContent: "/ipfs/" + s.cid,
	}
	e, err := s.start(ctx, spec, s.edgeAddr)
	if err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	s.edge, s.edgeAddr = e, e.GatewayAddr()
	return nil
}

// openEdge starts the edge for the first time and shows where it is.
func (s *show) openEdge(ctx context.Context) error {
	if err := s.startEdge(ctx); err != nil {
		return err
	}
	s.out.opening(s.serving())
	return nil
}

// start starts an edge, where it was before if the port is still free, so that a
// URL once shown stays good.
func (s *show) start(ctx context.Context, spec EdgeSpec, before string) (Edge, error) {
	if before != "" {
		spec.Listen = before
		if e, err := s.Start(ctx, spec); err == nil {
			return e, nil
		}
	}
	spec.Listen = "127.0.0.1:0"
	return s.Start(ctx, spec)
}

func (s *show) stopOrigin(ctx context.Context) error {
	e := s.origin
	s.origin = nil
	return stop(ctx, e)
}

func (s *show) restartEdge(ctx context.Context) error {
	e := s.edge
	s.edge = nil
	if err := stop(ctx, e); err != nil {
		return err
	}
	return s.startEdge(ctx)
}

// stop ends an edge in good order even when the demo is being cut off.
func stop(ctx context.Context, e Edge) error {
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		return fmt.Errorf("stop an edge: %w", err)
	}
	return nil
}

// serving says where the edge is to be found. Its address was made by the kernel,
// so it has a port.
func (s *show) serving() Serving {
	_, port, _ := net.SplitHostPort(s.edgeAddr)
	v := Serving{
		Site:    "http://" + net.JoinHostPort(siteHost, port) + "/",
		CID:     "http://" + net.JoinHostPort(s.cid+".ipfs.localhost", port) + "/",
		Admin:   "http://" + s.edge.AdminAddr() + "/",
		Content: s.cid,
	}
	if s.origin != nil {
		v.Origin = "http://" + s.originAddr + "/ipfs/" + s.cid + "/"
	}
	return v
}

// visit sends the crowd and shows what happens. first is the first response that
// failed.
func (s *show) visit(ctx context.Context, name string) (r Result, first, err error) {
	m, err := newMeter(ctx, s.client, s.edge.AdminAddr())
	if err != nil {
		return Result{}, nil, err
	}
	c := &crowd{
		content: s.content, visitors: s.plan, tally: newTally(),
		site: s.serving().Site, addr: s.edgeAddr,
		conns: make(chan struct{}, maxConns),
	}
	limited, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	begin, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		c.visit(limited)
	}()
	s.watch(limited, c.tally, m, name, begin, done)
	if err := ctx.Err(); err != nil {
		return Result{}, nil, err
	}
	count, err := m.update(ctx)
	if err != nil {
		return Result{}, nil, err
	}
	r = c.tally.result(name, count)
	r.Took = time.Since(begin)
	r.Cut = r.Visitors < len(s.plan)
	s.out.phaseDone(r, len(s.plan))
	return r, c.tally.firstFailure(), nil
}

// watch redraws the display until done is closed.
func (s *show) watch(ctx context.Context, t *tally, m *meter, name string, begin time.Time, done <-chan struct{}) {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			// A reading that fails shows the one before; the last one, after
			// the phase, has to succeed.
			count, _ := m.update(ctx)
			r := t.result(name, count)
			r.Took = time.Since(begin)
			s.out.progress(r, len(s.plan))
		}
	}
}

// keep leaves everything running until ctx ends. The origin is started again,
// because a real visitor may open what nobody in the crowd did.
func (s *show) keep(ctx context.Context) error {
	before := s.originAddr
	if err := s.startOrigin(ctx); err != nil {
		return fmt.Errorf("demo: %w", ended(ctx, err))
	}
	if s.originAddr != before {
		if err := s.restartEdge(ctx); err != nil {
			return fmt.Errorf("demo: %w", ended(ctx, err))
		}
	}
	s.out.serving(s.serving())
	<-ctx.Done()
	s.out.ended(true)
	return nil
}

// close stops what runs and removes the folders, also when ctx has ended.
func (s *show) close(ctx context.Context) error {
	errs := []error{stop(ctx, s.edge), stop(ctx, s.origin)}
	s.client.CloseIdleConnections()
	if err := os.RemoveAll(s.dir); err != nil {
		errs = append(errs, fmt.Errorf("demo: clean up: %w", err))
	}
	return errors.Join(append(errs, s.out.err)...)
}
