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
	// siteHost is the name of the website on the edges. Browsers lead every name
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
// wrong bytes (a [*RequestError]). Every edge is stopped and every folder removed by
// then; only the chart stays.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	c, err := openContent(o.Path)
	if err == nil && o.Edges > 1 {
		c, err = largeEnough(c, o)
	}
	if err == nil && o.Edges > 1 {
		err = o.checkChart()
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	dir, err := os.MkdirTemp(o.TempDir, "shoal-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s := &show{
		Options: o, content: c, dir: dir, out: newPrinter(o),
		client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second},
		origin: &node{spec: EdgeSpec{Name: "origin", Data: filepath.Join(dir, "origin"), Serve: "pinned"}},
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	return s.run(ctx)
}

// A show is one run of the demo: what both of its kinds need.
type show struct {
	Options
	content *content
	dir     string
	out     *printer
	client  *http.Client // for the admin APIs

	cid    string
	origin *node
	edges  []*node
}

// A node is an edge, or the origin, that may be stopped and started again.
type node struct {
	spec EdgeSpec
	Edge        // nil while stopped
	addr string // of its gateway, also while it is stopped
}

func (s *show) run(ctx context.Context) error {
	if err := s.publish(ctx); err != nil {
		return fmt.Errorf("demo: %w", ended(ctx, err))
	}
	if s.Edges == 1 {
		return (&single{show: s}).run(ctx)
	}
	return (&fleet{show: s}).run(ctx)
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
	if err := s.start(ctx, s.origin); err != nil {
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

// newEdge describes an edge in front of the origin, and has close stop it.
func (s *show) newEdge(spec EdgeSpec) *node {
	spec.Serve = "sites"
	spec.Origin = "http://" + s.origin.addr
	spec.SiteHost, spec.SiteContent = siteHost, "/ipfs/"+s.cid
	n := &node{spec: spec}
	s.edges = append(s.edges, n)
	return n
}

// start starts a node, where it was before if the port is still free, so that a URL
// once shown stays good.
func (s *show) start(ctx context.Context, n *node) (err error) {
	n.spec.Listen = n.addr
	if n.addr != "" {
		n.Edge, err = s.Start(ctx, n.spec)
	}
	if n.addr == "" || err != nil {
		n.spec.Listen = "127.0.0.1:0"
		if n.Edge, err = s.Start(ctx, n.spec); err != nil {
			n.Edge = nil
			return fmt.Errorf("start %s: %w", n.spec.Name, err)
		}
	}
	n.addr = n.GatewayAddr()
	return nil
}

// stop ends a node in good order even when the demo is being cut off.
func (n *node) stop(ctx context.Context) error {
	if n.Edge == nil {
		return nil
	}
	e := n.Edge
	n.Edge = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := e.Stop(ctx); err != nil {
		return fmt.Errorf("stop %s: %w", n.spec.Name, err)
	}
	return nil
}

// siteURL is where the website is on a node. Its address was made by the kernel, so
// it has a port.
func (n *node) siteURL() string {
	_, port, _ := net.SplitHostPort(n.addr)
	return "http://" + net.JoinHostPort(siteHost, port) + "/"
}

// peer is how siblings name a node.
func (n *node) peer() string { return n.spec.Name + "@" + n.SwarmAddr() }

// serving says where a node is to be found.
func (s *show) serving(n *node) Serving {
	_, port, _ := net.SplitHostPort(n.addr)
	v := Serving{
		Edge:    n.spec.Name,
		Site:    n.siteURL(),
		CID:     "http://" + net.JoinHostPort(s.cid+".ipfs.localhost", port) + "/",
		Admin:   "http://" + n.AdminAddr() + "/",
		Content: s.cid,
	}
	if s.origin.Edge != nil {
		v.Origin = "http://" + s.origin.addr + "/ipfs/" + s.cid + "/"
	}
	return v
}

// close stops what runs and removes the folders, also when ctx has ended.
func (s *show) close(ctx context.Context) error {
	errs := []error{stopAll(ctx, s.edges), s.origin.stop(ctx)}
	s.client.CloseIdleConnections()
	if err := os.RemoveAll(s.dir); err != nil {
		errs = append(errs, fmt.Errorf("demo: clean up: %w", err))
	}
	return errors.Join(append(errs, s.out.err)...)
}
