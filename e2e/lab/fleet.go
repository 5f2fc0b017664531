package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Fleet is a number of edges with one secret and one origin. Its methods are called
// by one goroutine.
type Fleet struct {
	Binary string
	Dir    string // each edge gets a folder in it
	Secret string
	// Set are settings of every edge, as key=value.
	Set []string
	// Edges are the edges that were started, ended ones included.
	Edges []*Edge
}

// NewFleet makes a fleet without edges. They ask the origin at originURL, unless
// that is empty, and serve any CID.
func NewFleet(ctx context.Context, binary, dir, originURL string, set ...string) (*Fleet, error) {
	secret, err := exec.CommandContext(ctx, binary, "swarm", "secret").Output()
	if err != nil {
		return nil, fmt.Errorf("shoal swarm secret: %w", err)
	}
	f := &Fleet{Binary: binary, Dir: dir, Secret: strings.TrimSpace(string(secret)), Set: []string{"gateway.serve=any"}}
	if originURL != "" {
		f.Set = append(f.Set, OriginSetting(originURL))
	}
	f.Set = append(f.Set, set...)
	return f, nil
}

// OriginSetting returns the setting that makes a gateway the only origin.
func OriginSetting(url string) string { return "origins=[{type: gateway, url: '" + url + "'}]" }

// Plan returns how the edge of this name is started: knowing all that run.
func (f *Fleet) Plan(name string, set ...string) Plan {
	var peers []string
	for _, e := range f.Edges {
		if e.Name != name && e.SwarmHostPort() != "" {
			peers = append(peers, "'"+e.Name+"@"+e.SwarmHostPort()+"'")
		}
	}
	p := Plan{Binary: f.Binary, Dir: filepath.Join(f.Dir, name)}
	p.Set = append([]string{"name=" + name, "swarm.secret=" + f.Secret, "swarm.listen=[/ip4/127.0.0.1/tcp/0]",
		"swarm.peers=[" + strings.Join(peers, ",") + "]"}, f.Set...)
	p.Set = append(p.Set, set...)
	return p
}

// Add starts one more edge under a name of its own.
func (f *Fleet) Add(ctx context.Context, name string, set ...string) (*Edge, error) {
	return f.AddPlan(ctx, f.Plan(name, set...))
}

// AddPlan starts one more edge as planned.
func (f *Fleet) AddPlan(ctx context.Context, p Plan) (*Edge, error) {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, err
	}
	e, err := Start(ctx, p)
	if err != nil {
		return nil, err
	}
	f.Edges = append(f.Edges, e)
	return e, nil
}

// Start adds n edges, edge-0 and so on, and returns when all see each other.
func (f *Fleet) Start(ctx context.Context, n int) error {
	for range n {
		if _, err := f.Add(ctx, fmt.Sprintf("edge-%d", len(f.Edges))); err != nil {
			return err
		}
	}
	return f.Settled(ctx, f.Edges...)
}

// AddIn starts one more edge in the zone k of a network. The origin listens on the given
// port of this machine. With named, the edge knows what zone it is in.
func (f *Fleet) AddIn(ctx context.Context, z *Zones, k int, originPort string, named bool) (*Edge, error) {
	p := f.Plan(fmt.Sprintf("edge-%d", len(f.Edges)), "swarm.listen=[/ip4/"+z.Inside(k)+"/tcp/0]",
		OriginSetting("http://"+z.Outside(k)+":"+originPort))
	if named {
		p.Set = append(p.Set, fmt.Sprintf("swarm.zone=zone-%d", k))
	}
	p.Namespace, p.Host = z.Namespace(k), z.Public(k)
	return f.AddPlan(ctx, p)
}

// Restart starts an edge that has ended once more: the same name, data and address
// for siblings. It takes the ended one's place in Edges.
func (f *Fleet) Restart(ctx context.Context, i int) (*Edge, error) {
	old := f.Edges[i]
	p := f.Plan(old.Name)
	host, port, _ := strings.Cut(old.SwarmHostPort(), ":")
	p.Set = append(p.Set, "swarm.listen=[/ip4/"+host+"/tcp/"+port+"]")
	for {
		e, err := Start(ctx, p)
		if err == nil {
			f.Edges[i] = e
			return e, nil
		}
		// The port may be that of somebody's outgoing connection for a moment.
		if !strings.Contains(err.Error(), "address already in use") || pause(ctx) != nil {
			return nil, err
		}
	}
}

// Settled returns when each of the edges sees all of them alive, and nobody else.
func (f *Fleet) Settled(ctx context.Context, edges ...*Edge) error {
	for _, e := range edges {
		if err := e.WaitAlive(ctx, len(edges)); err != nil {
			return err
		}
	}
	return nil
}

// WaitAlive returns when the edge sees exactly n edges alive, itself included.
func (e *Edge) WaitAlive(ctx context.Context, n int) error {
	for {
		list, err := e.Members(ctx)
		alive := 0
		for _, m := range list {
			if m.State == "alive" {
				alive++
			}
		}
		if err == nil && alive == n {
			return nil
		}
		if stop := pause(ctx); stop != nil {
			return fmt.Errorf("edge %s sees %d of %d edges alive: %w (%+v, %v)", e.Name, alive, n, stop, list, err)
		}
	}
}

// pause waits a little between two looks at a condition.
func pause(ctx context.Context) error {
	select {
	case <-time.After(10 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close kills every edge.
func (f *Fleet) Close() {
	var wg sync.WaitGroup
	for _, e := range f.Edges {
		wg.Go(e.Kill)
	}
	wg.Wait()
}

// Stop stops every edge that runs with SIGTERM, all at once, and checks that each
// exits with 0.
func (f *Fleet) Stop(ctx context.Context) error {
	var group errgroup.Group
	for _, e := range f.Edges {
		group.Go(func() error {
			code, err := e.Stop(ctx)
			if err == nil && code > 0 {
				err = fmt.Errorf("edge %s: exit code %d\n%s", e.Name, code, e.Log)
			}
			return err
		})
	}
	return errors.Join(group.Wait())
}
