package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// Reasons that errors carry. A room's error has one when it, or an error that it
// wraps, has a method Reason() string that returns it.
const (
	BadRequest       = "BAD_REQUEST"           // 400: what was sent is wrong
	Unauthorized     = "UNAUTHORIZED"          // 401
	Forbidden        = "FORBIDDEN"             // 403
	NotFound         = "NOT_FOUND"             // 404: not on this edge
	MethodNotAllowed = "METHOD_NOT_ALLOWED"    // 405
	Stalled          = "REQUEST_TIMEOUT"       // 408: the sender stopped sending
	Pinned           = "PINNED"                // 409: something keeps it
	Unsupported      = "UNSUPPORTED_TYPE"      // 415
	Invalid          = "INVALID_CONFIGURATION" // 422: the settings cannot be put in force
	Busy             = "TOO_MANY_REQUESTS"     // 429
	Internal         = "INTERNAL_SERVER_ERROR" // 500
	Unavailable      = "UNAVAILABLE"           // 503: not ready, or shutting down
	StorageFull      = "INSUFFICIENT_STORAGE"  // 507
)

var statusOf = map[string]int{
	BadRequest:       http.StatusBadRequest,
	Unauthorized:     http.StatusUnauthorized,
	Forbidden:        http.StatusForbidden,
	NotFound:         http.StatusNotFound,
	MethodNotAllowed: http.StatusMethodNotAllowed,
	Stalled:          http.StatusRequestTimeout,
	Pinned:           http.StatusConflict,
	Unsupported:      http.StatusUnsupportedMediaType,
	Invalid:          http.StatusUnprocessableEntity,
	Busy:             http.StatusTooManyRequests,
	Internal:         http.StatusInternalServerError,
	Unavailable:      http.StatusServiceUnavailable,
	StorageFull:      http.StatusInsufficientStorage,
}

// Reason returns the reason for err and the status that goes with it.
func Reason(err error) (reason string, status int) {
	var reasoned interface {
		error
		Reason() string
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		reason = Stalled
	case errors.Is(err, errShutdown), errors.Is(err, context.Canceled):
		reason = Unavailable
	case errors.Is(err, syscall.ENOSPC):
		reason = StorageFull
	case errors.As(err, &reasoned):
		reason = reasoned.Reason()
	}
	if status, ok := statusOf[reason]; ok {
		return reason, status
	}
	return Internal, http.StatusInternalServerError
}

// fail answers with err.
func (a *Admin) fail(w http.ResponseWriter, r *http.Request, err error) {
	reason, status := Reason(err)
	if status >= 500 {
		a.log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	writeError(w, status, reason, err.Error())
}

func writeError(w http.ResponseWriter, status int, reason, details string) {
	writeJSON(w, status, ErrorResponse{ErrorBody{Reason: reason, Details: details}})
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
