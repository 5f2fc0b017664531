package edge

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/pin"
	"github.com/shoal-cdn/shoal/pin/record"
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
		Names: e.names, Pins: releases{e.pins}, Datastore: e.pins.Store(ds.NewKey("/sites")), Log: e.room("pin"), Metrics: e.metrics,
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

// releases speaks the language of the sites' releases to the pins.
type releases struct{ pins *pin.Pins }

// SetSites implements [release.Pins].
func (r releases) SetSites(roots []cid.Cid) { r.pins.SetSites(roots) }

// Standing implements [release.Pins].
func (r releases) Standing(root cid.Cid) release.Standing {
	return release.Standing(r.pins.Standing(root))
}

// pins speaks the operator's door's language to the fleet's pins.
type pins struct{ *Edge }

var _ admin.Pins = pins{}

// Add implements [admin.Pins].
func (p pins) Add(ctx context.Context, target string, params admin.PinParams) (admin.Pin, error) {
	c, err := p.resolve(ctx, target)
	if err != nil {
		return admin.Pin{}, err
	}
	view, err := p.pins.Add(ctx, record.Operator, record.Request{CID: c, Name: params.Name, Replicas: params.Replicas})
	if err != nil {
		return admin.Pin{}, err
	}
	return p.pinOf(view), nil
}

// resolve finds the CID that an operator means, as it is now.
func (p pins) resolve(ctx context.Context, target string) (cid.Cid, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.config().Gateway.RetrievalTimeout))
	defer cancel()
	if strings.HasPrefix(target, "/ipns/") {
		name, err := path.NewPath(target)
		if err != nil {
			return cid.Undef, problem.Errorf(problem.BadRequest, "path %q: %w", target, err)
		}
		to, _, err := p.names.Resolve(ctx, name)
		if err != nil {
			return cid.Undef, problem.Errorf(problem.BadRequest, "resolve %s: %w", target, err)
		}
		target = to.String()
	}
	_, c, err := ingest.Resolve(ctx, anywhere{p.cache}, target)
	return c, err
}

// List implements [admin.Pins].
func (p pins) List(ctx context.Context, q admin.PinQuery, each func(admin.Pin) error) (int, error) {
	query := record.Query{CIDs: q.CIDs, Name: q.Name, Match: record.Match(q.Match), Before: q.Before, After: q.After, Limit: q.Limit}
	for _, s := range q.Statuses {
		query.Statuses = append(query.Statuses, record.Status(s))
	}
	return p.pins.Walk(ctx, "", query, func(v record.View) error { return each(p.pinOf(v)) })
}

// Status implements [admin.Pins].
func (p pins) Status(ctx context.Context, idOrCID string) ([]admin.Pin, error) {
	found, err := p.pins.Lookup(ctx, idOrCID)
	if err != nil {
		return nil, err
	}
	var list []admin.Pin
	for _, f := range found {
		d, err := p.pins.Detail(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, p.detailed(d))
	}
	return list, nil
}

// Verify implements [admin.Pins].
func (p pins) Verify(ctx context.Context, id string, progress func(admin.PinProgress)) ([]admin.PinCheck, error) {
	found, err := p.pins.Verify(ctx, id, func(edge string, done pin.Progress) {
		progress(admin.PinProgress{Edge: edge, Blocks: done.Blocks, Bytes: done.Bytes})
	})
	if err != nil {
		return nil, err
	}
	var list []admin.PinCheck
	for _, f := range found {
		check := admin.PinCheck{Edge: f.Edge, Blocks: f.Blocks, Bytes: f.Bytes, Repaired: f.Repaired, Missing: f.Missing}
		if f.Err != nil {
			check.Error = f.Err.Error()
		}
		list = append(list, check)
	}
	return list, nil
}

// Remove implements [admin.Pins].
func (p pins) Remove(ctx context.Context, idOrCID string) ([]admin.Pin, error) {
	found, err := p.pins.Lookup(ctx, idOrCID)
	if err != nil {
		return nil, err
	}
	var list []admin.Pin
	for _, f := range found {
		view, err := p.pins.Get(ctx, "", f.ID)
		if err == nil {
			err = p.pins.Remove(ctx, "", f.ID)
		}
		if err != nil {
			return list, err
		}
		list = append(list, p.pinOf(view))
	}
	return list, nil
}

func (p pins) pinOf(v record.View) admin.Pin {
	return admin.Pin{
		ID: v.ID, CID: v.CID.String(), Name: v.Name, Owner: v.Owner, Created: v.Created, Status: string(v.Status),
		Replicas: cmp.Or(v.Replicas, p.config().Pin.Replicas), Info: v.Info, Origins: v.Origins, Meta: v.Meta,
	}
}

func (p pins) detailed(d pin.Detail) admin.Pin {
	out := p.pinOf(d.View)
	for _, e := range d.Edges {
		out.Edges = append(out.Edges, admin.PinEdge{
			Edge: e.Edge, Assigned: e.Assigned, Present: e.Present, Status: string(e.Status), Blocks: e.Blocks, Bytes: e.Bytes,
			Reason: e.Reason, Since: e.Since, Verified: e.Verified,
		})
	}
	return out
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
