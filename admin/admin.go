package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shoal-cdn/shoal/problem"
)

// How long the server waits for a sender, apart from an import's body.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	answerTimeout = time.Minute // for writing a short answer
	maxHeader     = 64 << 10    // bytes
)

// Admin is the admin API. Make one with [New].
type Admin struct {
	opts    Options
	deps    Deps
	log     *slog.Logger
	page    page
	token   atomic.Pointer[[sha256.Size]byte] // the hash of Options.Token; nil for none
	bound   atomic.Pointer[net.Addr]          // where it listens
	slots   chan struct{}                     // one for each import under way
	handler http.Handler
	server  *http.Server
	stop    context.CancelCauseFunc // ends every request
	ending  atomic.Bool             // see LameDuck
}

var errShutdown = errors.New("this edge is shutting down")

// New returns an API that [Admin.Serve] opens, or an error when the options are
// not valid.
func New(opts Options, deps Deps, log *slog.Logger) (*Admin, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Import == nil || deps.Purge == nil || deps.Fleet == nil || deps.Pins == nil || deps.Resolve == nil || deps.Reload == nil ||
		deps.Stats == nil || deps.Ready == nil || deps.URL == nil || deps.Gatherer == nil {
		return nil, errors.New("admin: a dependency is missing")
	}
	a := &Admin{opts: opts, deps: deps, log: log, page: newPage(), slots: make(chan struct{}, opts.MaxImports)}
	a.setToken(opts.Token)
	a.handler = a.routes()
	ctx, stop := context.WithCancelCause(context.Background())
	a.stop = stop
	a.server = &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return a, nil
}

// routes is the table in the package's documentation.
func (a *Admin) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(a.recoverPanics, secureHeaders, a.endConnection, a.crossOrigin)
	r.HandleFunc("/pins", a.service)
	r.HandleFunc("/pins/*", a.service)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, problem.NotFound, "nothing is at "+clip(r.URL.Path))
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		writeError(w, problem.MethodNotAllowed, r.Method+" is not possible here")
	})
	r.Group(func(r chi.Router) {
		r.Use(answerInTime)
		r.Get("/healthz", a.healthz)
		r.Get("/readyz", a.readyz)
		r.With(a.localHost).Get("/", a.page.ServeHTTP)
	})
	r.Group(func(r chi.Router) {
		r.Use(a.localHost, a.bearer)
		r.Post("/api/v1/add", a.add)
		r.Post("/api/v1/purge", a.purge)
		a.pinRoutes(r)
		r.Post("/api/v1/reload", a.reload)
		r.With(answerInTime).Get("/api/v1/stats", a.stats)
		r.With(answerInTime).Get("/api/v1/swarm", a.members)
		r.With(answerInTime).Get("/api/v1/swarm/where", a.where)
		r.With(answerInTime).Method(http.MethodGet, "/metrics", promhttp.HandlerFor(a.deps.Gatherer, promhttp.HandlerOpts{}))
		r.Get("/debug/pprof/*", pprof.Index)
		r.Get("/debug/pprof/cmdline", pprof.Cmdline)
		r.Get("/debug/pprof/profile", pprof.Profile)
		r.Get("/debug/pprof/symbol", pprof.Symbol)
		r.Get("/debug/pprof/trace", pprof.Trace)
	})
	return r
}

// ServeHTTP answers one request: for tests, and other servers.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Serve answers on ln until ctx ends or Shutdown is called, and closes ln. When
// ctx ends it lets requests finish for Options.DrainTimeout. It returns nil after
// an orderly end; it may be called once.
func (a *Admin) Serve(ctx context.Context, ln net.Listener) error {
	addr := ln.Addr()
	if err := mayListen(addr, a.token.Load() != nil); err != nil {
		return errors.Join(err, ln.Close())
	}
	a.bound.Store(&addr)
	done := make(chan error, 1)
	go func() { done <- a.server.Serve(ln) }()
	a.log.Info("admin API listening", "listen", ln.Addr().String(), "token", a.token.Load() != nil)
	select {
	case err := <-done:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve admin on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.DrainTimeout)
	defer cancel()
	err := a.Shutdown(drain)
	<-done
	return err
}

// LameDuck has every answer from now on be the last of its connection, so that nobody
// sends a request just when this listener closes.
func (a *Admin) LameDuck() { a.ending.Store(true) }

// endConnection says so to the client (RFC 9112, section 9.6).
func (a *Admin) endConnection(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.ending.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// Prepare checks new options and returns what puts them in force, which cannot fail.
// Only the token may change; the other fields stay what New was given.
func (a *Admin) Prepare(opts Options) (apply func(), err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if addr := a.bound.Load(); addr != nil {
		if err := mayListen(*addr, opts.Token != ""); err != nil {
			return nil, err
		}
	}
	return func() { a.setToken(opts.Token) }, nil
}

func (a *Admin) setToken(token string) {
	if token == "" {
		a.token.Store(nil)
		return
	}
	hash := sha256.Sum256([]byte(token))
	a.token.Store(&hash)
}

// mayListen repeats the check of Validate with the address that was really bound.
func mayListen(addr net.Addr, token bool) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || token || tcp.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("admin.listen: %s can be reached from other machines, which needs a token: set admin.token, or listen on 127.0.0.1", addr)
}

// Shutdown stops accepting connections and waits for requests to end. When ctx
// ends first, those left are cancelled and their connections closed; what they
// were importing is dropped.
func (a *Admin) Shutdown(ctx context.Context) error {
	defer a.stop(errShutdown)
	if err := a.server.Shutdown(ctx); err != nil {
		a.stop(errShutdown)
		a.log.Warn("admin API closed with requests under way", "error", err)
		return a.server.Close()
	}
	return nil
}
