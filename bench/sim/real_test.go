package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/cache/cachetest"
	"github.com/shoal-cdn/shoal/swarm"
)

// counting is an origin.
type counting struct {
	*cachetest.Disk
	fetched atomic.Int64
}

func (o *counting) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	o.fetched.Add(1)
	b, err := o.Disk.Read(ctx, c)
	return b, block.Origin, err
}

// realEdge is an edge of a real fleet.
type realEdge struct {
	*swarm.Swarm
	store   *cachetest.Disk
	cache   *cache.Cache
	metrics *prometheus.Registry
}

func realFleet(t *testing.T, n int, origin block.Getter) []realEdge {
	t.Helper()
	var all []realEdge
	var first string
	for i := range n {
		opts := swarm.DefaultOptions()
		opts.Name, opts.Secret = edgeName(i), "a secret that is long enough for tests"
		opts.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
		// However busy this machine is, nobody is to be thought slow or dead.
		opts.ProbeAfter, opts.HedgeMax, opts.PendingMax, opts.ResendAfter = time.Minute, time.Minute, time.Minute, time.Minute
		opts.Members.SuspectAfter, opts.Members.LostAfter = time.Minute, 2*time.Minute
		if i > 0 {
			opts.Peers = []string{first}
		}
		e := realEdge{store: cachetest.New(), metrics: prometheus.NewRegistry()}
		var err error
		if e.cache, err = cache.New(cache.Options{}, cache.Config{Disk: e.store, Admission: cachetest.Admission{}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.cache.Close() })
		if e.Swarm, err = swarm.New(opts, swarm.Config{Local: e.cache, Metrics: e.metrics}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		e.cache.Connect(e.Swarm)
		if i == 0 {
			var port int
			if _, err := fmt.Sscanf(e.Addrs()[0], "/ip4/127.0.0.1/tcp/%d", &port); err != nil {
				t.Fatal(err)
			}
			first = fmt.Sprintf("%s@127.0.0.1:%d", opts.Name, port)
		}
		e.Start(origin)
		all = append(all, e)
	}
	for _, e := range all {
		for end := time.Now().Add(20 * time.Second); inRing(e) < n; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the edges did not find each other")
			}
		}
	}
	return all
}

func inRing(e realEdge) (n int) {
	for _, m := range e.Members() {
		if m.InRing() {
			n++
		}
	}
	return n
}

// asked is how many wants of a kind an edge has sent.
func asked(t *testing.T, e realEdge, kind string) (sum int) {
	t.Helper()
	families, err := e.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == "shoal_swarm_wants_total" && l.GetValue() == kind {
					sum += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return sum
}

// A real fleet and a simulated one of the same names are asked for the same blocks,
// one edge after the other: they must send the same wants and fetch the same.
func TestSimulationAgreesWithARealFleet(t *testing.T) {
	const n, count = 4, 150
	origin := &counting{Disk: cachetest.New()}
	k := &content{}
	for i := range count {
		data := binary.BigEndian.AppendUint64(nil, uint64(i))
		b, err := block.Sum(cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1}, data)
		if err != nil {
			t.Fatal(err)
		}
		origin.Put(t.Context(), b)
		k.add(int32(len(data)), false)
		if k.cids[i] != b.Cid() {
			t.Fatalf("block %d is %s there and %s here", i, k.cids[i], b.Cid())
		}
	}
	fleet := realFleet(t, n, origin)
	for _, e := range fleet {
		for _, c := range k.cids {
			if _, _, err := e.cache.Get(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	simulated := crowd(testSetup(n, 0), k, 1, true)
	wantBlock, wantHave := 0, 0
	for _, e := range fleet {
		wantBlock += asked(t, e, "want-block")
		wantHave += asked(t, e, "want-have")
	}
	fetched := int(origin.fetched.Load())
	if fetched != simulated.Fetches || wantBlock != simulated.WantBlock || wantHave != simulated.WantHave {
		t.Errorf("real fleet: %d fetches, %d WANT-BLOCK, %d WANT-HAVE; simulated: %d, %d, %d",
			fetched, wantBlock, wantHave, simulated.Fetches, simulated.WantBlock, simulated.WantHave)
	}
}
