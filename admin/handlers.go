package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok") }

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	note, err := a.deps.Ready()
	if err != nil {
		writeError(w, problem.Unavailable, err.Error())
		return
	}
	if note != "" {
		note = ": " + note
	}
	writeText(w, "ready"+note)
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, text)
}

func (a *Admin) stats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, a.deps.Stats())
}

func (a *Admin) purge(w http.ResponseWriter, r *http.Request) {
	result, err := a.purged(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (a *Admin) purged(r *http.Request) (task.PurgeResult, error) {
	query, err := parseQuery(r, "path", "unpin", "fleet")
	if err != nil {
		return task.PurgeResult{}, err
	}
	unpin, err := query.flag("unpin", false)
	if err != nil {
		return task.PurgeResult{}, err
	}
	everywhere, err := query.flag("fleet", false)
	if err != nil {
		return task.PurgeResult{}, err
	}
	path := query.Get("path")
	if path == "" {
		return task.PurgeResult{}, badRequest("path is missing: expected a CID or /ipfs/CID/path")
	}
	result, err := a.deps.Purge(r.Context(), path, unpin)
	if err != nil && !(everywhere && reasonOf(err) == problem.NotFound) {
		return task.PurgeResult{}, err
	}
	if everywhere {
		result.Fleet = a.purgeSiblings(r.Context(), purgeRequest{path, unpin})
	}
	return result, nil
}

func (a *Admin) reload(w http.ResponseWriter, r *http.Request) {
	if _, err := parseQuery(r); err != nil {
		a.fail(w, r, err)
		return
	}
	result, err := a.deps.Reload()
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

// query is a request's parameters, all of them known and valid.
type query struct{ url.Values }

// parseQuery refuses parameters that it was not told of: a misspelt "unpn=true"
// must not quietly do something else.
func parseQuery(r *http.Request, known ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, badRequest("the query cannot be read: %v", err)
	}
next:
	for name := range values {
		for _, k := range known {
			if name == k {
				continue next
			}
		}
		return query{}, badRequest("unknown parameter %q, expected one of %q", clip(name), known)
	}
	return query{values}, nil
}

func (q query) flag(name string, otherwise bool) (bool, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	value, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, badRequest("%s is %q, expected true or false", name, clip(q.Get(name)))
	}
	return value, nil
}

func badRequest(format string, args ...any) error {
	return problem.Errorf(problem.BadRequest, format, args...)
}
