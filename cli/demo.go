package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/demo"
	"github.com/shoal-cdn/shoal/edge"
)

func newDemo(env Environment) *cobra.Command {
	o := demo.DefaultOptions()
	cmd := &cobra.Command{
		Use:   "demo [PATH]",
		Short: "Show on this machine what a fleet does: an origin, edges and a crowd",
		Long: `Start an origin on this machine, publish a website, and send the same crowd to a
new fleet of one edge, of two, and so on. Shows live what came from where, and ends
with a table and a chart of how the origin's load falls with each edge. At the end
an edge is stopped while the crowd is there, and the origin is switched off.

With --edges 1, a crowd visits one edge: cold, warm, with the origin switched off,
and after a restart.

PATH is a folder or a file to publish; without it, the bundled website. If that
would fit into an edge's cache, made-up files are added for a fleet.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Path = args[0]
			}
			o.Out, o.Live = env.Out, env.Err
			o.Terminal, o.Width = env.Terminal, env.Width
			o.Color = env.Terminal && variable(env, "NO_COLOR") == ""
			o.Start, o.Secret = startDemoEdge, edge.NewSecret()
			o.Spread = min(o.Spread, time.Duration(o.Visitors)*25*time.Millisecond)
			if err := demoFlags(cmd, o.Edges); err != nil {
				return usageError{err}
			}
			if err := o.Validate(); err != nil {
				return usageError{err}
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Edges, "edges", o.Edges, "how `MANY` edges the largest fleet has; 1 shows a single edge")
	cmd.Flags().IntVar(&o.Requests, "requests", o.Requests, "how `MANY` requests to a fleet are counted, after as many that fill its caches")
	cmd.Flags().StringVar(&o.Chart, "chart", o.Chart, "`FILE` for the chart of a fleet, an HTML page; \"\" for none")
	cmd.Flags().IntVar(&o.Visitors, "visitors", o.Visitors, "how `MANY` visitors come to a single edge")
	cmd.Flags().Uint64Var(&o.Seed, "seed", o.Seed, "another `NUMBER` is another crowd")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave everything running, until Ctrl-C")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object per line")
	return cmd
}

// demoFlags refuses flags that would have no effect.
func demoFlags(cmd *cobra.Command, edges int) error {
	idle, need := []string{"visitors"}, "only with --edges 1"
	if edges == 1 {
		idle, need = []string{"requests", "chart"}, "only with more than one edge"
	}
	for _, name := range idle {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s: %s", name, need)
		}
	}
	return nil
}

// A demoEdge is an edge that runs in this process.
type demoEdge struct {
	*edge.Edge
	stop context.CancelFunc
	done chan error
}

// startDemoEdge implements [demo.StartFunc] with the real thing.
func startDemoEdge(_ context.Context, spec demo.EdgeSpec) (demo.Edge, error) {
	cfg := config.Default()
	cfg.Name, cfg.Data = spec.Name, spec.Data
	cfg.Gateway.Listen, cfg.Gateway.Serve = spec.Listen, spec.Serve
	cfg.Gateway.ShutdownDelay = 0 // the crowd is its own load balancer
	cfg.Admin.Listen = "127.0.0.1:0"
	if spec.Origin != "" {
		cfg.Origins = []config.Origin{{Type: "gateway", URL: spec.Origin}}
	}
	if spec.Memory > 0 {
		cfg.Cache.Memory = config.Size(spec.Memory)
	}
	if spec.Disk > 0 {
		cfg.Cache.Disk = config.Size(spec.Disk)
	}
	if spec.Secret != "" {
		cfg.Swarm.Secret, cfg.Swarm.Peers = config.Secret(spec.Secret), spec.Peers
		cfg.Swarm.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	if spec.SiteHost != "" {
		cfg.Sites = []config.Site{{Host: spec.SiteHost, Content: spec.SiteContent}}
		cfg.Pin.Sites = false // the crowd shall fill the caches
	}
	// Warnings would tear the display, and the demo checks every answer itself.
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	e, err := edge.New(cfg, edge.Build{Version: Build(), Log: log})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &demoEdge{Edge: e, stop: stop, done: make(chan error, 1)}
	go func() { d.done <- errors.Join(e.Run(ctx), e.Close()) }()
	return d, nil
}

// GatewayAddr and AdminAddr implement [demo.Edge].
func (d *demoEdge) GatewayAddr() string { return d.Edge.GatewayAddr().String() }
func (d *demoEdge) AdminAddr() string   { return d.Edge.AdminAddr().String() }

// SwarmAddr implements [demo.Edge]. The address is a multiaddr such as
// /ip4/127.0.0.1/tcp/4001/p2p/12D3...
func (d *demoEdge) SwarmAddr() string {
	for _, a := range d.SwarmAddrs() {
		if parts := strings.Split(a, "/"); len(parts) > 4 && parts[3] == "tcp" {
			return net.JoinHostPort(parts[2], parts[4])
		}
	}
	return ""
}

// Stop implements [demo.Edge].
func (d *demoEdge) Stop(ctx context.Context) error {
	d.stop()
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
