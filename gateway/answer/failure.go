package answer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/shoal-cdn/shoal/block"
)

// ErrNameNotFound is wrapped by the errors of names that have no record, as opposed to
// look-ups that failed. A visitor gets 404 for the first and 502 for the second. The
// corresponding errors of the IPFS libraries will do as well.
var ErrNameNotFound = errors.New("name not found")

// errRetrievalTimeout is the cause of a context that ended because content took
// too long, to tell it from the client's own leaving.
var errRetrievalTimeout = errors.New("retrieval timeout")

const (
	// StatusClientGone is what the access log and the metrics show when the client
	// left before the answer (nginx's number; it is never seen by anyone else).
	StatusClientGone = 499

	// retryBusy is what a client is told to wait when every place is taken, and retryFailed
	// when content could not be had.
	retryBusy, retryFailed = 5 * time.Second, 10 * time.Second
)

// Failure is an error in the form a visitor may see, with the cause beside it for
// the access log: one plain sentence, and never an internal address.
type Failure struct {
	Status     int
	Text       string
	RetryAfter time.Duration // 0: nothing is said
	Cause      error
	// Fetched says that content was looked for beyond this edge.
	Fetched bool
}

// Error implements error.
func (f *Failure) Error() string { return f.Text }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Write answers with f. Nothing of it may be kept, and it repeats no more of the request
// than its text does.
func (f *Failure) Write(w http.ResponseWriter) {
	h := w.Header()
	retry := f.RetryAfter
	if retry == 0 && (f.Status == http.StatusBadGateway || f.Status == http.StatusGatewayTimeout) {
		retry = retryFailed
	}
	if retry > 0 {
		h.Set("Retry-After", retrySeconds(retry))
	}
	h.Set("Cache-Control", "no-store")
	http.Error(w, f.Text, f.Status)
}

// retrySeconds rounds up: a client that comes back too early is sent away again.
func retrySeconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// Refuse makes a failure of a status and a sentence.
func Refuse(status int, format string, args ...any) *Failure {
	return &Failure{Status: status, Text: fmt.Sprintf(format, args...)}
}

// BadCID is the failure for a CID that this edge cannot serve, whoever has it.
func BadCID(err error) *Failure {
	return &Failure{Status: http.StatusBadRequest, Text: err.Error(), Cause: err}
}

// fetchFailure says what a failed block fetch means to the visitor.
func fetchFailure(ctx context.Context, c cid.Cid, err error) *Failure {
	f := &Failure{Cause: err, Fetched: true}
	var unavailable *block.UnavailableError
	switch {
	case errors.Is(context.Cause(ctx), errRetrievalTimeout):
		f.Status, f.Text = http.StatusGatewayTimeout, fmt.Sprintf("block %s was not found in time", c)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		f.Status, f.Text = StatusClientGone, "the client closed the request"
	case ipld.IsNotFound(err):
		f.Status, f.Text = http.StatusNotFound, fmt.Sprintf("block %s was not found", c)
	case errors.As(err, &unavailable):
		f.Status, f.Text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched: the origin failed", c)
		if unavailable.RetryAfter > 0 {
			f.Status, f.RetryAfter = http.StatusServiceUnavailable, unavailable.RetryAfter
			f.Text = fmt.Sprintf("block %s cannot be fetched now: the origin is busy", c)
		}
	case errors.Is(err, block.ErrMismatch), errors.Is(err, block.ErrTooLarge):
		f.Status, f.Text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched: the origin sent wrong bytes", c)
	case errors.Is(err, block.ErrUnsupported):
		return BadCID(err)
	case errors.Is(err, context.DeadlineExceeded):
		f.Status, f.Text = http.StatusGatewayTimeout, fmt.Sprintf("block %s was not found in time", c)
	default:
		f.Status, f.Text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched", c)
	}
	return f
}

// NameFailure says what a failed name lookup means to the visitor.
func NameFailure(ctx context.Context, name string, err error) *Failure {
	f := &Failure{Cause: err, Fetched: true}
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		f.Status, f.Text = StatusClientGone, "the client closed the request"
	case IsNameNotFound(err):
		f.Status, f.Text = http.StatusNotFound, fmt.Sprintf("name %q has no record", name)
	case errors.Is(err, context.DeadlineExceeded):
		f.Status, f.Text = http.StatusGatewayTimeout, fmt.Sprintf("name %q was not resolved in time", name)
	case errors.Is(err, namesys.ErrResolveRecursion):
		// 400 is what the DNSLink gateway specification asks for.
		f.Status, f.Text = http.StatusBadRequest, fmt.Sprintf("name %q leads through too many names", name)
	case errors.Is(err, ipns.ErrInvalidName):
		f.Status, f.Text = http.StatusBadRequest, fmt.Sprintf("%q is not a name that can be resolved", name)
	case errors.Is(err, routing.ErrNotSupported):
		f.Status, f.Text = http.StatusNotImplemented, fmt.Sprintf("name %q: this edge is not set up to resolve names of this kind", name)
	default:
		f.Status, f.Text = http.StatusBadGateway, fmt.Sprintf("name %q could not be resolved", name)
	}
	return f
}

// IsNameNotFound reports whether an error says that a name has no record.
func IsNameNotFound(err error) bool {
	return errors.Is(err, ErrNameNotFound) || errors.Is(err, routing.ErrNotFound) ||
		errors.Is(err, namesys.ErrMissingDNSLinkRecord)
}

// ContentFailure is what a visitor sees of an error that came up while content was read:
// one of blocks, or of content that is there and is not what it says it is. Nobody can mend
// that here, so it is 422 and not 500.
func ContentFailure(err error) *Failure {
	var f *Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled):
		return &Failure{Status: StatusClientGone, Text: "the client closed the request", Cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Failure{Status: http.StatusGatewayTimeout, Text: "the content was not found in time", Cause: err, Fetched: true}
	case ipld.IsNotFound(err):
		return &Failure{Status: http.StatusNotFound, Text: "a block was not found", Cause: err, Fetched: true}
	}
	return &Failure{
		Status: http.StatusUnprocessableEntity, Cause: err,
		Text: "the content cannot be read: " + Abbreviate(err.Error()),
	}
}

// Busy is the failure of a request that finds no place among the misses.
func Busy(limit int) *Failure {
	return &Failure{
		Status:     http.StatusServiceUnavailable,
		Text:       "this edge is fetching too much at once; try again soon",
		RetryAfter: retryBusy,
		Cause:      fmt.Errorf("%d requests wait for content already (gateway.max_requests)", limit),
	}
}

// InternalError is the failure that a panic becomes.
func InternalError(p any) *Failure {
	return &Failure{Status: http.StatusInternalServerError, Text: "internal error", Cause: fmt.Errorf("panic: %v", p)}
}

// Abbreviate keeps what a visitor sent from filling an answer or a log line.
func Abbreviate(s string) string { return Truncate(s, 128) }

// Truncate cuts a text that has more than so many bytes.
func Truncate(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
