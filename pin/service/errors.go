package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/shoal-cdn/shoal/pin/record"
)

// Reasons that errors carry; the first three and InternalError are the document's own.
// An error of [Pins] has one when it, or an error that it wraps, has a method
// Reason() string that returns it; its text is then what the client reads.
const (
	BadRequest       = "BAD_REQUEST"           // 400
	Unauthorized     = "UNAUTHORIZED"          // 401
	NotFound         = "NOT_FOUND"             // 404
	MethodNotAllowed = "METHOD_NOT_ALLOWED"    // 405
	Conflict         = "CONFLICT"              // 409
	Stalled          = "REQUEST_TIMEOUT"       // 408
	TooLarge         = "CONTENT_TOO_LARGE"     // 413
	Unsupported      = "UNSUPPORTED_TYPE"      // 415
	Busy             = "TOO_MANY_REQUESTS"     // 429
	InternalError    = "INTERNAL_SERVER_ERROR" // 500
	Unavailable      = "UNAVAILABLE"           // 503
	StorageFull      = "INSUFFICIENT_STORAGE"  // 507
)

// statusGone is for the log and the metrics: nobody reads the answer.
const statusGone = 499

// Reasons returns the reasons that an error may have, with their HTTP status.
func Reasons() map[string]int {
	return map[string]int{
		BadRequest:       http.StatusBadRequest,
		Unauthorized:     http.StatusUnauthorized,
		NotFound:         http.StatusNotFound,
		MethodNotAllowed: http.StatusMethodNotAllowed,
		Conflict:         http.StatusConflict,
		Stalled:          http.StatusRequestTimeout,
		TooLarge:         http.StatusRequestEntityTooLarge,
		Unsupported:      http.StatusUnsupportedMediaType,
		Busy:             http.StatusTooManyRequests,
		InternalError:    http.StatusInternalServerError,
		Unavailable:      http.StatusServiceUnavailable,
		StorageFull:      http.StatusInsufficientStorage,
	}
}

// problem is an error as the client gets it.
type problem struct {
	status          int
	reason, details string
	header          [2]string // one more header; empty for none
	cause           error     // for the log
}

func (p *problem) Error() string { return p.reason + ": " + p.details }
func (p *problem) Unwrap() error { return p.cause }

func badRequest(format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, reason: BadRequest, details: fmt.Sprintf(format, args...)}
}

// problemOf returns what the client is told of err.
func problemOf(ctx context.Context, err error) *problem {
	var own *problem
	var reasoned interface {
		error
		Reason() string
	}
	retry := [2]string{"Retry-After", "5"}
	switch {
	case errors.As(err, &own):
		return own
	case ctx.Err() != nil:
		return &problem{status: statusGone, reason: Unavailable, details: "the client went away", cause: err}
	case errors.Is(err, record.ErrNotFound):
		return &problem{status: http.StatusNotFound, reason: NotFound, details: "this token has no pin with this requestid"}
	case errors.As(err, &reasoned):
		if status, ok := Reasons()[reasoned.Reason()]; ok && status != http.StatusInternalServerError {
			return &problem{status: status, reason: reasoned.Reason(), details: err.Error(), cause: err}
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{status: http.StatusServiceUnavailable, reason: Unavailable, details: "no answer in time: try again", header: retry, cause: err}
	}
	return &problem{status: http.StatusInternalServerError, reason: InternalError, details: "the edge's log has what happened", cause: err}
}

// bodyProblem returns what the client is told when its body cannot be read.
func bodyProblem(err error, limit int64) *problem {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{
			status: http.StatusRequestEntityTooLarge, reason: TooLarge,
			details: fmt.Sprintf("the body has more than %d bytes", limit), header: [2]string{"Connection", "close"},
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{
			status: http.StatusRequestTimeout, reason: Stalled,
			details: "the body did not come in time", header: [2]string{"Connection", "close"}, cause: err,
		}
	}
	return &problem{status: http.StatusBadRequest, reason: BadRequest, details: "the body ended too early", cause: err}
}

// clip keeps what a client sent short in what it is told.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}
