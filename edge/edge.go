package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/gateway"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/metric"
	"github.com/shoal-cdn/shoal/names"
	"github.com/shoal-cdn/shoal/origin"
	"github.com/shoal-cdn/shoal/pin"
	"github.com/shoal-cdn/shoal/pin/release"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/swarm"
	"github.com/shoal-cdn/shoal/swarm/placement"
	"github.com/shoal-cdn/shoal/task"
	"github.com/shoal-cdn/shoal/work"
)

// Build says which program runs the edge.
type Build struct {
	// Version is shown in metrics, statistics and the log.
	Version string
	// Log takes every component's lines.
	Log *slog.Logger
	// Load reads the settings again, from wherever they came; nil for an edge that
	// cannot be reloaded.
	Load func() (config.Config, error)
	// Reloaded, if not nil, takes over what of new settings concerns the process and
	// not the edge: the level of the log, the limit of the memory. It cannot fail.
	Reloaded func(config.Config)
}

// NewSecret returns a new secret for a fleet, in one line.
func NewSecret() string { return swarm.NewSecret() }

// Edge is one edge: all of its components, and its two listeners.
type Edge struct {
	cfg     atomic.Pointer[config.Config] // in force; replaced by Reload
	build   Build
	started time.Time
	metrics *prometheus.Registry

	store   *blockstore.Store
	swarm   *swarm.Swarm
	origins *origin.Set
	names   *names.Names
	pins    *pin.Pins
	sites   *release.Follower
	service *service.Service
	cache   *cache.Cache
	gateway *gateway.Gateway
	ingest  *ingest.Ingester
	admin   *admin.Admin

	public, operator *lingeringListener

	serving atomic.Bool

	reloading  sync.Mutex // one reload at a time
	reloadedOK prometheus.Gauge
	reloadedAt prometheus.Gauge

	// closers undo New, last first.
	closers []func() error
}

// New builds an edge and opens its listeners; it serves nobody until [Edge.Run].
// An error is a mistake in the set-up: a folder in use, an archive that is not
// there, an address that cannot be listened on. Nothing stays open then.
func New(cfg config.Config, build Build) (*Edge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Edge{build: build, started: time.Now(), metrics: prometheus.NewRegistry()}
	e.cfg.Store(&cfg)
	for _, step := range []func() error{
		e.openMetrics, e.openStore, e.openCache, e.openSwarm, e.openOrigins, e.openNames, e.openPins, e.openSites, e.openGateway, e.openAdmin, e.listen,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// onClose has Close call f, before whatever was opened earlier is closed.
func (e *Edge) onClose(f func() error) { e.closers = append(e.closers, f) }

func (e *Edge) openMetrics() error {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shoal_build_info", Help: "Always 1; the labels say which edge and which program this is.",
		ConstLabels: prometheus.Labels{"version": e.build.Version, "edge": e.config().EdgeName()},
	})
	info.Set(1)
	e.reloadedOK = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shoal_config_last_reload_successful", Help: "Whether the settings that were read last are in force: 1 yes, 0 no.",
	})
	e.reloadedAt = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shoal_config_last_reload_success_timestamp_seconds", Help: "When settings were last put in force, as Unix time.",
	})
	e.reloadedOK.Set(1)
	e.reloadedAt.Set(float64(e.started.UnixMilli()) / 1000)
	_, err := metric.Register(e.metrics,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info, e.reloadedOK, e.reloadedAt)
	return err
}

func (e *Edge) openStore() (err error) {
	if e.store, err = blockstore.New(e.config().StoreOptions(), e.logOf("blockstore"), e.metrics); err != nil {
		return err
	}
	e.onClose(e.store.Close)
	e.ingest, err = ingest.New(ingest.DefaultOptions(), e.store, e.logOf("ingest"))
	return err
}

