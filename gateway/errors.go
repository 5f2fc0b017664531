package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/linking"
	"github.com/ipld/go-ipld-prime/schema"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/shoal-cdn/shoal/block"
)

// ErrNameNotFound is wrapped by the errors of [Names] when a name has no record,
// as opposed to a lookup that failed. A visitor gets 404 for the first and 502
// for the second. The corresponding errors of the IPFS libraries will do as well.
var ErrNameNotFound = errors.New("name not found")

// errRetrievalTimeout is the cause of a context that ended because content took
// too long, to tell it from the client's own leaving.
var errRetrievalTimeout = errors.New("retrieval timeout")

// statusClientGone is what the access log and the metrics show when the client
// left before the answer (nginx's number; it is never seen by anyone else).
const statusClientGone = 499

// retryBusy is what a client is told to wait when every place for misses is taken.
const retryBusy = 5 * time.Second

// failure is an error in the form a visitor may see, with the cause beside it for
// the access log. It deliberately does not unwrap: the libraries would take a
// missing block for a missing file and go looking for a _redirects rule.
type failure struct {
	status     int
	text       string
	retryAfter time.Duration
	cause      error
}

func (f *failure) Error() string { return f.text }

// forBoxo wraps f in the error types that boxo's handler takes status and
// Retry-After from.
func (f *failure) forBoxo() error {
	if f == nil {
		return nil
	}
	err := error(bgw.NewErrorStatusCode(f, f.status))
	if f.retryAfter > 0 {
		err = bgw.NewErrorRetryAfter(err, f.retryAfter)
	}
	return err
}

// write answers with f.
func (f *failure) write(w http.ResponseWriter) {
	h := w.Header()
	if f.retryAfter > 0 {
		h.Set("Retry-After", retrySeconds(f.retryAfter))
	}
	h.Set("Cache-Control", "no-store")
	http.Error(w, f.text, f.status)
}

// retrySeconds rounds up: a client that comes back too early is sent away again.
func retrySeconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// badCID is the failure for a CID that this edge cannot serve, whoever has it.
func badCID(err error) *failure {
	return &failure{status: http.StatusBadRequest, text: err.Error(), cause: err}
}

// fetchFailure says what a failed block fetch means to the visitor.
func fetchFailure(ctx context.Context, c cid.Cid, err error) *failure {
	f := &failure{cause: err}
	var unavailable *block.UnavailableError
	switch {
	case errors.Is(context.Cause(ctx), errRetrievalTimeout):
		f.status, f.text = http.StatusGatewayTimeout, fmt.Sprintf("block %s was not found in time", c)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		f.status, f.text = statusClientGone, "the client closed the request"
	case ipld.IsNotFound(err):
		f.status, f.text = http.StatusNotFound, fmt.Sprintf("block %s was not found", c)
	case errors.As(err, &unavailable):
		f.status, f.text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched: the origin failed", c)
		if unavailable.RetryAfter > 0 {
			f.status, f.retryAfter = http.StatusServiceUnavailable, unavailable.RetryAfter
			f.text = fmt.Sprintf("block %s cannot be fetched now: the origin is busy", c)
		}
	case errors.Is(err, block.ErrMismatch), errors.Is(err, block.ErrTooLarge):
		f.status, f.text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched: the origin sent wrong bytes", c)
	case errors.Is(err, block.ErrUnsupported):
		return badCID(err)
	case errors.Is(err, context.DeadlineExceeded):
		f.status, f.text = http.StatusGatewayTimeout, fmt.Sprintf("block %s was not found in time", c)
	default:
		f.status, f.text = http.StatusBadGateway, fmt.Sprintf("block %s could not be fetched", c)
	}
	return f
}

// nameFailure says what a failed name lookup means to the visitor.
func nameFailure(ctx context.Context, name string, err error) *failure {
	f := &failure{cause: err}
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		f.status, f.text = statusClientGone, "the client closed the request"
	case isNameNotFound(err):
		f.status, f.text = http.StatusNotFound, fmt.Sprintf("name %q has no record", name)
	case errors.Is(err, context.DeadlineExceeded):
		f.status, f.text = http.StatusGatewayTimeout, fmt.Sprintf("name %q was not resolved in time", name)
	case errors.Is(err, namesys.ErrResolveRecursion):
		// 400 is what the DNSLink gateway specification asks for.
		f.status, f.text = http.StatusBadRequest, fmt.Sprintf("name %q leads through too many names", name)
	case errors.Is(err, ipns.ErrInvalidName):
		f.status, f.text = http.StatusBadRequest, fmt.Sprintf("%q is not a name that can be resolved", name)
	case errors.Is(err, routing.ErrNotSupported):
		f.status, f.text = http.StatusNotImplemented, fmt.Sprintf("name %q: this edge is not set up to resolve names of this kind", name)
	default:
		f.status, f.text = http.StatusBadGateway, fmt.Sprintf("name %q could not be resolved", name)
	}
	return f
}

func isNameNotFound(err error) bool {
	return errors.Is(err, ErrNameNotFound) || errors.Is(err, routing.ErrNotFound) ||
		errors.Is(err, namesys.ErrMissingDNSLinkRecord)
}

// asFailure finds the failure in what boxo passed along.
func asFailure(err error) (*failure, bool) {
	var f *failure
	ok := errors.As(err, &f)
	return f, ok
}

// errBusy is the failure of a request that finds no place among the misses.
func errBusy(limit int) *failure {
	return &failure{
		status:     http.StatusServiceUnavailable,
		text:       "this edge is fetching too much at once; try again soon",
		retryAfter: retryBusy,
		cause:      fmt.Errorf("%d requests wait for content already (gateway.max_requests)", limit),
	}
}

// internalError is the failure that a panic becomes.
func internalError(p any) *failure {
	return &failure{status: http.StatusInternalServerError, text: "internal error", cause: fmt.Errorf("panic: %v", p)}
}

// contentFailure is the failure of content that is there and cannot be read; nil
// for the errors that boxo has a status for.
func contentFailure(p path.ImmutablePath, err error) *failure {
	if hasStatus(err) {
		return nil
	}
	var setup linking.ErrLinkingSetup
	if errors.As(err, &setup) {
		return &failure{
			status: http.StatusNotImplemented, cause: err,
			text: fmt.Sprintf("content %s is in a format that this gateway cannot look into", abbreviate(p.String())),
		}
	}
	return &failure{
		status: http.StatusUnprocessableEntity, cause: err,
		text: fmt.Sprintf("content %s cannot be read: %s", abbreviate(p.String()), abbreviate(err.Error())),
	}
}

// rulesFailure is the failure of a site's _redirects file that cannot be used. The
// specification has 500 for it, and has it say what is wrong.
func rulesFailure(err error) *failure {
	return &failure{
		status: http.StatusInternalServerError, cause: err,
		text: "could not parse _redirects: " + abbreviate(err.Error()),
	}
}

// hasStatus recognises what boxo answers with a status other than 500.
func hasStatus(err error) bool {
	var (
		code      *bgw.ErrorStatusCode
		wrongKind datamodel.ErrWrongKind
		noEntry   datamodel.ErrNotExists
		noField   schema.ErrNoSuchField
	)
	return errors.As(err, &code) || errors.Is(err, &resolver.ErrNoLink{}) || errors.Is(err, &cid.ErrInvalidCid{}) ||
		ipld.IsNotFound(err) || errors.As(err, &wrongKind) || errors.As(err, &noEntry) || errors.As(err, &noField) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
