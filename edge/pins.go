package edge

import (
	ds "github.com/ipfs/go-datastore"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/pin"
	"github.com/shoal-cdn/shoal/pin/release"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/swarm"
)

// openPins opens this edge's part in the fleet's pins, and the service in front.
func (e *Edge) openPins() (err error) {
	e.pins, err = pin.New(e.config().PinOptions(), pin.Config{
		Store: e.store, Fetch: e.cache.Aside(),
		Peer:  func(addr string) (block.Getter, error) { return e.swarm.PeerOrigin(addr) },
		Fleet: e.swarm.Roll(), Imports: e.ingest, Log: e.logOf("pin"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.pins.Close)
	e.ingest.Connect(e.pins)
	e.store.Watch(blockstore.Watcher{Stored: e.swarm.Stored, Lost: e.pins.Lost})
	for method, handler := range e.pins.Handlers() {
		e.swarm.Handle(method, swarm.Handler(handler))
	}
	e.service, err = service.New(e.config().PinServiceOptions(), e.pins, e.logOf("pin"), e.metrics)
	return err
}

// openSites has the sites' releases be pinned.
func (e *Edge) openSites() (err error) {
	e.sites, err = release.New(release.Config{
		Names: e.names, Pins: e.pins, Datastore: e.pins.Store(ds.NewKey("/sites")), Log: e.logOf("pin"), Metrics: e.metrics,
	})
	if err != nil {
		return err
	}
	e.onClose(e.sites.Close)
	follow, err := e.sites.Prepare(e.config().SitesToPin())
	if err == nil {
		follow()
	}
	return err
}
