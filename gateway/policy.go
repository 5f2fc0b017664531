package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
)

// Pins says what is kept for good.
type Pins interface {
	// Pinned reports whether c is pinned: here, or as a root by the fleet. It is
	// asked for each request and must be quick.
	Pinned(c cid.Cid) bool
}

// escapes reports whether ".." segments lead from the root that the host or the
// path names to another: www.example.org/../../ipfs/CID would run foreign
// content in the site's origin.
func escapes(raw string, clean path.Path) bool {
	was := strings.SplitN(raw, "/", 4)
	is := clean.Segments()
	return len(was) < 3 || was[1] != is[0] || was[2] != is[1]
}

// allow says whether the content path may be served here; nil if so.
func (g *Gateway) allow(ctx context.Context, x *exchange, p path.Path) *answer.Failure {
	if p.Namespace() == path.IPNSNamespace {
		return x.sites.allowName(p.Segments()[1])
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil {
		return answer.BadCID(err)
	}
	if err := block.CheckCID(ip.RootCid()); err != nil {
		return answer.BadCID(err)
	}
	return g.allowContent(ctx, x, ip)
}

// allowName admits the names that the sites use. Others are not even looked up,
// unless the gateway is open.
func (sites *siteTable) allowName(name string) *answer.Failure {
	canonical := canonicalName(name)
	if sites.opts.Serve == ServeAny {
		return nil
	}
	if _, ok := sites.lookup(canonical); ok {
		return nil
	}
	if _, ok := sites.names[canonical]; ok && sites.opts.Serve == ServeSites {
		return nil
	}
	return &answer.Failure{
		Status: http.StatusForbidden,
		Text:   fmt.Sprintf("name %q is not served here: this edge serves only the names of its sites (gateway.serve: %s)", answer.Abbreviate(name), sites.opts.Serve),
	}
}

func (g *Gateway) allowContent(ctx context.Context, x *exchange, ip path.ImmutablePath) *answer.Failure {
	root, serve := ip.RootCid(), x.sites.opts.Serve
	switch {
	case serve == ServeAny, g.pins.Pinned(root):
		return nil
	case root.Equals(emptyCID):
		// The specification's probe for a trustless gateway: no bytes at all.
		return nil
	case serve == ServePinned:
		return refusal(root, "its pinned content", serve)
	}
	roots := g.siteRoots(ctx, x.sites)
	for _, r := range roots {
		if strings.HasPrefix(ip.String()+"/", r.String()+"/") || isRoot(r, root) {
			x.bySite, x.partly = true, len(r.Segments()) > 2
		}
		if x.bySite && !x.partly {
			return nil
		}
	}
	if x.bySite {
		return nil
	}
	return g.allowInner(ctx, x, root, roots)
}

// allowInner admits a CID from inside a site's tree.
func (g *Gateway) allowInner(ctx context.Context, x *exchange, c cid.Cid, roots []path.ImmutablePath) *answer.Failure {
	switch g.trees.contains(ctx, roots, c) {
	case treeHas:
		x.bySite = true
		return nil
	case treeUnknown:
		return &answer.Failure{
			Status: http.StatusServiceUnavailable, RetryAfter: 10 * time.Second,
			Text: fmt.Sprintf("content %s may belong to a site whose tree is still being read; try again soon", c),
		}
	}
	return refusal(c, "its sites and pinned content", x.sites.opts.Serve)
}

func refusal(c cid.Cid, serves string, policy ServePolicy) *answer.Failure {
	return &answer.Failure{
		Status: http.StatusForbidden,
		Text:   fmt.Sprintf("content %s is not served here: this edge serves only %s (gateway.serve: %s)", c, serves, policy),
	}
}

// isRoot compares by multihash: the same block has many CIDs.
func isRoot(root path.ImmutablePath, c cid.Cid) bool {
	return len(root.Segments()) == 2 && bytes.Equal(root.RootCid().Hash(), c.Hash())
}

// siteRoots returns where the sites' content is now. Names that have not been
// resolved lately are resolved, one lookup at a time for each, however many ask.
func (g *Gateway) siteRoots(ctx context.Context, table *siteTable) []path.ImmutablePath {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sites := table.list
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
		// Not the visitor's conText: others wait for the same answer.
		bounded, cancel := context.WithTimeout(g.ctx, g.source.Patience())
		defer cancel()
		root, ttl, err := g.names.Resolve(bounded, s.target())
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
