//go:build e2e

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/e2e/lab"
	"github.com/shoal-cdn/shoal/member"
)

// outsider is a peer outside the fleet that speaks Bitswap with the stock client.
type outsider struct {
	host.Host
	bitswap *client.Client
}

func newOutsider(t *testing.T) *outsider {
	t.Helper()
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	network := bsnet.NewFromIpfsHost(h)
	o := &outsider{h, client.New(context.Background(), network, nil, store)}
	network.Start(o.bitswap)
	t.Cleanup(func() {
		network.Stop()
		o.bitswap.Close()
		h.Close()
	})
	return o
}

// connect connects to an edge's swarm listener.
func (o *outsider) connect(ctx context.Context, e *lab.Edge) error {
	info, err := peer.AddrInfoFromString(e.Swarm[0])
	if err != nil {
		return err
	}
	return o.Connect(ctx, *info)
}

// A stranger gets nothing and is shown the door; a guest that swarm.allow names gets
// the whole site.
func TestGuestsAndStrangers(t *testing.T) {
	guest, stranger := newOutsider(t), newOutsider(t)
	r := newRig(t, 2, "swarm.allow=["+guest.ID().String()+"]")
	r.crowd(r.Edges...)

	ctx, cancel := context.WithCancel(inTime(t))
	defer cancel()
	for _, e := range r.Edges {
		if err := stranger.connect(ctx, e); err != nil {
			t.Logf("a stranger cannot even connect: %v", err)
		}
	}
	got := make(chan error, 1)
	go func() {
		_, err := stranger.bitswap.GetBlock(ctx, r.site.Root)
		got <- err
	}()
	// The edges hang up when a stranger has not proved to be a member.
	if err := until(ctx, func() bool { return len(stranger.Network().Conns()) == 0 }); err != nil {
		t.Errorf("a stranger stays connected: %v", stranger.Network().Conns())
	}
	cancel()
	if err := <-got; err == nil {
		t.Error("a stranger got a block")
	}

	ctx = inTime(t)
	for _, e := range r.Edges {
		if err := guest.connect(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	var all []cid.Cid
	for hash := range r.site.Blocks {
		all = append(all, cid.NewCidV1(cid.Raw, []byte(hash)))
	}
	blocks, err := guest.bitswap.GetBlocks(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for b := range blocks {
		if string(b.RawData()) != string(r.site.Blocks[string(b.Cid().Hash())]) {
			t.Errorf("a guest got wrong bytes for %s", b.Cid())
		}
		taken++
	}
	if taken != len(all) {
		t.Errorf("a guest got %d of %d blocks", taken, len(all))
	}
	// A guest may take what is here; it makes nobody fetch.
	r.origin.Reset()
	more := lab.NewShelf(9, 1, 100)
	for path := range more.Files {
		c := cid.MustParse(path)
		brief, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := guest.bitswap.GetBlock(brief, c); err == nil {
			t.Error("a guest got a block that nobody has")
		}
		cancel()
	}
	if total, _ := r.origin.Fetches(); total > 0 {
		t.Errorf("a guest made the fleet ask the origin %d times", total)
	}
}

// An edge with another secret gets nothing from the fleet, says what is wrong in one
// line, and does not try again and again.
func TestAnotherSecret(t *testing.T) {
	r := newRig(t, 2)
	r.crowd(r.Edges...)
	door, err := newTurnstile(r.Edges[0].SwarmHostPort())
	if err != nil {
		t.Fatal(err)
	}
	defer door.close()

	other, err := lab.NewFleet(inTime(t), binary, t.TempDir(), "", "swarm.peers=['"+r.Edges[0].Name+"@"+door.addr()+"']")
	if err != nil {
		t.Fatal(err)
	}
	intruder, err := other.Add(inTime(t), "edge-2")
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, intruder)
	complaint := `"swarm: somebody else is at a member's address: it has another name or another swarm.secret"`
	if err := until(inTime(t), func() bool { return len(intruder.Log.Lines(complaint)) > 0 }); err != nil {
		t.Fatal("the edge with another secret does not say so")
	}
	a, err := intruder.Get(inTime(t), "", "/ipfs/"+r.site.Paths()[0])
	if err != nil || a.Status == http.StatusOK {
		t.Errorf("the edge with another secret: status %d, %v", a.Status, err)
	}
	// Two seconds are eight pings, or many attempts of somebody without patience.
	select {
	case <-time.After(2 * time.Second):
	case <-intruder.Exited():
		t.Error("the edge with another secret ended")
	}
	if n := len(intruder.Log.Lines(`"level":"WARN"`)) + len(intruder.Log.Lines(`"level":"ERROR"`)); n != 1 {
		t.Errorf("the edge with another secret logged %d complaints, expected one:\n%s", n, intruder.Log)
	}
	if n := door.passed.Load(); n > 3 {
		t.Errorf("the edge with another secret dialed %d times in two seconds", n)
	}
	r.settled(r.Edges...)
	for _, e := range r.Edges {
		if n := len(e.Log.Lines(`"level":"WARN"`)); n > 1 {
			t.Errorf("edge %s complains %d times:\n%s", e.Name, n, e.Log)
		}
	}
	r.crowd(r.Edges...)
}

// turnstile passes TCP connections on and counts them.
type turnstile struct {
	net.Listener
	to     string
	passed atomic.Int64
	wg     sync.WaitGroup
}

func newTurnstile(to string) (*turnstile, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &turnstile{Listener: l, to: to}
	d.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			d.passed.Add(1)
			d.wg.Go(func() { d.pass(in) })
		}
	})
	return d, nil
}

func (d *turnstile) addr() string { return d.Listener.Addr().String() }

func (d *turnstile) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", d.to)
	if err != nil {
		return
	}
	defer out.Close()
	d.wg.Go(func() {
		_, _ = io.Copy(out, in)
		out.Close()
	})
	_, _ = io.Copy(in, out)
}

func (d *turnstile) close() { _ = d.Listener.Close() }

// Of two edges with one name, the second says so and stands aside: its visitors are
// served like those of an edge that is alone. When the name is free, it takes it.
func TestTwoEdgesWithOneName(t *testing.T) {
	r := newRig(t, 3)
	twins := *r.Fleet
	twins.Dir = t.TempDir()
	twin, err := twins.Add(inTime(t), r.Edges[1].Name)
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, twin)
	if err := until(inTime(t), func() bool { return len(twin.Log.Lines("standing aside", `"level":"ERROR"`)) == 1 }); err != nil {
		t.Fatalf("the second edge of one name does not say so:\n%s", twin.Log)
	}
	if err := until(inTime(t), func() bool {
		list, err := twin.Members(inTime(t))
		return err == nil && stateOf(list, twin.Name) == "standing aside"
	}); err != nil {
		t.Error("the second edge of one name does not stand aside")
	}
	r.settled(r.Edges...)
	r.crowd(append([]*lab.Edge{twin}, r.Edges...)...)
	r.askedAtMost(2.02) // once for the fleet, and once for the edge that is not in it

	r.Edges[1].Kill()
	if err := until(inTime(t), func() bool {
		list, err := twin.Members(inTime(t))
		return err == nil && stateOf(list, twin.Name) == "alive"
	}); err != nil {
		t.Fatalf("the name is free, but the edge does not take it:\n%s", twin.Log)
	}
	r.settled(r.Edges[0], twin, r.Edges[2])
	r.crowd(r.Edges[0], twin, r.Edges[2])
}

// stateOf returns the state of the member of this name.
func stateOf(list []member.Member, name string) string {
	for _, m := range list {
		if m.Name == name {
			return string(m.State)
		}
	}
	return ""
}
