package cli

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/edge"
)

func newServe(env Environment) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run an edge until SIGTERM or SIGINT; drains, then exits",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := flags.load(env)
			if err != nil {
				return err
			}
			log, flush := newLogger(env, loaded.Log)
			defer flush()
			return serve(cmd.Context(), loaded, log)
		},
	}
	flags.register(cmd)
	return cmd
}

func serve(ctx context.Context, loaded *config.Loaded, log *slog.Logger) error {
	for _, name := range loaded.Unknown {
		log.Warn("an environment variable names no setting", "variable", name)
	}
	gologshim.SetDefaultHandler(warnings{log.With("room", "swarm").Handler()})
	e, err := edge.New(loaded.Config, edge.Build{Version: Build(), Log: log})
	if err != nil {
		return usageError{err} // nothing ran yet: the set-up is wrong
	}
	limitMemory(loaded.Cache.Memory, log)
	return errors.Join(e.Run(ctx), e.Close())
}

// limitMemory tells the runtime how much memory this process is meant to use: the
// cache, an eighth of it for what is on its way, and what an idle edge takes. The
// runtime would otherwise let the heap grow to twice what is cached before it
// collects. It is a soft limit: the collector works harder near it, and nothing
// fails. GOMEMLIMIT, if set, decides instead.
func limitMemory(cache config.Size, log *slog.Logger) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	limit := cache + cache/8 + 48<<20
	debug.SetMemoryLimit(int64(limit))
	log.Debug("memory limit set", "bytes", int64(limit))
}
