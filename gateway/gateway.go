package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
	"github.com/shoal-cdn/shoal/gateway/coding"
	"github.com/shoal-cdn/shoal/gateway/hot"
)

// Deps are the other rooms, as far as the gateway needs them.
type Deps struct {
	Blocks Blocks
	Names  Names
	Pins   Pins // nil when nothing can be pinned
	// Memory lends what finished answers are kept in; nil when nobody minds.
	Memory Memory
	Log    *slog.Logger
	// Registry takes the metrics; nil leaves them unregistered.
	Registry prometheus.Registerer
}

// The interfaces of other rooms' parts, as far as the gateway needs them.
type (
	// Blocks is where content comes from.
	Blocks = answer.Blocks
	// PartViewer is what [Blocks] may offer besides.
	PartViewer = answer.PartViewer
	// Memory is where blocks are kept in memory, and a budget that the gateway may take a
	// part of, see [Options.HotBytes].
	Memory = hot.Memory
)

// ErrNameNotFound is wrapped by the errors of [Names] when a name has no record.
var ErrNameNotFound = answer.ErrNameNotFound

// Names is what names point to now. Its errors wrap [ErrNameNotFound] when a
// name has no record, and the context's error when time was up. All methods may
// be called from many goroutines at once.
type Names interface {
	// Resolve follows IPNS names and DNSLinks until the path is immutable. It
	// also returns for how long the answer holds; zero when that is not known.
	Resolve(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error)
	// Record returns the signed IPNS record of name, verified.
	Record(ctx context.Context, name ipns.Name) ([]byte, error)
	// DNSLink returns what the DNSLink record of a domain points to, without
	// following it further.
	DNSLink(ctx context.Context, fqdn string) (path.Path, time.Duration, error)
}

type noMemory struct{}

func (noMemory) Lend(int64)                    {}
func (noMemory) Hold(...*block.Verified) int64 { return 0 }
func (noMemory) Release(...cid.Cid) int64      { return 0 }
func (noMemory) Use(...cid.Cid)                {}

// Gateway is the public door. It is an http.Handler; [Gateway.Serve] puts it
// behind a server with the right time limits.
type Gateway struct {
	opts    Options
	log     *slog.Logger
	pins    Pins
	names   Names
	memory  Memory
	metrics *metrics
	source  *answer.Source
	builder *answer.Builder
	trees   *treeIndex
	pace    *pacer

	replacing sync.Mutex // held while what follows is replaced
	sites     atomic.Pointer[siteTable]
	hotBodies atomic.Bool

	moves   atomic.Uint64 // how often a site's content moved
	hot     *hot.Store    // nil when nothing is kept
	coder   *coding.Coder // nil when nothing is encoded
	buffers sync.Pool     // of *[]byte, for answers

	readBuffers sync.Pool // of *[]byte, for requests

	// draining has every answer tell its client that the connection ends, see LameDuck.
	draining atomic.Bool
	lookups  singleflight.Group

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	servers map[*http.Server]*wires
	down    bool
}

// New makes the public door. It starts nothing: no goroutine runs until the first
// request.
func New(opts Options, deps Deps) (*Gateway, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Blocks == nil || deps.Names == nil || deps.Log == nil {
		return nil, errors.New("make the gateway: Deps.Blocks, Deps.Names and Deps.Log are needed")
	}
	if deps.Pins == nil {
		deps.Pins = noPins{}
	}
	if deps.Memory == nil {
		deps.Memory = noMemory{}
	}
	m, err := newMetrics(deps.Registry)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		opts: opts, log: deps.Log, pins: deps.Pins, names: deps.Names, metrics: m, memory: deps.Memory,
		source: answer.NewSource(deps.Blocks, opts.HotBytes/4, m.block), servers: map[*http.Server]*wires{},
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.pace = newPacer(g.ctx)
	if opts.HotBytes > 0 {
		g.hot = hot.New(opts.HotBytes, deps.Memory)
	}
	if opts.Compression {
		g.coder = coding.New(g.ctx, g.hotForms, m.compressed, deps.Log)
	}
	g.builder = answer.NewBuilder(g.source, g.hot, deps.Memory, opts.FetchParallel, opts.MaxResponseSize, opts.Compression)
	g.trees = newTreeIndex(g.ctx, g.source, g.rootCID, deps.Log)
	g.sites.Store(&siteTable{})
	apply, err := g.Prepare(opts)
	if err != nil {
		g.cancel()
		return nil, err
	}
	apply()
	return g, nil
}

// routes stacks the steps that doc.go describes, for requests that a table answers.
func (g *Gateway) routes(sites *siteTable) http.Handler {
	r := chi.NewRouter()
	r.Use(g.observe(sites), believeProxies, g.refuseProxying, g.identify)
	r.Get("/*", g.respond)
	r.Head("/*", g.respond)
	r.Options("/*", g.options)
	r.Connect("/*", g.tunnel)
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		g.methodNotAllowed(w, r, "this gateway is read-only")
	})
	return r
}

// observe is the outermost handler of what is answered by one table.
func (g *Gateway) observe(sites *siteTable) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := &exchange{
				start: time.Now(), label: labelOther, sites: sites, host: r.Host, uri: r.RequestURI,
				plain: isPlain(r), moves: g.moves.Load(), generation: g.hot.Generation(),
			}
			g.handle(w, r, x, next.ServeHTTP)
		})
	}
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.hot != nil {
		if _, ok := g.serveHot(w, nil, r); ok {
			return
		}
	}
	g.sites.Load().handler.ServeHTTP(w, r)
}

// Forget drops everything that is kept. It
// is for when content was purged: what stays is in memory again with the next request,
// without asking anyone.
func (g *Gateway) Forget() { g.hot.Clear() }

// Generating returns the bytes of memory that are taken for answers that are being made.
func (g *Gateway) Generating() int64 { return g.source.Remembering() }

// Waiting returns how many requests wait for content that is not held here.
func (g *Gateway) Waiting() int64 { return g.source.Waiting() }

// Sending returns the bytes of memory that are taken for large answers that are being sent.
func (g *Gateway) Sending() int64 { return g.source.Held() }

// Answering returns how many requests are being answered, those that wait among them.
func (g *Gateway) Answering() int64 { return g.metrics.inFlight.Load() }

// hotForms returns where encoded content is kept; nil while none may be.
func (g *Gateway) hotForms() *hot.Store {
	if g.hotBodies.Load() {
		return g.hot
	}
	return nil
}

// rootCID finds the CID at the end of a site's content path.
func (g *Gateway) rootCID(ctx context.Context, p path.ImmutablePath) (cid.Cid, error) {
	return g.builder.Root(ctx, g.source.Walk(), p)
}

// Close ends what runs in the background, cuts off the requests in flight, and
// waits for the former. For a graceful end, end the context of [Gateway.Serve] before.
func (g *Gateway) Close() error {
	g.cancel()
	g.mu.Lock()
	g.down = true
	var errs []error
	for s := range g.servers {
		errs = append(errs, s.Close())
	}
	g.mu.Unlock()
	g.trees.close()
	if g.coder != nil {
		g.coder.Close()
	}
	return errors.Join(errs...)
}

type noPins struct{}

func (noPins) Pinned(cid.Cid) bool { return false }
