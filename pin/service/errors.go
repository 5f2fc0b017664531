package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
)

// statusGone is for the log and the metrics: nobody reads the answer.
const statusGone = 499

// refusal is an error as the client gets it.
type refusal struct {
	gone    bool // the client is: the status is for the log only
	reason  problem.Reason
	details string
	header  [2]string // one more header; empty for none
	cause   error     // for the log
}

// status returns the HTTP status.
func (p *refusal) status() int {
	if p.gone {
		return statusGone
	}
	return p.reason.Status()
}

func (p *refusal) Error() string { return string(p.reason) + ": " + p.details }
func (p *refusal) Unwrap() error { return p.cause }

func badRequest(format string, args ...any) *refusal {
	return &refusal{reason: problem.BadRequest, details: fmt.Sprintf(format, args...)}
}

// refusalOf returns what the client is told of err.
func refusalOf(ctx context.Context, err error) *refusal {
	var own *refusal
	retry := [2]string{"Retry-After", "5"}
	switch {
	case errors.As(err, &own):
		return own
	case ctx.Err() != nil:
		return &refusal{gone: true, reason: problem.Unavailable, details: "the client went away", cause: err}
	case errors.Is(err, record.ErrNotFound):
		return &refusal{reason: problem.NotFound, details: "this token has no pin with this requestid"}
	case problem.Of(err) != problem.Internal:
		return &refusal{reason: problem.Of(err), details: err.Error(), cause: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal{reason: problem.Unavailable, details: "no answer in time: try again", header: retry, cause: err}
	}
	return &refusal{reason: problem.Internal, details: "the edge's log has what happened", cause: err}
}

// bodyRefusal returns what the client is told when its body cannot be read.
func bodyRefusal(err error, limit int64) *refusal {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &refusal{
			reason:  problem.TooLarge,
			details: fmt.Sprintf("the body has more than %d bytes", limit), header: [2]string{"Connection", "close"},
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{
			reason:  problem.Stalled,
			details: "the body did not come in time", header: [2]string{"Connection", "close"}, cause: err,
		}
	}
	return &refusal{reason: problem.BadRequest, details: "the body ended too early", cause: err}
}

// clip keeps what a client sent short in what it is told.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}
