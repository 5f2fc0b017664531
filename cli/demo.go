package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/demo"
	"github.com/shoal-cdn/shoal/edge"
)

func newDemo(env Environment) *cobra.Command {
	o := demo.DefaultOptions()
	cmd := &cobra.Command{
		Use:   "demo [PATH]",
		Short: "Show on this machine what an edge does: an origin, an edge and a crowd",
		Long: `Start an origin and an edge on this machine, publish a website, and send a crowd
of visitors through the edge: to a cold one, a warm one, with the origin switched
off, and after a restart. Shows live what came from where, and ends with a table.

PATH is a folder or a file to publish; without it, the bundled website.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Path = args[0]
			}
			o.Out, o.Live = env.Out, env.Err
			o.Terminal, o.Width = env.Terminal, env.Width
			o.Color = env.Terminal && variable(env, "NO_COLOR") == ""
			o.Start = startDemoEdge
			if err := o.Validate(); err != nil {
				return usageError{err}
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Edges, "edges", o.Edges, "how `MANY` edges stand in front of the origin (one, until edges share what they have)")
	cmd.Flags().IntVar(&o.Visitors, "visitors", o.Visitors, "how `MANY` visitors come")
	cmd.Flags().Uint64Var(&o.Seed, "seed", o.Seed, "another `NUMBER` is another crowd")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the edge running, until Ctrl-C")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object per line")
	return cmd
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
	cfg.Admin.Listen = "127.0.0.1:0"
	if spec.Origin != "" {
		cfg.Origins = []config.Origin{{Type: "gateway", URL: spec.Origin}}
	}
	if spec.SiteHost != "" {
		cfg.Sites = []config.Site{{Host: spec.SiteHost, Content: spec.SiteContent}}
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
