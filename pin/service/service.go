package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
)

// Pins keeps the pins of each owner. A pin of another owner does not exist for it:
// [record.ErrNotFound]. All of it may be called from many goroutines at once.
//
// A [record.View] has at least one delegate, each a multiaddr that ends in /p2p/ID:
// the document asks for it, and Kubo gives up when one has no peer ID. An edge that
// listens nowhere can give /p2p/ID alone. Only the first 20 are sent.
type Pins interface {
	// Add makes a pin, durably, and returns it without waiting for its content. The
	// same CID may be pinned any number of times.
	Add(ctx context.Context, owner string, request record.Request) (record.View, error)
	Get(ctx context.Context, owner, id string) (record.View, error)
	// Replace makes a pin and removes the one called id, in one step.
	Replace(ctx context.Context, owner, id string, request record.Request) (record.View, error)
	Remove(ctx context.Context, owner, id string) error
	// List returns the newest Limit pins that match, and the number of all that do.
	List(ctx context.Context, owner string, query record.Query) (record.Page, error)
}

// Service is the pinning service, an http.Handler for /pins and all below it. Make
// one with [New]. It is safe for concurrent use.
type Service struct {
	opts    Options
	pins    Pins
	log     *slog.Logger
	metrics *metrics

	changing sync.Mutex // held by SetTokens
	keys     atomic.Pointer[[]key]
}

// New returns a service for the pins that pins keeps, or an error when the options
// are not valid or the metrics cannot be registered. reg may be nil.
func New(opts Options, pins Pins, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if pins == nil || log == nil {
		return nil, errors.New("pin service: a dependency is missing")
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("pin service: %w", err)
	}
	s := &Service{opts: opts, pins: pins, log: log, metrics: m}
	return s, s.SetTokens(opts.Tokens)
}

// maxID is the longest requestid that is looked for, in bytes.
const maxID = 128

// endpoint is one line of the table in the package's documentation.
type endpoint struct {
	name string // in metrics and in the log
	do   func(*Service, *call) (status int, body any, err error)
}

// call is one request on its way.
type call struct {
	r     *http.Request
	w     http.ResponseWriter // for reading the body; only write writes to it
	name  string              // of the endpoint
	owner string
	id    string // the requestid in the path, or of the new pin
	old   string // the requestid of the pin that was replaced, for the log
	cid   string // what is to be pinned, for the log
}

// route returns the endpoint and the requestid for a method and a path.
func route(method, path string) (e endpoint, id string, err error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rest, found := strings.CutPrefix(path, "/pins")
	id, below := strings.CutPrefix(rest, "/")
	if !found || rest != "" && !below || strings.Contains(id, "/") {
		return endpoint{name: "other"}, "", &refusal{reason: problem.NotFound, details: "nothing is at " + clip(path)}
	}
	table, allow := map[string]endpoint{
		http.MethodGet:  {"list", (*Service).list},
		http.MethodPost: {"add", (*Service).add},
	}, "GET, HEAD, POST, OPTIONS"
	if id != "" {
		table, allow = map[string]endpoint{
			http.MethodGet:    {"get", (*Service).get},
			http.MethodPost:   {"replace", (*Service).replace},
			http.MethodDelete: {"remove", (*Service).remove},
		}, "GET, HEAD, POST, DELETE, OPTIONS"
	}
	if e, ok := table[method]; ok {
		return e, id, nil
	}
	return endpoint{name: "other"}, id, &refusal{
		reason:  problem.MethodNotAllowed,
		details: clip(method) + " is not possible here", header: [2]string{"Allow", allow},
	}
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	c := &call{r: r, w: w}
	status, body, err := s.answer(c)
	if err != nil {
		status, body = s.fail(w, refusalOf(r.Context(), err))
	}
	s.write(w, status, body)
	s.observe(c, status, err, time.Since(begun))
}

// answer works on a request. A panic becomes an error.
func (s *Service) answer(c *call) (status int, body any, err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		s.log.Error("panic in the pinning service", "endpoint", c.name, "panic", v, "stack", string(debug.Stack()))
		err = fmt.Errorf("panic: %v", v)
	}()
	e, id, lost := route(c.r.Method, c.r.URL.Path)
	c.name, c.id = e.name, id
	if c.r.Method == http.MethodOptions {
		c.name = "options"
		return s.preflight(c)
	}
	k, err := s.authenticate(c.r)
	if err != nil {
		return 0, nil, err
	}
	c.owner = k.owner
	if lost != nil {
		return 0, nil, lost
	}
	if err := s.enter(c.r.Context(), k); err != nil {
		return 0, nil, err
	}
	defer func() { <-k.slots }()
	return e.do(s, c)
}

// enter waits until a request of this key may be worked on.
func (s *Service) enter(ctx context.Context, k key) error {
	select {
	case k.slots <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(queueTimeout)
	defer timeout.Stop()
	select {
	case k.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return &refusal{
			reason:  problem.Busy,
			details: fmt.Sprintf("%d requests of this token are under way: try again", cap(k.slots)), header: [2]string{"Retry-After", "5"},
		}
	}
}
