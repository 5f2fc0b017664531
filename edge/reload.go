package edge

import (
	"errors"
	"strings"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Reload reads the settings again and puts in force what can be without a restart:
// everything that [config.Live] tells of, at once. First every component checks and opens
// what it needs, and an error there changes nothing; then each takes over what it has
// ready, and nothing of that can fail. Requests in flight finish as they began.
// Settings that need a restart stay as they are, and the result names them. Calls wait
// for each other.
func (e *Edge) Reload() (task.Reloaded, error) {
	if e.build.Load == nil {
		return task.Reloaded{}, problem.Errorf(problem.Unavailable, "the settings of this edge were not read from anywhere; they cannot be read again")
	}
	e.reloading.Lock()
	defer e.reloading.Unlock()
	result, err := e.reload()
	if err != nil {
		e.reloadedOK.Set(0)
		e.build.Log.Error("reload: nothing was changed", "err", err)
		return task.Reloaded{}, err
	}
	e.reloadedOK.Set(1)
	e.reloadedAt.SetToCurrentTime()
	e.build.Log.Info("reloaded", "changed", task.Keys(result.Changed))
	if len(result.NeedsRestart) > 0 {
		e.build.Log.Warn("settings were changed that need a restart", "needs_restart", task.Keys(result.NeedsRestart))
	}
	return result, nil
}

func (e *Edge) reload() (task.Reloaded, error) {
	read, err := e.build.Load()
	if err != nil {
		return task.Reloaded{}, problem.With(problem.Invalid, err)
	}
	next, result := config.Reload(e.config(), &read)
	if err := next.Validate(); err != nil {
		// What was read is valid, so it is what stays that does not go with it.
		return task.Reloaded{}, problem.Errorf(problem.Invalid, "the new settings go with others that need a restart (%s): %w",
			strings.Join(task.Keys(result.NeedsRestart), ", "), err)
	}
	reopened, err := e.replace(&next)
	if err != nil {
		return task.Reloaded{}, problem.With(problem.Invalid, err)
	}
	for _, name := range reopened {
		result.Changed = append(result.Changed, task.Change{Key: "origins", Added: []string{name + " (its files changed and were read again)"}})
	}
	return result, nil
}

// replace has every component get ready for new settings, and then has all take them over.
// Origins come before sites, so that a new site finds its content; the admin API
// last, so that whoever asked for the reload is not shut out by half of one. A component
// that learns to take new settings joins both halves: what can fail above the line,
// what cannot below it. It returns the archives that were read again.
func (e *Edge) replace(next *config.Config) (reopened []string, err error) {
	origins, err := e.origins.Prepare(next.OriginOptions())
	if err != nil {
		return nil, err
	}
	gateway, err := e.gateway.Prepare(next.GatewayOptions())
	if err != nil {
		return nil, errors.Join(err, origins.Discard())
	}
	api, err := e.admin.Prepare(next.AdminOptions())
	if err != nil {
		return nil, errors.Join(err, origins.Discard())
	}
	follow, err := e.sites.Prepare(next.SitesToPin())
	if err != nil {
		return nil, errors.Join(err, origins.Discard())
	}

	// From here on nothing can fail.
	if e.build.Reloaded != nil {
		e.build.Reloaded(*next)
	}
	e.cfg.Store(next)
	e.cache.Resize(int64(next.Cache.Memory))
	origins.Commit()
	e.swarm.Retry()
	follow()
	gateway()
	if err := e.service.SetTokens(next.PinServiceOptions().Tokens); err != nil {
		e.build.Log.Error("reload: the pinning service keeps its tokens", "err", err) // they were validated
	}
	api()
	return origins.Reopened(), nil
}
