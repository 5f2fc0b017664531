package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/shoal-cdn/shoal/problem"
)

// reasonOf returns the reason for err.
func reasonOf(err error) problem.Reason {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.Stalled
	case errors.Is(err, errShutdown), errors.Is(err, context.Canceled):
		return problem.Unavailable
	case errors.Is(err, syscall.ENOSPC):
		return problem.StorageFull
	}
	return problem.Of(err)
}

// bodyOf is what JSON lines say of err.
func bodyOf(err error) *problem.Body {
	return &problem.Body{Reason: reasonOf(err), Details: err.Error()}
}

// fail answers with err.
func (a *Admin) fail(w http.ResponseWriter, r *http.Request, err error) {
	reason := reasonOf(err)
	if status := reason.Status(); status >= 500 {
		a.log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	writeError(w, reason, err.Error())
}

func writeError(w http.ResponseWriter, reason problem.Reason, details string) {
	writeJSON(w, reason.Status(), problem.Answer{Error: problem.Body{Reason: reason, Details: details}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	// The client may be gone; there is nobody left to tell.
	_ = enc.Encode(body)
}

// clip keeps what a client sent short in what it is told.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
