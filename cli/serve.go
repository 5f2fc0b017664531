package cli

import (
	"context"
	"errors"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

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
		Long: `Run an edge until SIGTERM or SIGINT; it drains, then exits. A second signal
ends it at once.

SIGHUP has it read its settings again, like ` + "`shoal reload`" + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// First of all: an edge that is told to reload while it starts must not
			// end, which is what the signal does to a program that does not listen.
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			loaded, err := flags.load(env)
			if err != nil {
				return err
			}
			// A file that was there must be there again; only an edge that started
			// without one may find one later.
			flags.file = loaded.File
			log := newLogger(env, loaded.Log)
			defer log.flush()
			p := &process{env: env, flags: flags, log: log}
			return p.serve(cmd.Context(), loaded, hangup)
		},
	}
	flags.register(cmd)
	return cmd
}

// process is a process that runs an edge.
type process struct {
	env   Environment
	flags configFlags
	log   *processLog
}

func (p *process) serve(ctx context.Context, loaded *config.Loaded, hangup <-chan os.Signal) error {
	p.warn(loaded)
	gologshim.SetDefaultHandler(warnings{p.log.With("component", "swarm").Handler()})
	e, err := edge.New(loaded.Config, edge.Build{Version: Build(), Log: p.log.Logger, Load: p.reread, Reloaded: p.takeOver})
	if err != nil {
		return usageError{err} // nothing ran yet: the set-up is wrong
	}
	done := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { reloadOn(hangup, done, e) })
	beside.Go(func() { p.keepBudget(e.MemoryBudget, done) })
	err = e.Run(ctx)
	close(done)
	beside.Wait()
	return errors.Join(err, e.Close())
}

// reloadOn reloads for each signal until done is closed. The edge itself logs what
// came of it.
func reloadOn(hangup <-chan os.Signal, done <-chan struct{}, e *edge.Edge) {
	for {
		select {
		case <-hangup:
			_, _ = e.Reload()
		case <-done:
			return
		}
	}
}

// reread reads the settings as at the start.
func (p *process) reread() (config.Config, error) {
	loaded, err := p.flags.load(p.env)
	if err != nil {
		return config.Config{}, err
	}
	p.warn(loaded)
	return loaded.Config, nil
}

func (p *process) warn(loaded *config.Loaded) {
	for _, warning := range loaded.Warnings {
		p.log.Warn("settings: " + warning)
	}
}

// takeOver puts in force what of new settings concerns this process.
func (p *process) takeOver(c config.Config) {
	p.log.level.Set(c.Log.SlogLevel())
	p.log.Debug("log level set", "level", c.Log.Level)
}

const (
	// budgetEvery is how often the memory limit follows the budget. A crowd of misses
	// takes its memory within some hundred milliseconds.
	budgetEvery = 250 * time.Millisecond
	// budgetStep is the smallest change that is worth a new limit, which stops the
	// world for a moment, in bytes.
	budgetStep = 4 << 20
)

// keepBudget tells the runtime how much memory this process is meant to use, until
// done is closed. The runtime would otherwise let the heap grow to twice what is cached
// before it collects. It is a soft limit: the collector works harder near it, and
// nothing fails. A limit below what is in use would have it work all the time, so the
// limit follows. GOMEMLIMIT, if set, decides instead.
func (p *process) keepBudget(budget func() int64, done <-chan struct{}) {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	tick := time.NewTicker(budgetEvery)
	defer tick.Stop()
	for limit := int64(0); ; {
		if now := budget(); now > limit+budgetStep || now < limit-budgetStep {
			limit = now
			debug.SetMemoryLimit(limit)
			p.log.Debug("memory limit set", "bytes", limit)
		}
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}
