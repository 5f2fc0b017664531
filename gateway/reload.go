package gateway

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// rules are the settings, besides the sites, that a reload may replace and that a
// request must see only one version of. The handler has them built in.
type rules struct {
	opts    Options
	hosts   map[string]Host // by name in lower case
	proxies []netip.Prefix
	handler http.Handler
}

// Prepare checks new options and returns what puts them in force, which cannot fail.
// In force come Serve, Hosts, Sites, TrustedProxies, Connect, MaxRequests, RetrievalTimeout,
// DrainTimeout, HotBytes and HotBodies; the other fields stay what New was given.
// Requests in flight finish under the options that they began with. Answers that are
// kept stay, unless the new options may answer otherwise. What was prepared first
// should be put in force first.
func (g *Gateway) Prepare(opts Options) (apply func(), err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if (opts.HotBytes > 0) != (g.hot != nil) {
		return nil, errors.New("gateway.hot_bytes: finished answers cannot be turned on or off while the gateway runs")
	}
	t, err := parseSites(opts.Sites)
	if err != nil {
		return nil, err
	}
	for _, s := range t.list {
		s.moves = &g.moves
	}
	t.opts = opts
	if t.proxies, err = parseProxies(opts.TrustedProxies); err != nil {
		return nil, err
	}
	t.hosts = make(map[string]Host, len(opts.Hosts))
	for _, h := range opts.Hosts {
		t.hosts[strings.ToLower(h.Host)] = h
	}
	t.handler = g.routes(t)
	return func() { g.replace(t) }, nil
}

// replace puts a table and the limits that came with it in force.
func (g *Gateway) replace(t *siteTable) {
	g.replacing.Lock()
	defer g.replacing.Unlock()
	g.source.Limit(t.opts.MaxRequests, t.opts.RetrievalTimeout, !t.opts.HotBodies)
	was := g.sites.Load()
	t.carryOver(was)
	g.sites.Store(t)
	bodies := g.hotBodies.Swap(t.opts.HotBodies)
	g.hot.Resize(t.opts.HotBytes)
	if bodies != t.opts.HotBodies || !t.answersLike(was) {
		g.hot.Clear()
	}
}

// answersLike reports whether two tables lead the same requests to the same answers.
// The first has carried over what it shares with the second.
func (t *siteTable) answersLike(was *siteTable) bool {
	if t.opts.Serve != was.opts.Serve || len(t.hosts) != len(was.hosts) || !slices.Equal(t.proxies, was.proxies) ||
		len(t.byHost) != len(was.byHost) {
		return false
	}
	for name, h := range t.hosts {
		if old, ok := was.hosts[name]; !ok || old.Subdomains != h.Subdomains {
			return false
		}
	}
	for name, s := range t.byHost {
		if was.byHost[name] != s {
			return false
		}
	}
	return true
}

// SetSites replaces the sites alone. Requests in flight finish with those they began
// with. On error nothing changes.
func (g *Gateway) SetSites(sites []Site) error {
	opts := g.sites.Load().opts
	opts.Sites = sites
	apply, err := g.Prepare(opts)
	if err != nil {
		return err
	}
	apply()
	return nil
}
