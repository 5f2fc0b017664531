package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// fleetRefresh is how often the display of a fleet is redrawn. All its edges
	// are asked for their counters each time.
	fleetRefresh = 250 * time.Millisecond
	// joinWithin bounds how long a fleet may take to assemble.
	joinWithin = 30 * time.Second
)

// largeEnough returns content that does not fit into the caches of one edge: c
// itself, or c with made-up files. Otherwise there would be nothing to see.
func largeEnough(c *content, o Options) (*content, error) {
	if c.bytes >= 2*(o.Memory+o.Disk) {
		return c, nil
	}
	return c.withLibrary(newLibrary(o.LibraryFiles, o.LibraryBytes, 1))
}

// A fleet is the demo of several edges: the same crowd comes to a fleet of one edge,
// of two, and so on, each of them new and empty; and at the end things go wrong.
type fleet struct {
	*show
	popularity *popularity
	// filling is what comes first, to fill the caches, and requests what counts.
	filling, requests []request
	known             cids
	failure           error // responses that were not what they should be
}

// A FleetResult is what the crowd's visit to a fleet has come to. Its origin counts
// are the origin's own: RequestsFrom and BytesFrom count as the origin's also what a
// sibling had to fetch there first.
type FleetResult struct {
	Edges int `json:"edges"`
	// Filling is how many requests came before those that are counted.
	Filling int `json:"filling"`
	Result
	Lines
}

func (f *fleet) run(ctx context.Context) error {
	f.popularity = newPopularity(f.content, f.Seed)
	f.filling, f.requests = f.popularity.next(f.Requests), f.popularity.next(f.Requests)
	f.out.fleets(f.show)
	var results []FleetResult
	for n := 1; n <= f.Edges; n++ {
		r, err := f.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("demo: %s: %w", edgesText(n), ended(ctx, err))
		}
		results = append(results, r)
	}
	faults, err := f.faults(ctx)
	if err != nil {
		return fmt.Errorf("demo: %w", ended(ctx, err))
	}
	f.out.fleetTable(results, faults)
	if err := f.writeChart(results, faults); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if f.failure != nil {
		return fmt.Errorf("demo: responses were not what they should be: %w", f.failure)
	}
	if f.Keep {
		return f.keep(ctx)
	}
	f.out.ended(false)
	return nil
}

// measure has the crowd visit a new fleet of n edges in place of the one before.
func (f *fleet) measure(ctx context.Context, n int) (FleetResult, error) {
	f.out.gathering(n)
	if err := f.disband(ctx); err != nil {
		return FleetResult{}, err
	}
	if err := f.assemble(ctx, n); err != nil {
		return FleetResult{}, err
	}
	fill, err := f.visit(ctx, edgesText(n), f.filling, func(now Result) { f.out.filling(n, now, len(f.filling)) })
	if err != nil {
		return FleetResult{}, err
	}
	counted, err := f.visit(ctx, edgesText(n), f.requests, func(now Result) { f.out.fleetProgress(n, now, len(f.requests)) })
	if err != nil {
		return FleetResult{}, err
	}
	// On a machine too slow for all of them, larger fleets get no more requests than
	// this one got, so that they can still be compared.
	f.filling, f.requests = f.filling[:fill.Requests], f.requests[:counted.Requests]
	counted.Cut = counted.Cut || fill.Cut
	r := FleetResult{Edges: n, Filling: fill.Requests, Result: counted, Lines: compareWith(f.filling, f.requests, n, f.Memory+f.Disk)}
	f.out.fleetDone(r)
	return r, nil
}

// assemble starts a fleet of n edges with empty caches and waits until all know each
// other.
func (f *fleet) assemble(ctx context.Context, n int) error {
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("edge-%d", i)
		e := f.newEdge(EdgeSpec{
			Name: name, Data: filepath.Join(f.dir, fmt.Sprintf("fleet-%d", n), name),
			Memory: f.Memory, Disk: f.Disk, Secret: f.Secret,
		})
		if i > 1 {
			e.spec.Peers = []string{f.edges[0].peer()}
		}
		if err := f.start(ctx, e); err != nil {
			return err
		}
	}
	return f.allHere(ctx, n)
}