// openCache opens the read path, which the swarm completes.
func (e *Edge) openCache() error {
	admit, err := placement.NewAdmission(e.config().AdmissionOptions())
	if err != nil {
		return err
	}
	e.cache, err = cache.New(e.config().CacheOptions(), cache.Config{
		Disk: e.store, Admission: admit, Log: e.logOf("cache"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.cache.Close)
	return nil
}

// openSwarm opens this edge's part of the fleet. An edge that stands alone has one
// too: it is home to everything.
func (e *Edge) openSwarm() (err error) {
	e.swarm, err = swarm.New(e.config().SwarmOptions(), swarm.Config{
		Local: e.cache, Log: e.logOf("swarm"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.swarm.Close)
	e.cache.Connect(e.swarm)
	return nil
}

func (e *Edge) openOrigins() (err error) {
	peers := func(addr string) (block.Getter, error) { return e.swarm.PeerOrigin(addr) }
	if e.origins, err = origin.New(e.config().OriginOptions(), peers, e.logOf("origin"), e.metrics); err != nil {
		return err
	}
	e.onClose(e.origins.Close)
	return nil
}

func (e *Edge) openNames() (err error) {
	if e.names, err = names.New(e.config().NamesOptions(), e.logOf("names"), e.metrics); err != nil {
		return err
	}
	e.onClose(e.names.Close)
	return nil
}

func (e *Edge) openGateway() (err error) {
	e.gateway, err = gateway.New(e.config().GatewayOptions(), gateway.Deps{
		Blocks: e.cache, Names: e.sites, Pins: e.pins, Memory: e.cache,
		Log: e.logOf("gateway"), Registry: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.gateway.Close)
	return nil
}

func (e *Edge) openAdmin() (err error) {
	resolver := ingest.Resolver{Blocks: e.cache, Names: e.names.Resolve, Timeout: func() time.Duration { return time.Duration(e.config().Gateway.RetrievalTimeout) }}
	e.admin, err = admin.New(e.config().AdminOptions(), admin.Deps{
		Import: e.ingest, Purge: e.purge, Fleet: e.swarm, Pins: e.pins, Resolve: resolver.Resolve, PinService: e.service, Reload: e.Reload,
		Stats: e.Stats, Ready: e.ready, URL: e.urlOf, Gatherer: e.metrics,
	}, e.logOf("admin"))
	if err != nil {
		return err
	}
	for method, handler := range e.admin.Handlers() {
		e.swarm.Handle(method, handler)
	}
	return nil
}

// purge makes this edge forget what a path names.
func (e *Edge) purge(ctx context.Context, path string, unpin bool) (task.PurgeResult, error) {
	defer e.gateway.Forget() // whatever was deleted, even when something could not be
	return e.ingest.Purge(ctx, e.cache, path, unpin)
}

func (e *Edge) listen() (err error) {
	if e.public, err = e.open("gateway.listen", e.config().Gateway.Listen); err != nil {
		return err
	}
	e.operator, err = e.open("admin.listen", e.config().Admin.Listen)
	return err
}

// open listens on the address that a setting names.
func (e *Edge) open(setting, address string) (*lingeringListener, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	l := linger(tcp)
	e.onClose(l.end)
	return l, nil
}

// config returns the settings that are in force.
func (e *Edge) config() *config.Config { return e.cfg.Load() }

// logOf returns the log of a component.
func (e *Edge) logOf(name string) *slog.Logger { return e.build.Log.With("component", name) }

// GatewayAddr returns the address on which visitors are served.
func (e *Edge) GatewayAddr() net.Addr { return e.public.Addr() }

// AdminAddr returns the address on which the operator is served.
func (e *Edge) AdminAddr() net.Addr { return e.operator.Addr() }

// SwarmAddrs returns the multiaddrs on which siblings and guests are served, each
// with this edge's peer ID; none for an edge that has neither.
func (e *Edge) SwarmAddrs() []string { return e.swarm.Addrs() }

// Members returns this edge and the siblings that it knows of.
func (e *Edge) Members() []member.Member { return e.swarm.Members() }

// Run serves until ctx ends, then drains and returns nil if every request in flight was
// finished and the clients have acknowledged all that they were sent. The admin API
// closes last, so that readiness can be watched to the end. Run is called once.
func (e *Edge) Run(ctx context.Context) error {
	e.build.Log.Info("serving", "edge", e.config().EdgeName(), "version", e.build.Version,
		"gateway", e.public.Addr().String(), "admin", e.operator.Addr().String(),
		"swarm", e.swarm.Addrs(), "sites", len(e.config().Sites), "origins", e.origins.Len(), "serve", e.config().Gateway.Serve)
	e.swarm.Start(e.origins)
	e.pins.Start(e.swarm.Joined())
	e.sites.Start()
	group, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	gatewayCtx, drain := context.WithCancel(failed)
	operatorCtx, closeOperator := context.WithCancel(failed)
	group.Go(func() error { return e.serveOperator(operatorCtx) })
	select {
	case <-e.swarm.Joined():
	case <-ctx.Done():
	}
	e.serving.Store(true)
	group.Go(func() error {
		defer closeOperator()
		return e.serveVisitors(gatewayCtx)
	})

	select {
	case <-ctx.Done():
		e.lameDuck(failed)
		e.build.Log.Info("draining: requests in flight may finish", "at_most", e.config().Gateway.DrainTimeout.String())
	case <-failed.Done():
		e.serving.Store(false)
	}
	e.leave()
	drain()
	err := group.Wait()
	closeOperator()
	if err == nil {
		e.build.Log.Info("stopped", "edge", e.config().EdgeName())
	}
	return err
}

// serveVisitors serves the gateway until ctx ends, and then until the last client has
// its answer, for as long as gateway.drain_timeout at most.
func (e *Edge) serveVisitors(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- e.gateway.Serve(ctx, e.public) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(e.config().Gateway.DrainTimeout))
	defer cancel()
	err := <-served
	return errors.Join(err, e.public.wait(bound))
}

// answersWithin bounds how long a stop waits for the operator's clients to receive what
// they were sent. It is short: imports were waited for already.
const answersWithin = 2 * time.Second

// serveOperator serves the admin API until ctx ends, and then until the last client
// has its answer.
func (e *Edge) serveOperator(ctx context.Context) error {
	err := e.admin.Serve(ctx, e.operator)
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), answersWithin)
	defer cancel()
	return errors.Join(err, e.operator.wait(bound))
}

// lameDuck goes on serving for the configured time, or until ctx ends, while it asks
// everybody to go elsewhere: a load balancer by the readiness, which it looks at now and
// then, and its clients by each answer.
func (e *Edge) lameDuck(ctx context.Context) {
	e.gateway.LameDuck()
	e.admin.LameDuck()
	e.serving.Store(false)
	delay := time.Duration(e.config().Gateway.ShutdownDelay)
	if delay <= 0 {
		return
	}
	e.build.Log.Info("not ready any more, and about to drain; a second signal ends this edge at once", "in", delay.String())
	_ = work.Pause(ctx, delay) // whoever stops us a second time has ended ctx
}

// leaveWithin bounds how long a stop waits for siblings to hear of it.
const leaveWithin = 2 * time.Second

// leave tells the siblings that this edge is about to stop, so that they ask others
// from now on. What they have asked already is still answered.
func (e *Edge) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	e.swarm.Drain(ctx)
}

// ready reports why this edge should get no traffic, or nil and what is wrong with its
// origins. That is no reason to send visitors elsewhere.
func (e *Edge) ready() (note string, err error) {
	if !e.serving.Load() {
		return "", errors.New("not serving: starting or draining")
	}
	return e.swarm.OriginTrouble(), nil
}

// Close releases everything that New opened. It is called after Run has returned,
// or instead of Run.
func (e *Edge) Close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}
