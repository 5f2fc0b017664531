package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// Pins says what is kept for good.
type Pins interface {
	// Pinned reports whether c is pinned: here, or as a root by the fleet. It is
	// asked for each request and must be quick.
	Pinned(c cid.Cid) bool
}

// guard is the one place where the serve policy is enforced. It stands between
// boxo's hostname handler, which has made a content path of the host by now, and
// boxo's gateway handler, which would fetch.
func (g *Gateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isContentPath(r.URL.Path) {
			g.notContent(w, r)
			return
		}
		if isBoxoRedirect(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		p, err := path.NewPath(r.URL.Path)
		if err != nil {
			http.Error(w, abbreviate(err.Error()), http.StatusBadRequest)
			return
		}
		if escapes(r.URL.Path, p) {
			http.Error(w, "the path leads out of its content root", http.StatusBadRequest)
			return
		}
		recordOf(r.Context()).contentPath = p.String()
		if f := g.allow(r.Context(), p); f != nil {
			recordOf(r.Context()).failed(f)
			f.write(w)
			return
		}
		g.settleIfRange(r, p)
		settleRange(r, next)
		if f := g.look(r, p); f != nil {
			f.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// settleIfRange decides about If-Range (RFC 9110, section 13.1.5) in boxo's place,
// which reads from where the range begins even when the condition is false and the
// whole file has to be sent. A Range whose condition is not known to be true is
// ignored.
func (g *Gateway) settleIfRange(r *http.Request, p path.Path) {
	condition := r.Header.Values("If-Range")
	if len(condition) == 0 {
		return
	}
	r.Header.Del("If-Range")
	if r.Header.Get("Range") == "" {
		return
	}
	if _, ok := readPlain(r); ok && len(condition) == 1 {
		ip, _, _, err := g.backend.ResolveMutable(r.Context(), p)
		if err == nil {
			md, err := g.backend.ResolvePath(r.Context(), ip)
			if err == nil && condition[0] == `"`+md.LastSegment.RootCid().String()+`"` {
				return
			}
		}
	}
	r.Header.Del("Range")
}

// look finds out what the request wants to be made of the content, and fetches what must
// be seen before anything is said of it: boxo answers If-None-Match for an export without
// looking for its root, and * (RFC 9110, section 13.1.2) for any content. A path that leads
// nowhere is left to boxo.
func (g *Gateway) look(r *http.Request, p path.Path) *failure {
	ctx := r.Context()
	rec := recordOf(ctx)
	rec.head = r.Method == http.MethodHead
	asked, err := url.ParseRequestURI(r.RequestURI)
	rec.list = err == nil && strings.HasSuffix(asked.Path, "/") || r.URL.Query().Get("go-get") == "1"
	if rec.view = wantsPage(r); rec.view && rec.head {
		r.Header.Del("Accept") // boxo makes the page without having read the value, and panics
	}
	if tags := r.Header.Values("If-None-Match"); len(tags) == 0 || !wantsExport(r) && !strings.Contains(strings.Join(tags, ","), "*") {
		return nil
	}
	ip, _, _, err := g.backend.ResolveMutable(ctx, p)
	if err == nil {
		_, _, err = g.backend.find(ctx, ip)
	}
	if err == nil || errors.Is(err, &resolver.ErrNoLink{}) {
		return nil
	}
	f, _ := asFailure(explain(ctx, ip, err))
	return f
}

// wantsExport reports whether a CAR or a TAR may be asked for.
func wantsExport(r *http.Request) bool {
	format, accept := r.URL.Query().Get("format"), strings.Join(r.Header.Values("Accept"), ",")
	return format == "car" || format == "tar" || strings.Contains(accept, "application/vnd.ipld.car") || strings.Contains(accept, "application/x-tar")
}

// formats are the values of ?format= that boxo knows.
var formats = []string{"raw", "car", "tar", "json", "cbor", "dag-json", "dag-cbor", "ipns-record"}

// wantsPage reports whether boxo would show a value of dag-cbor or dag-json on a page.
func wantsPage(r *http.Request) bool {
	accept := r.Header.Values("Accept")
	return len(accept) > 0 && strings.Contains(accept[0], "text/html") && !slices.ContainsFunc(accept, namesFormat) &&
		!slices.Contains(formats, r.URL.Query().Get("format")) && r.URL.Query().Get("download") != "true"
}

func isContentPath(p string) bool {
	return strings.HasPrefix(p, "/ipfs/") || strings.HasPrefix(p, "/ipns/")
}

// isBoxoRedirect recognises /ipfs/ipfs/... and /ipfs/ipns/..., which boxo
// redirects to what was meant without reading anything.
func isBoxoRedirect(p string) bool {
	return strings.HasPrefix(p, "/ipfs/ipfs/") || strings.HasPrefix(p, "/ipfs/ipns/")
}

// escapes reports whether ".." segments lead from the root that the host or the
// path names to another: www.example.org/../../ipfs/CID would run foreign
// content in the site's origin.
func escapes(raw string, clean path.Path) bool {
	was := strings.SplitN(raw, "/", 4)
	is := clean.Segments()
	return len(was) < 3 || was[1] != is[0] || was[2] != is[1]
}

// notContent answers for a path that is neither a site's nor under /ipfs or /ipns.
func (g *Gateway) notContent(w http.ResponseWriter, r *http.Request) {
	rec := recordOf(r.Context())
	rec.mu.Lock()
	err := rec.nameErr
	rec.mu.Unlock()
	if err != nil {
		f := nameFailure(r.Context(), abbreviate(r.Host), err)
		rec.failed(f)
		f.write(w)
		return
	}
	http.Error(w, "not found: ask for /ipfs/CID or /ipns/NAME, or for a site by its host name", http.StatusNotFound)
}

// allow says whether the content path may be served here; nil if so.
func (g *Gateway) allow(ctx context.Context, p path.Path) *failure {
	if p.Namespace() == path.IPNSNamespace {
		return g.allowName(ctx, p.Segments()[1])
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil {
		return badCID(err)
	}
	if err := block.CheckCID(ip.RootCid()); err != nil {
		return badCID(err)
	}
	return g.allowContent(ctx, ip)
}

// allowName admits the names that the sites use. Others are not even looked up,
// unless the gateway is open.
func (g *Gateway) allowName(ctx context.Context, name string) *failure {
	sites, canonical := recordOf(ctx).sites, canonicalName(name)
	if sites.opts.Serve == ServeAny {
		return nil
	}
	if _, ok := sites.lookup(canonical); ok {
		return nil
	}
	if _, ok := sites.names[canonical]; ok && sites.opts.Serve == ServeSites {
		return nil
	}
	return &failure{
		status: http.StatusForbidden,
		text:   fmt.Sprintf("name %q is not served here: this edge serves only the names of its sites (gateway.serve: %s)", abbreviate(name), sites.opts.Serve),
	}
}

func (g *Gateway) allowContent(ctx context.Context, ip path.ImmutablePath) *failure {
	root, serve := ip.RootCid(), recordOf(ctx).sites.opts.Serve
	switch {
	case serve == ServeAny, g.pins.Pinned(root):
		return nil
	case root.Equals(bgw.EmptyIdentityCID):
		// The specification's probe for a trustless gateway: no bytes at all.
		return nil
	case serve == ServePinned:
		return refusal(root, "its pinned content", serve)
	}
	roots := g.siteRoots(ctx)
	for _, r := range roots {
		if strings.HasPrefix(ip.String()+"/", r.String()+"/") || isRoot(r, root) {
			recordOf(ctx).bySite = true
			return nil
		}
	}
	return g.allowInner(ctx, root, roots)
}

// allowInner admits a CID from inside a site's tree.
func (g *Gateway) allowInner(ctx context.Context, c cid.Cid, roots []path.ImmutablePath) *failure {
	switch g.trees.contains(ctx, roots, c) {
	case treeHas:
		recordOf(ctx).bySite = true
		return nil
	case treeUnknown:
		return &failure{
			status: http.StatusServiceUnavailable, retryAfter: 10 * time.Second,
			text: fmt.Sprintf("content %s may belong to a site whose tree is still being read; try again soon", c),
		}
	}
	return refusal(c, "its sites and pinned content", recordOf(ctx).sites.opts.Serve)
}

func refusal(c cid.Cid, serves string, policy ServePolicy) *failure {
	return &failure{
		status: http.StatusForbidden,
		text:   fmt.Sprintf("content %s is not served here: this edge serves only %s (gateway.serve: %s)", c, serves, policy),
	}
}

// isRoot compares by multihash: the same block has many CIDs.
func isRoot(root path.ImmutablePath, c cid.Cid) bool {
	return len(root.Segments()) == 2 && bytes.Equal(root.RootCid().Hash(), c.Hash())
}

// siteRoots returns where the sites' content is now. Names that have not been
// resolved lately are resolved, one lookup at a time for each, however many ask.
func (g *Gateway) siteRoots(ctx context.Context) []path.ImmutablePath {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sites := recordOf(ctx).sites.list
	found := make([]path.ImmutablePath, len(sites))
	known := make([]bool, len(sites))
	var lookups sync.WaitGroup
	for i, s := range sites {
		var stale bool
		found[i], known[i], stale = s.current(time.Now())
		if stale {
			lookups.Go(func() {
				g.refresh(ctx, s)
				found[i], known[i], _ = s.current(time.Now())
			})
		}
	}
	lookups.Wait()
	roots := found[:0]
	for i, r := range found {
		if known[i] {
			roots = append(roots, r)
		}
	}
	return roots
}

// refresh resolves a site's name, together with everyone who waits for the same.
func (g *Gateway) refresh(ctx context.Context, s *site) {
	done := g.lookups.DoChan(s.host+" "+s.contentString(), func() (any, error) {
		if _, _, stale := s.current(time.Now()); !stale {
			return nil, nil // the flight before this one landed just now
		}
		// Not the visitor's context: others wait for the same answer.
		bounded, cancel := context.WithTimeout(g.ctx, g.service.patience())
		defer cancel()
		root, ttl, err := g.backend.names.Resolve(bounded, s.target())
		if err != nil {
			s.unresolved()
			g.log.Warn("resolve site", "site", s.host, "err", err)
			return nil, err
		}
		s.resolved(root, ttl)
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}
