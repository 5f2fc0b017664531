package cli

import (
	"context"
	"log/slog"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/printable"
)

// processLog is the log of a process that runs an edge.
type processLog struct {
	*slog.Logger
	level *slog.LevelVar
	flush func() // writes the lines that are still held
}

// newLogger returns the logger that the configuration asks for, on standard error.
func newLogger(env Environment, o config.Log) *processLog {
	level := new(slog.LevelVar)
	level.Set(o.SlogLevel())
	options := &slog.HandlerOptions{Level: level}
	out := &bufferedLog{out: env.Err}
	handler := promptHandler{slog.NewTextHandler(out, options), out} // quotes what is not printable
	if o.Format == "json" {
		out.out = printable.JSON(env.Err)
		handler.Handler = slog.NewJSONHandler(out, options)
	}
	return &processLog{slog.New(handler), level, out.Flush}
}

// warnings passes on what is at least a warning. A library's own idea of what an
// operator wants to be told ordinarily is another one than ours.
type warnings struct{ slog.Handler }

// Enabled implements [slog.Handler].
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// WithAttrs and WithGroup implement [slog.Handler].
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
