package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/gateway/answer"
	"github.com/shoal-cdn/shoal/gateway/hot"
)

// hotPage is the answer to plain requests for one URL, which is kept under the host and the
// request target as requests write them. What it depends on besides the URL is asked each
// time: the serve policy, and where a name leads.
type hotPage struct {
	*answer.Kept
	label  string // the metrics' site label
	policy verdict
	named  *nameAnswer  // nil unless a name led here
	line   slog.Handler // of the access log; nil when there is none

	mu      sync.Mutex
	senders int // of a large body, which all of them share
}

// hold takes what the page's body takes while it is sent, for all who send it together. It
// reports false when nothing was taken, and nothing may be sent.
func (p *hotPage) hold(s *answer.Source) bool {
	if len(p.Body) <= answer.LargePart || !p.OfBlock() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.senders == 0 && !s.Hold(int64(len(p.Body))) {
		return false
	}
	p.senders++
	return true
}

// release is called after the page was sent.
func (p *hotPage) release(s *answer.Source) {
	if len(p.Body) <= answer.LargePart || !p.OfBlock() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.senders--; p.senders == 0 {
		s.Release(int64(len(p.Body)))
	}
}

// nameAnswer is what a name led to.
type nameAnswer struct {
	asked path.Path
	root  path.ImmutablePath
	ttl   time.Duration
}

// serveHot answers the request if a page is kept for it: through net/http, or in the hot lane,
// which gives its connection. It reports false when nothing was written.
func (g *Gateway) serveHot(w http.ResponseWriter, in *wire, r *http.Request) (*exchange, bool) {
	if !isPlain(r) {
		return nil, false
	}
	sites := g.sites.Load()
	x := &exchange{start: time.Now(), sites: sites, host: r.Host, uri: r.RequestURI}
	if len(sites.proxies) > 0 {
		fwd, addr := sites.believe(r)
		if fwd.host != "" {
			x.host = fwd.host
		}
		x.client = addr
	} else {
		x.client = peerAddr(r.RemoteAddr)
	}
	e := g.hot.Find(x.host, r.RequestURI)
	if e == nil {
		return nil, false
	}
	p, _ := e.Value.(*hotPage)
	if p == nil || !g.allows(&p.policy, x.start) || !g.stillNamed(r.Context(), x, p) {
		return nil, false
	}
	d := g.deliver(w, r, x, p.Answer)
	if x.wire = in; in != nil && !d.inLane() || !p.hold(g.source) {
		return nil, false // which goes step by step, see answer.Source.Hold
	}
	defer p.release(g.source)
	x.label = p.label
	e.Mark()
	g.pace.hit()
	if p.Used.First(x.start) {
		g.memory.Use(p.Stands...)
	}
	g.metrics.inFlight.Add(1)
	defer func() { g.conclude(recover(), w, r, x, p.line) }()
	d.give()
	if x.failure != nil && x.failure.Status == http.StatusUnprocessableEntity {
		g.hot.Drop(e) // its map does not fit the blocks
	}
	return x, true
}

// stillNamed asks whether the name that led to the page's content still does.
func (g *Gateway) stillNamed(ctx context.Context, x *exchange, p *hotPage) bool {
	if p.named == nil {
		return true
	}
	root, ttl, err := g.names.Resolve(ctx, p.named.asked)
	x.named = &nameAnswer{p.named.asked, root, ttl}
	return err == nil && samePath(root, p.named.root)
}

func samePath(a, b path.ImmutablePath) bool {
	return a.RootCid() == b.RootCid() && a.String() == b.String()
}

// isPlain reports whether the answer to a request depends on nothing but the URL, the
// policy, the name that leads to the content, and what [answer.Answer.Reply] reads.
func isPlain(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 ||
		r.URL.RawQuery != "" || r.URL.ForceQuery || r.URL.Host != "" || len(r.Header["Accept"]) > 8 {
		return false
	}
	if _, ok := r.Header["Service-Worker"]; ok {
		return false
	}
	return !answer.AcceptsFormat(r.Header) && (len(r.Header["Cache-Control"]) == 0 || !answer.HasDirective(r.Header, "only-if-cached"))
}

// keep keeps an answer that was given to a plain request.
func (g *Gateway) keep(r *http.Request, x *exchange, a *answer.Answer) {
	if g.hot == nil || !a.Keep || a.Status != http.StatusOK || x.failure != nil || x.cut || !x.plain || g.sites.Load() != x.sites {
		// Under a table that was replaced meanwhile it was answered by the old rules; kept
		// for others it must not be.
		return
	}
	kept, blocks, charge := g.builder.Keep(context.WithoutCancel(r.Context()), a, g.hotBodies.Load())
	if kept == nil {
		return
	}
	p := &hotPage{Kept: kept, label: x.label, policy: g.verdictOf(x, time.Now()), named: x.named}
	if g.log.Enabled(r.Context(), slog.LevelInfo) {
		p.line = g.lineOf(x)
	}
	charge += int64(3*len(x.uri) + 2*len(x.host))
	g.hot.Put(&hot.Entry{Space: strings.Clone(x.host), Key: strings.Clone(x.uri), Value: p, Charge: charge, Blocks: blocks}, x.generation)
}

// verdict is why the serve policy allows a page, as far as that can change
// without a new table of sites (which ends all pages).
type verdict struct {
	free   bool    // nothing that changes is involved
	root   cid.Cid // what must be pinned, or lie in a site
	bySite bool    // it lay in a site
	// As long as no site's content moved, and until one has to be looked up again.
	moves uint64
	until time.Time // zero: no site's content can move
}

// allows reports whether the policy still allows the page.
func (g *Gateway) allows(v *verdict, now time.Time) bool {
	if v.free {
		return true
	}
	if v.bySite && v.moves == g.moves.Load() && (v.until.IsZero() || now.Before(v.until)) {
		return true
	}
	return g.pins.Pinned(v.root)
}

// verdictOf says why the policy allowed the request that x is about.
func (g *Gateway) verdictOf(x *exchange, now time.Time) verdict {
	if x.sites.opts.Serve == ServeAny || !strings.HasPrefix(x.path, "/ipfs/") {
		return verdict{free: true}
	}
	p, err := path.NewPath(x.path)
	if err != nil {
		return verdict{}
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil {
		return verdict{}
	}
	v := verdict{root: ip.RootCid(), bySite: x.bySite, moves: x.moves}
	for _, s := range x.sites.list {
		if s.immutable() {
			continue
		}
		until := s.freshUntil()
		if v.until.IsZero() || until.Before(v.until) {
			v.until = until
		}
		if !now.Before(until) {
			v.bySite = false
		}
	}
	return v
}
