// Package problem says in one word what kind of failure an error is, so that both APIs
// of the operator answer it with the same reason and the same HTTP status, wherever the
// error comes from. Package pin/service speaks the IPFS Pinning Service API, whose
// reasons these are as far as it names any.
package problem

import (
	"errors"
	"fmt"
	"net/http"
)

// Reason is a kind of failure, for machines. It is what JSON answers carry.
type Reason string

// The reasons, each with its HTTP status.
const (
	BadRequest       Reason = "BAD_REQUEST"           // 400: what was sent is wrong
	Unauthorized     Reason = "UNAUTHORIZED"          // 401
	Forbidden        Reason = "FORBIDDEN"             // 403
	NotFound         Reason = "NOT_FOUND"             // 404
	MethodNotAllowed Reason = "METHOD_NOT_ALLOWED"    // 405
	Stalled          Reason = "REQUEST_TIMEOUT"       // 408: the sender stopped sending
	Conflict         Reason = "CONFLICT"              // 409
	Pinned           Reason = "PINNED"                // 409: something keeps it
	TooLarge         Reason = "CONTENT_TOO_LARGE"     // 413
	Unsupported      Reason = "UNSUPPORTED_TYPE"      // 415
	Invalid          Reason = "INVALID_CONFIGURATION" // 422: the settings cannot be put in force
	Busy             Reason = "TOO_MANY_REQUESTS"     // 429
	Internal         Reason = "INTERNAL_SERVER_ERROR" // 500
	Unavailable      Reason = "UNAVAILABLE"           // 503: not ready, or shutting down
	StorageFull      Reason = "INSUFFICIENT_STORAGE"  // 507
)

// Status returns the HTTP status of a reason, 500 for one that is not known.
func (r Reason) Status() int {
	switch r {
	case BadRequest:
		return http.StatusBadRequest
	case Unauthorized:
		return http.StatusUnauthorized
	case Forbidden:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case Stalled:
		return http.StatusRequestTimeout
	case Conflict, Pinned:
		return http.StatusConflict
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Unsupported:
		return http.StatusUnsupportedMediaType
	case Invalid:
		return http.StatusUnprocessableEntity
	case Busy:
		return http.StatusTooManyRequests
	case Unavailable:
		return http.StatusServiceUnavailable
	case StorageFull:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// Of returns the reason that err or an error it wraps has, in its method Reason; the
// outermost counts. Without one that is known it is [Internal].
func Of(err error) Reason {
	var reasoned interface {
		error
		Reason() Reason
	}
	if errors.As(err, &reasoned) {
		if r := reasoned.Reason(); r.Status() != http.StatusInternalServerError {
			return r
		}
	}
	return Internal
}

// Body says what went wrong, for machines and for people.
type Body struct {
	Reason  Reason `json:"reason"`
	Details string `json:"details"`
}

// Answer is the body of every answer of an API that is an error.
type Answer struct {
	Error Body `json:"error"`
}

// With gives err a reason. It leaves its text as it is.
func With(reason Reason, err error) error { return &reasoned{err, reason} }

// Errorf is [fmt.Errorf] with a reason.
func Errorf(reason Reason, format string, args ...any) error {
	return With(reason, fmt.Errorf(format, args...))
}

type reasoned struct {
	error
	reason Reason
}

func (e *reasoned) Unwrap() error  { return e.error }
func (e *reasoned) Reason() Reason { return e.reason }
