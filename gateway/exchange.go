package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
)

// exchange is what is known about one request and its answer: the header, the metrics and
// the access log are made from it. One goroutine uses it.
type exchange struct {
	start  time.Time
	sites  *siteTable
	reads  *answer.Reads // nil for what is answered from memory
	client netip.Addr    // who asks, past the trusted proxies
	https  bool          // the client's connection is encrypted, as a trusted proxy says
	label  string        // the metrics' site label
	host   string        // what was asked for, past the trusted proxies, as it was written
	uri    string        // the request target as it was sent
	opens  door          // what host opens
	moves  uint64        // how often sites' content had moved when the request came in
	bySite bool          // the policy allows it because a site has it
	partly bool          // and below that site's path only

	generation uint64 // of the store when the request came in
	path       string // the content path
	named      *nameAnswer

	source    block.Source // where a hit came from
	status    int
	bytes     int64         // of content, sent
	firstByte time.Duration // until it left
	failure   *answer.Failure
	err       error // of the connection
	cut       bool  // the connection must be cut: the answer is not whole
	plain     bool  // see isPlain
	wire      *wire // the connection, in the hot lane
	last      bool  // the answer says that the connection ends
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// handle has next answer the request that x is about.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request, x *exchange, next http.HandlerFunc) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), exchangeKey{}, x), g.opts.RequestTimeout)
	defer cancel()
	x.reads = g.source.Begin(x.start)
	g.metrics.inFlight.Add(1)
	defer func() { g.conclude(recover(), w, r, x, nil) }()
	g.boundBody(w, r)
	next(w, r.WithContext(ctx))
}

// conclude accounts for a request, however it ended; p is what was recovered.
func (g *Gateway) conclude(p any, w http.ResponseWriter, r *http.Request, x *exchange, line slog.Handler) {
	g.recovered(p, w, x)
	if x.reads != nil {
		x.reads.End()
	}
	g.metrics.inFlight.Add(-1)
	g.account(x, r, line)
	switch {
	case x.wire != nil: // the hot lane closes its connections itself
	case x.cut:
		abort(r)
		panic(http.ErrAbortHandler)
	default:
		g.takeBack(w, r, x)
	}
}

// boundBody keeps a client from holding the connection with a body that never
// arrives: the server would wait for it after the answer. Nothing here asks for a body,
// so the connection ends with its answer: what follows could be a request that was
// smuggled in (RFC 9110, section 9.3.1), and it must end where Transfer-Encoding stands
// beside Content-Length (RFC 9112, section 6.1).
func (g *Gateway) boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.opts.ReadHeaderTimeout))
	if r.ProtoMajor == 1 {
		w.Header()["Connection"] = connectionClose
	}
}

// recovered answers a panic with a plain 500, or when the answer has begun
// already, marks the connection as to be cut.
func (g *Gateway) recovered(p any, w http.ResponseWriter, x *exchange) {
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		g.log.Error("panic while answering a request", "panic", p, "stack", string(debug.Stack()))
	}
	if x.failure == nil {
		x.failure = answer.InternalError(p)
	}
	if p == http.ErrAbortHandler || x.status != 0 {
		x.cut = true
		return
	}
	g.fail(w, x, x.failure)
}

// cacheLabel is the metrics' cache label: the farthest place that content came from.
func (x *exchange) cacheLabel() string {
	src, none := x.source, false
	if x.reads != nil {
		src, none = x.reads.Farthest()
	}
	switch {
	case none:
		return "none"
	case src == block.Memory:
		return "hit"
	}
	return src.String()
}

// Cache-Status (RFC 9211) of what needed no block, and of what needed none from beyond
// memory.
var (
	statusNone = []string{"shoal; detail=none"}
	statusHit  = []string{"shoal; hit"}
)

// cacheStatus is the Cache-Status of the answer. A failure is no hit, whatever was read
// before it.
func (x *exchange) cacheStatus() []string {
	label := x.cacheLabel()
	switch {
	case x.failure != nil && x.failure.Fetched:
		return []string{"shoal; fwd=uri-miss; detail=failed"}
	case x.failure != nil, label == "none":
		return statusNone
	case label == "hit":
		return statusHit
	}
	return []string{"shoal; fwd=uri-miss; detail=" + label}
}
