package edge

import (
	"context"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/pin"
	"github.com/shoal-cdn/shoal/pin/release"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/swarm"
	"github.com/shoal-cdn/shoal/work"
)

// openPins opens this edge's part in the fleet's pins, and the service in front.
func (e *Edge) openPins() (err error) {
	e.pins, err = pin.New(e.config().PinOptions(), pin.Config{
		Store: e.store, Fetch: e.cache.Aside(),
		Peer:  func(addr string) (block.Getter, error) { return e.swarm.PeerOrigin(addr) },
		Fleet: e.swarm.Roll(), Imports: imports{e.ingest}, Log: e.room("pin"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.pins.Close)
	e.store.Watch(watcher{e.swarm, e.pins})
	for method, handler := range e.pins.Handlers() {
		e.swarm.Handle(method, swarm.Handler(handler))
	}
	e.service, err = service.New(e.config().PinServiceOptions(), e.pins, e.room("pin"), e.metrics)
	return err
}

// watcher passes on what happens on the disk: whoever asked for a block hears that it is
// there, and the pins that one is lost.
type watcher struct {
	*swarm.Swarm
	pins *pin.Pins
}

// Lost implements [blockstore.Watcher].
func (w watcher) Lost(multihash.Multihash) { w.pins.Lost() }

// openSites has the sites' releases be pinned.
func (e *Edge) openSites() (err error) {
	e.sites, err = release.New(release.Config{
		Names: e.names, Pins: e.pins, Datastore: e.pins.Store(ds.NewKey("/sites")), Log: e.room("pin"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.sites.Close)
	follow, err := e.sites.Prepare(sitesToPin(e.config()))
	if err == nil {
		follow()
	}
	return err
}

// sitesToPin are the sites whose releases are followed.
func sitesToPin(cfg *config.Config) (list []release.Site) {
	if !cfg.Pin.Sites {
		return nil
	}
	for _, s := range cfg.Sites {
		content := s.Content
		if content == "dnslink" {
			content = "/ipns/" + s.Host
		}
		list = append(list, release.Site{Host: s.Host, Content: content})
	}
	return list
}

// pinned is what the gateway may serve by CID: what is held here, and what any edge
// of the fleet pins.
type pinned struct {
	store *blockstore.Store
	pins  *pin.Pins
}

// Pinned reports whether c is pinned.
func (p pinned) Pinned(c cid.Cid) bool { return p.store.Pinned(c) || p.pins.Pinned(c) }

// imports are what the ingest room holds on this edge.
type imports struct{ in *ingest.Ingester }

// Held implements [pin.Imports].
func (i imports) Held() []cid.Cid { return i.in.Pins() }

// Release implements [pin.Imports].
func (i imports) Release(root cid.Cid) error {
	_, err := i.in.Unpin(root)
	return err
}

// resolve finds the CID that an operator means, as it is now.
func (e *Edge) resolve(ctx context.Context, target string) (cid.Cid, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.config().Gateway.RetrievalTimeout))
	defer cancel()
	if strings.HasPrefix(target, "/ipns/") {
		name, err := path.NewPath(target)
		if err != nil {
			return cid.Undef, problem.Errorf(problem.BadRequest, "path %q: %w", target, err)
		}
		to, _, err := e.names.Resolve(ctx, name)
		if err != nil {
			return cid.Undef, problem.Errorf(problem.BadRequest, "resolve %s: %w", target, err)
		}
		target = to.String()
	}
	_, c, err := ingest.Resolve(ctx, anywhere{e.cache}, target)
	return c, err
}

// dropWithin bounds how long a purge waits for the pins to let go on the disk.
const dropWithin = 2 * time.Second

// dropPins removes the operator's pins of what a path names.
func (e *Edge) dropPins(ctx context.Context, path string) error {
	root, target, err := ingest.Resolve(ctx, local{e.cache}, path)
	if err != nil && problem.Of(err) != problem.NotFound {
		return err
	}
	var roots []cid.Cid
	for _, c := range []cid.Cid{root, target} {
		if c.Defined() && (len(roots) == 0 || c != roots[0]) {
			roots = append(roots, c)
		}
	}
	if err := e.pins.Drop(ctx, roots...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dropWithin)
	defer cancel()
	for e.store.Pinned(target) && !e.pins.Pinned(target) {
		if work.Pause(ctx, 5*time.Millisecond) != nil {
			return nil // something else holds it, which the purge will say
		}
	}
	return nil
}
