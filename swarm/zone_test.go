package swarm

import (
	"context"
	"fmt"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// zonedFleet starts edges with a memory, as many in each zone as there are origins, and
// waits until all see all: edge-0 and so on, those of one zone in a row. An origin may be
// nil.
func zonedFleet(t *testing.T, net *cable, zones int, origins ...block.Getter) []*edge {
	t.Helper()
	var all []*edge
	for i := range zones * len(origins) {
		opts := testOptions(fmt.Sprintf("edge-%d", i))
		calm(&opts)
		opts.Zone = fmt.Sprintf("zone-%d", i/len(origins))
		if i > 0 {
			opts.Peers = []string{all[0].as()}
		}
		e := &edge{disk: newDisk(), name: opts.Name}
		admit, err := placement.NewAdmission(placement.DefaultAdmissionOptions())
		if err != nil {
			t.Fatal(err)
		}
		e.cache, err = cache.New(cache.Options{Bytes: 16 << 20}, cache.Config{Disk: e.disk, Admission: admit})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.cache.Close() })
		if e.Swarm, err = New(opts, Config{Local: e.cache, Dialer: net.dialer(opts.Name)}); err != nil {
			t.Fatal(err)
		}
		e.cache.Connect(e.Swarm)
		t.Cleanup(func() { e.Swarm.Close() })
		net.join(e)
		e.Start(origins[i%len(origins)])
		all = append(all, e)
	}
	settle(t, all...)
	for _, e := range all {
		eventually(t, e.name+" knows its zone", func() bool {
			v := e.view.Load()
			return v.near != nil && v.near.ring.Len() == len(origins)
		})
	}
	return all
}

// crossed returns the bytes that the edges got from other zones.
func crossed(all []*edge) (sum int) {
	for _, e := range all {
		var m dto.Metric
		_ = e.metrics.zoneBytes.WithLabelValues("remote").Write(&m)
		sum += int(m.GetCounter().GetValue())
	}
	return sum
}

// A crowd everywhere: each block is fetched from the origin once, and crosses into each
// other zone once.
func TestABlockCrossesIntoAZoneOnce(t *testing.T) {
	const size = 4096
	want := makeBlocks(t, 200, size)
	origin := newSource(want...)
	all := zonedFleet(t, newCable(), 3, origin, origin, origin)
	if errs := crowd(t, all, want, 8); len(errs) > 0 {
		t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
	}
	if n := origin.count(); n > len(want)*102/100 {
		t.Errorf("%d fetches of %d blocks", n, len(want))
	}
	if ideal, n := 2*len(want)*size, crossed(all); n > ideal*105/100 || n < ideal {
		t.Errorf("%d bytes crossed zones, expected %d", n, ideal)
	}
}

// With everything outside cut off and no origin, a zone serves what anybody in it has
// asked for.
func TestAZoneServesWhatItHasByItself(t *testing.T) {
	want := makeBlocks(t, 60, 2048)
	origin := newSource(want...)
	net := newCable()
	all := zonedFleet(t, net, 2, origin, origin, origin)
	for _, b := range want {
		mustGet(t, all[0], b)
	}
	before := crossed(all[:3])
	for _, e := range all[3:] {
		e.Close()
	}
	origin.set(func(s *source) { s.down = context.Canceled })
	for _, e := range all[1:3] {
		for _, b := range want {
			if src := mustGet(t, e, b); src == block.Origin {
				t.Fatalf("%s got %s from the origin", e.name, b.Cid())
			}
		}
	}
	if n := crossed(all[:3]); n != before {
		t.Errorf("%d bytes crossed zones", n-before)
	}
}

// The zone's home keeps on its disk what was asked for twice in the zone, on whichever
// edges, and the fleet's home what was asked for once.
func TestAZoneKeepsWhatWasAskedForTwice(t *testing.T) {
	origin := newSource()
	all := zonedFleet(t, newCable(), 2, origin, origin, origin)
	v := all[0].view.Load()
	once, twice := homedAt(t, v, "edge-3", "edge-1"), homedAt(t, v, "edge-3", "edge-1")
	origin.put(once)
	origin.put(twice)
	mustGet(t, all[0], once)
	mustGet(t, all[0], twice)
	mustGet(t, all[2], twice)
	has := func(e *edge, b *block.Verified) bool {
		ok, _ := e.disk.Has(t.Context(), b.Cid())
		return ok
	}
	eventually(t, "the blocks are where they belong", func() bool {
		return has(all[1], twice) && has(all[3], twice) && has(all[3], once)
	})
	if has(all[1], once) {
		t.Error("the zone keeps on disk what was asked for once")
	}
	if n := origin.count(); n != 2 {
		t.Errorf("%d fetches of two blocks", n)
	}
}

// A zone's home that fails does not stop its zone: the fleet's home is asked.
func TestAZonesHomeThatIsGoneIsPassedOver(t *testing.T) {
	origin := newSource()
	all := zonedFleet(t, newCable(), 2, origin, origin, origin)
	b := homedAt(t, all[0].view.Load(), "edge-3", "edge-1")
	origin.put(b)
	all[1].Close()
	if src := mustGet(t, all[0], b); src != block.Sibling {
		t.Errorf("got it from %s", src)
	}
	if n := origin.count(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// With zones, too, nobody waits for somebody who waits for it: the origins of the first two
// homes hang, which are the homes in both zones, and everybody has visitors.
func TestNobodyWaitsInACircleOfZones(t *testing.T) {
	sick, good := hanging(), newSource()
	all := zonedFleet(t, newCable(), 2, sick, good)
	v := all[0].view.Load()
	var searches sync.WaitGroup
	for i := range 20 {
		order := []string{"edge-0", "edge-2", "edge-1"}
		if i%2 == 0 {
			order = []string{"edge-2", "edge-0", "edge-1"}
		}
		b := homedAt(t, v, order...)
		good.put(b)
		for _, e := range all {
			searches.Go(func() {
				if _, _, err := e.cache.Get(t.Context(), b.Cid()); err != nil {
					t.Errorf("%s: %v", e.name, err)
				}
			})
		}
	}
	searches.Wait()
}

// What is relayed to whom: by the home in the zone, to those in the zone that rank behind
// it, and by nobody else.
func TestRelaysOnlyForItsZone(t *testing.T) {
	origin := newSource()
	all := zonedFleet(t, newCable(), 2, origin, origin)
	b := homedAt(t, all[0].view.Load(), "edge-2", "edge-1", "edge-3", "edge-0")
	for _, from := range all {
		for _, to := range all {
			want := from.name == "edge-1" && to.name == "edge-0"
			if got := from != to && from.relays(b.Cid(), to.ID()); got != want {
				t.Errorf("%s relays to %s: %v", from.name, to.name, got)
			}
		}
	}
}

// A block that one edge asks for again and again is not always asked of its home: the next
// in rank serve it, which have it from the home and not from the origin.
func TestAHotBlocksHomeIsRelieved(t *testing.T) {
	origin := newSource()
	all := fleet(t, 6, origin, calm)
	b := homedAt(t, all[0].view.Load(), "edge-1", "edge-2", "edge-3", "edge-4", "edge-5", "edge-0")
	origin.put(b)
	eventually(t, "the next in rank relays", func() bool {
		mustGet(t, all[0], b)
		var m dto.Metric
		_ = all[4].metrics.relayed.Write(&m)
		return m.GetCounter().GetValue() > 0
	})
	if n := origin.count(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	for _, e := range all[1:4] {
		if ok, _ := e.disk.Has(t.Context(), b.Cid()); !ok {
			t.Errorf("%s, a home, does not have it", e.name)
		}
	}
}