// disband stops the fleet and removes what it held.
func (f *fleet) disband(ctx context.Context) error {
	err := stopAll(ctx, f.edges)
	for _, e := range f.edges {
		err = errors.Join(err, os.RemoveAll(e.spec.Data))
	}
	f.edges = nil
	return err
}

// stopAll stops nodes at once: each would otherwise wait to tell those that are
// about to stop, too.
func stopAll(ctx context.Context, nodes []*node) error {
	var group errgroup.Group
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		group.Go(func() error {
			errs[i] = n.stop(ctx)
			return nil
		})
	}
	_ = group.Wait()
	return errors.Join(errs...)
}

// allHere waits until every edge sees n that are alive.
func (f *fleet) allHere(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, joinWithin, fmt.Errorf("the edges did not find each other within %s", joinWithin))
	defer cancel()
	for _, e := range f.edges {
		for {
			alive, err := f.alive(ctx, e)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return fmt.Errorf("ask %s for its fleet: %w", e.spec.Name, err)
			}
			if alive == n {
				break
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

// alive returns how many edges, itself included, an edge sees alive.
func (f *fleet) alive(ctx context.Context, e *node) (int, error) {
	var answer struct {
		Members []struct {
			State string `json:"state"`
		} `json:"members"`
	}
	if err := f.ask(ctx, e, "/api/v1/swarm", &answer); err != nil {
		return 0, err
	}
	n := 0
	for _, m := range answer.Members {
		if m.State == "alive" {
			n++
		}
	}
	return n, nil
}

// ask reads JSON from an edge's admin API.
func (s *show) ask(ctx context.Context, n *node, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.AdminAddr()+path, nil)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

// visit sends a crowd to the fleet, tells how it goes, and returns what it came to.
func (f *fleet) visit(ctx context.Context, name string, requests []request, progress func(Result)) (Result, error) {
	c := f.newQueue(requests)
	defer c.close()
	m, err := f.newFleetMeter(ctx)
	if err != nil {
		return Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, f.Limit)
	defer cancel()
	begin := time.Now()
	now := func(ctx context.Context) (Result, error) {
		edges, origin, err := m.update(ctx)
		r := c.tally.result(name, edges)
		r.credit(edges, origin)
		r.Took = time.Since(begin)
		return r, err
	}
	watch(fleetRefresh, func() { c.run(limited, f.Clients) }, func() {
		r, _ := now(limited)
		progress(r)
	})
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	r, err := now(ctx)
	if err != nil {
		return Result{}, err
	}
	r.Cut = r.Requests < len(requests)
	f.failure = errors.Join(f.failure, c.tally.firstFailure())
	return r, nil
}

// credit corrects a result for what edges cannot see: whether the sibling that
// answered had to ask the origin first. The bytes are exact; requests are taken to
// need one block from the origin each, which a few that need a folder's do not. The
// folders on the way to a file are mostly read from memory, and are no bytes that a
// visitor gets: memory's share is what the other places leave of those.
func (r *Result) credit(edges, origin counters) {
	r.OriginRequests = origin.served
	onBehalf := int(max(0, origin.served-edges.blocks["origin"]))
	onBehalf = min(onBehalf, r.RequestsFrom["sibling"])
	r.RequestsFrom["sibling"] -= onBehalf
	r.RequestsFrom["origin"] += onBehalf
	bytes := min(max(0, origin.sentBytes-edges.blockBytes["origin"]), r.BytesFrom["sibling"])
	r.BytesFrom["sibling"] -= bytes
	r.BytesFrom["origin"] = origin.sentBytes
	r.BytesFrom["memory"] = max(0, r.Bytes-r.BytesFrom["disk"]-r.BytesFrom["sibling"]-r.BytesFrom["origin"])
	r.OriginBytesPerRequest = 0
	if r.Requests > 0 {
		r.OriginBytesPerRequest = float64(origin.sentBytes) / float64(r.Requests)
	}
}

// keep leaves the fleet and its origin running until ctx ends.
func (f *fleet) keep(ctx context.Context) error {
	if err := f.reviveOrigin(ctx); err != nil {
		return err
	}
	var all []Serving
	for _, e := range f.edges {
		all = append(all, f.serving(e))
	}
	f.out.serving(all)
	<-ctx.Done()
	f.out.ended(true)
	return nil
}
