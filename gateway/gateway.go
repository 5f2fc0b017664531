package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/shoal-cdn/shoal/block"
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

// Memory is where blocks are kept in memory, and a budget that the gateway may take a
// part of, see [Options.HotBytes]. None of its methods may call back.
type Memory interface {
	// Lend takes so many bytes out of the budget, or with a negative number gives
	// them back. It is called seldom.
	Lend(bytes int64)
	// Hold keeps blocks that an answer stands for and shares its bytes with, and
	// Release lets them go again. They return how many bytes are held that were not
	// before, or no longer are.
	Hold(bs ...*block.Verified) (bytes int64)
	Release(ids ...cid.Cid) (bytes int64)
	// Use counts a use of blocks that something stands for which is kept.
	Use(ids ...cid.Cid)
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
	metrics *metrics
	misses  *missLimiter
	service *blockService
	backend *backend
	trees   *treeIndex
	memory  Memory

	replacing sync.Mutex // held while what follows is replaced
	sites     atomic.Pointer[siteTable]
	hotBodies atomic.Bool

	moves   atomic.Uint64 // how often a site's content moved
	hot     *hotStore     // nil when nothing is kept
	coder   *compressor   // nil when nothing is encoded
	timings timingTable
	buffers sync.Pool // of *[]byte, for hits

	// draining has every answer tell its client that the connection ends, see LameDuck.
	draining atomic.Bool
	lookups  singleflight.Group

	ended  context.Context // has ended: for reads that must not wait
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
		opts: opts, log: deps.Log, pins: deps.Pins, metrics: m,
		misses: &missLimiter{}, memory: deps.Memory,
		servers: map[*http.Server]*wires{},
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	ended, end := context.WithCancel(context.Background())
	end()
	g.ended = ended
	service := &blockService{
		blocks: deps.Blocks, misses: g.misses, pages: newPlaces(maxPages), exports: newPlaces(maxExports), metrics: m,
		parallel: opts.FetchParallel,
	}
	g.service = service
	if g.backend, err = newBackend(service, deps.Names, deps.Memory, opts, deps.Log); err != nil {
		g.cancel()
		return nil, err
	}
	if opts.HotBytes > 0 {
		g.hot = newHotStore(opts.HotBytes, deps.Memory)
	}
	if opts.Compression {
		g.coder = newCompressor(g.ctx, g.hotForms, m, deps.Log)
	}
	g.trees = newTreeIndex(g.ctx, service, g.rootCID, deps.Log)
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
	config := boxoConfig(g.opts)
	config.PublicGateways = publicGateways(sites.opts.Hosts)
	content := g.contain(g.guard(bgw.NewHandler(config, g.backend)))
	hostnames := bgw.NewHostnameHandler(config, g.backend, content)

	r := chi.NewRouter()
	r.Use(g.observe(sites), g.believeProxies, refuseProxying, g.identify,
		allowOrigins)
	r.Get("/*", hostnames)
	r.Head("/*", hostnames)
	r.Options("/*", hostnames)
	r.Connect("/*", tunnel)
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		methodNotAllowed(w, "this gateway is read-only")
	})
	return r
}

// corsFields let scripts of every origin read what is served here. They are the
// ones that boxo would set, and our own, in one line each: net/http writes lines.
var corsFields = []headerField{
	{"Access-Control-Allow-Headers", []string{"Content-Type, Range, User-Agent, X-Requested-With"}},
	{"Access-Control-Allow-Methods", []string{"GET, HEAD, OPTIONS"}},
	{"Access-Control-Allow-Origin", []string{"*"}},
	{"Access-Control-Expose-Headers", []string{"Cache-Status, Content-Length, Content-Range, Ipfs-Uri, " +
		"Server-Timing, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output"}},
}

func allowOrigins(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set(w.Header(), corsFields)
		next.ServeHTTP(w, r)
	})
}

// boxoConfig sets every limit of boxo's handler, each on purpose.
func boxoConfig(opts Options) bgw.Config {
	return bgw.Config{
		DeserializedResponses: true,
		// Deprecated by IPIP-0548 in favour of Ipfs-Uri; clients still read it.
		DeprecatedXIpfsPath: true,
		// 406 for a format that the block is not stored in, as IPIP-524 asks.
		AllowCodecConversion: false,
		// Whether a host is looked up is decided in backend.GetDNSLinkRecord,
		// where the sites are known.
		NoDNSLink: false,
		// Errors are one plain sentence. boxo's pages carry its project's menu
		// and links, which have no place on somebody's website.
		DisableHTMLErrors: true,
		// 0 turns boxo's own timeout off: it runs each request in a further
		// goroutine that goes on after the answer. blockService bounds the wait
		// for content instead, and the response writer the client's stalling.
		RetrievalTimeout: 0,
		// The bound from beginning to end; observe sets the same one earlier.
		MaxRequestDuration: opts.RequestTimeout,
		// 0 turns off boxo's limit, which would refuse hits too. missLimiter
		// counts the requests that wait for content from elsewhere.
		MaxConcurrentRequests: 0,
		// A range starts without reading what lies before it, so there is no
		// file too large for one.
		MaxRangeRequestFileSize: 0,
		// One bound for every format: an edge pays for bytes, not for formats.
		MaxDeserializedResponseSize: 0,
		MaxUnixFSDAGResponseSize:    opts.MaxResponseSize,
		// No link to a third party's diagnosis on error pages.
		DiagnosticServiceURL: "",
		// boxo's metrics stay private: what an operator needs, metrics has, under
		// names that will outlive boxo.
		MetricsRegistry: prometheus.NewRegistry(),
	}
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.hot != nil && g.serveHot(w, r) {
		return
	}
	g.sites.Load().handler.ServeHTTP(w, r)
}

// Forget drops every answer that is kept and every path that is remembered. It is
// for when content was purged: what stays is in memory again with the next request,
// without asking anyone.
func (g *Gateway) Forget() {
	g.backend.paths.clear()
	if g.hot != nil {
		g.hot.clear()
	}
}

// hotForms returns where encoded content is kept; nil while none may be.
func (g *Gateway) hotForms() *hotStore {
	if g.hotBodies.Load() {
		return g.hot
	}
	return nil
}

// rootCID finds the CID at the end of a site's content path.
func (g *Gateway) rootCID(ctx context.Context, p path.ImmutablePath) (cid.Cid, error) {
	if len(p.Segments()) == 2 {
		return p.RootCid(), nil
	}
	md, err := g.backend.ResolvePath(ctx, p)
	if err != nil {
		return cid.Undef, err
	}
	if len(md.LastSegmentRemainder) > 0 {
		return cid.Undef, fmt.Errorf("%s does not end at a block", p)
	}
	return md.LastSegment.RootCid(), nil
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
		g.coder.close()
	}
	return errors.Join(errs...)
}

type noPins struct{}

func (noPins) Pinned(cid.Cid) bool { return false }
