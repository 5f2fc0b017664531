package cli

import (
	"context"
	"errors"
	"log/slog"

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
			return serve(cmd.Context(), loaded, newLogger(env, loaded.Log))
		},
	}
	flags.register(cmd)
	return cmd
}

func serve(ctx context.Context, loaded *config.Loaded, log *slog.Logger) error {
	for _, name := range loaded.Unknown {
		log.Warn("an environment variable names no setting", "variable", name)
	}
	e, err := edge.New(loaded.Config, edge.Build{Version: Build(), Log: log})
	if err != nil {
		return usageError{err} // nothing ran yet: the set-up is wrong
	}
	return errors.Join(e.Run(ctx), e.Close())
}

// newLogger returns the logger that the configuration asks for, on standard error.
func newLogger(env Environment, o config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: o.SlogLevel()}
	if o.Format == "json" {
		return slog.New(slog.NewJSONHandler(env.Err, options))
	}
	return slog.New(slog.NewTextHandler(env.Err, options))
}
