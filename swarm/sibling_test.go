package swarm

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	stock "github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

const bitswap12 = "/ipfs/bitswap/1.2.0"

// newGuest is a peer outside of any fleet.
func newGuest(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// rogue is a member that follows the member protocol and answers wants as a test
// has it. Nothing is at home there in its own opinion.
func rogue(t *testing.T, name string, friend *edge, answer func(h host.Host, from peer.ID, m stock.BitSwapMessage)) *edge {
	t.Helper()
	opts := testOptions(name)
	opts.Peers = []string{friend.as()}
	e := newEdge(t, opts, Config{})
	e.Start(nil)
	e.host.SetStreamHandler(bitswap12, func(s p2p.Stream) {
		defer s.Close()
		in := bufio.NewReader(s)
		for {
			size, err := binary.ReadUvarint(in)
			if err != nil {
				return
			}
			raw := make([]byte, size)
			if _, err := io.ReadFull(in, raw); err != nil {
				return
			}
			m, _, err := stock.FromNet(strings.NewReader(string(binary.AppendUvarint(nil, size)) + string(raw)))
			if err != nil {
				return
			}
			answer(e.host, s.Conn().RemotePeer(), m)
		}
	})
	return e
}

func send(t *testing.T, h host.Host, to peer.ID, m stock.BitSwapMessage) {
	s, err := h.NewStream(t.Context(), to, bitswap12)
	if err != nil {
		return
	}
	defer s.Close()
	m.ToNetV1(s)
}

func TestLyingSiblingIsAvoided(t *testing.T) {
	origin := newSource()
	all := fleet(t, 3, origin, calm)
	var lies atomic.Int32
	liar := rogue(t, "liar", all[0], func(h host.Host, from peer.ID, m stock.BitSwapMessage) {
		if len(m.Wantlist()) > 0 {
			lies.Add(1)
			wrong := stock.New(false)
			wrong.AddBlock(makeBlock(t, 900))
			send(t, h, from, wrong)
		}
	})
	eventually(t, "it is in the ring", func() bool { return all[0].view.Load().ring.Len() == 4 })
	v := all[0].view.Load()
	for range 10 {
		b := homedAt(t, v, "liar")
		origin.put(b)
		mustGet(t, all[0], b)
	}
	if all[0].delivers(liar.ID()) {
		t.Error("the liar is trusted")
	}
	// Each of the others has fallen for it once.
	if n := lies.Load(); n < 1 || n > 3 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestSilentSiblingDoesNotStopARequest(t *testing.T) {
	origin := newSource()
	all := fleet(t, 3, origin, func(o *Options) { o.PendingMax = 200 * time.Millisecond })
	asked := make(chan struct{}, 100)
	rogue(t, "silent", all[0], func(_ host.Host, _ peer.ID, m stock.BitSwapMessage) {
		for _, w := range m.Wantlist() {
			if !w.Cancel {
				asked <- struct{}{}
			}
		}
	})
	eventually(t, "it is in the ring", func() bool { return all[0].view.Load().ring.Len() == 4 })
	v := all[0].view.Load()
	// It answers pings, so it may be waiting for the origin, but not for ever.
	b := homedAt(t, v, "silent", "edge-1")
	origin.put(b)
	mustGet(t, all[0], b)
	if len(asked) == 0 {
		t.Error("it was not asked")
	}
	// What a sibling holds is found without waiting that long.
	held := homedAt(t, v, "silent", "edge-1")
	all[1].disk.put(held)
	if src := mustGet(t, all[0], held); src != block.Sibling {
		t.Errorf("got it from %s", src)
	}
	if n := origin.fetched()[held.Cid()]; n > 0 {
		t.Errorf("%d fetches of a block that a sibling holds", n)
	}
}

func TestGuestsGetWhatIsStoredAndStrangersNothing(t *testing.T) {
	guest, stranger := newGuest(t), newGuest(t)
	origin := newSource()
	opts := testOptions("edge-0")
	opts.Allow = []string{guest.ID().String()}
	e := newEdge(t, opts, Config{})
	e.Start(origin)
	stored, elsewhere := makeBlock(t, 500), makeBlock(t, 500)
	e.disk.put(stored)
	origin.put(elsewhere)
	me := peer.AddrInfo{ID: e.ID(), Addrs: e.host.Addrs()}

	fetch := func(h host.Host, b *block.Verified) error {
		got := make(chan bitswap.Reply, 1)
		x, err := bitswap.New(bitswap.DefaultOptions(), bitswap.Config{Host: h, Store: newDisk(),
			Access: func(peer.ID) bitswap.Access { return bitswap.Source }})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if err := h.Connect(t.Context(), me); err != nil {
			return err
		}
		x.Ask(me.ID, b.Cid(), bitswap.WantBlock, func(r bitswap.Reply) { got <- r })
		select {
		case r := <-got:
			return r.Err
		case <-time.After(10 * time.Second):
			return errors.New("silence")
		}
	}
	if err := fetch(guest, stored); err != nil {
		t.Errorf("guest: %v", err)
	}
	if err := fetch(guest, elsewhere); !errors.Is(err, bitswap.ErrDontHave) || origin.count() > 0 {
		t.Errorf("guest, not stored: %v, %d fetches", err, origin.count())
	}
	if err := fetch(stranger, stored); err == nil || errors.Is(err, bitswap.ErrDontHave) {
		t.Errorf("stranger: %v", err)
	}
}

func TestAnotherFleetGetsNothing(t *testing.T) {
	b := makeBlock(t, 500)
	ours := fleet(t, 2, newSource(b))
	opts := testOptions("edge-9")
	opts.Secret = "another secret, long enough as well"
	opts.Peers = []string{ours[0].as()}
	theirs := newEdge(t, opts, Config{})
	theirs.Start(nil)
	ours[0].disk.put(b)
	eventually(t, "it is refused", func() bool { return stateOf(theirs, "edge-0") == members.Refused })
	if _, _, err := theirs.get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestTwinServesOnItsOwn(t *testing.T) {
	want := makeBlocks(t, 10, 500)
	origin := newSource(want...)
	all := fleet(t, 3, origin)
	opts := testOptions("edge-1")
	opts.Peers = []string{all[0].as()}
	twin := newEdge(t, opts, Config{})
	twin.Start(origin)
	eventually(t, "it stands aside", func() bool { return stateOf(twin, "edge-1") == members.StandingAside })
	if errs := crowd(t, []*edge{twin}, want, 4); len(errs) > 0 {
		t.Fatal(errs[0])
	}
	settle(t, all...)
}

func TestPeerOrigin(t *testing.T) {
	// Any Bitswap peer can be an origin; this one is an edge that lets it in.
	opts := testOptions("kubo")
	opts.Secret = ""
	lone := testOptions("edge-0")
	lone.Secret, lone.KeyFile = "", t.TempDir()+"/key"
	e := newEdge(t, lone, Config{})
	opts.Allow = []string{e.ID().String()}
	far := newEdge(t, opts, Config{})
	far.Start(nil)
	b := makeBlock(t, 100_000)
	far.disk.put(b)
	origin, err := e.PeerOrigin(far.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	e.Start(origin)
	if src := mustGet(t, e, b); src != block.Origin {
		t.Errorf("got it from %s", src)
	}
	if _, _, err := e.get(t.Context(), makeBlock(t, 10).Cid()); !ipld.IsNotFound(err) {
		t.Errorf("missing: got %v", err)
	}
	far.Close()
	_, _, err = e.get(t.Context(), makeBlock(t, 10).Cid())
	var unavailable *block.UnavailableError
	if !errors.As(err, &unavailable) {
		t.Errorf("down: got %v", err)
	}
	for _, addr := range []string{"", "/ip4/127.0.0.1/tcp/4001", "/p2p/" + far.ID().String(), "nonsense"} {
		if _, err := e.PeerOrigin(addr); err == nil {
			t.Errorf("%q was accepted", addr)
		}
	}
}

func TestCallsAndWhereabouts(t *testing.T) {
	var all []*edge
	for i, name := range []string{"edge-0", "edge-1", "edge-2"} {
		opts := testOptions(name)
		if i > 0 {
			opts.Peers = []string{all[0].as()}
		}
		e := newEdge(t, opts, Config{})
		e.Handle("echo", func(_ context.Context, from string, request json.RawMessage) (any, error) {
			var s string
			if err := json.Unmarshal(request, &s); err != nil {
				return nil, err
			}
			return name + " heard " + s + " from " + from, nil
		})
		e.Start(nil)
		all = append(all, e)
	}
	settle(t, all...)
	var got string
	if err := all[0].Call(t.Context(), "edge-2", "echo", "hello", &got); err != nil || got != "edge-2 heard hello from edge-0" {
		t.Errorf("got %q, %v", got, err)
	}
	for what, err := range map[string]error{
		"unknown method": all[0].Call(t.Context(), "edge-2", "no such", nil, nil),
		"unknown member": all[0].Call(t.Context(), "edge-9", "echo", "x", nil),
		"wrong request":  all[0].Call(t.Context(), "edge-2", "echo", 5, nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	b := homedAt(t, all[0].view.Load(), "edge-1", "edge-0", "edge-2")
	all[2].disk.put(b)
	w, err := all[0].Where(t.Context(), b.Cid())
	if err != nil || !slices.Equal(w.Homes, []string{"edge-1", "edge-0", "edge-2"}) || !slices.Equal(w.Holders, []string{"edge-2"}) || len(w.Silent) > 0 {
		t.Errorf("got %+v, %v", w, err)
	}
}

func TestImportedBlockReachesWhoAskedBefore(t *testing.T) {
	all := fleet(t, 2, nil)
	b := makeBlock(t, 100)
	if _, _, err := all[0].get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
		t.Fatalf("got %v", err)
	}
	all[1].disk.put(b)
	all[1].Stored(b)
	eventually(t, "it is found", func() bool {
		_, _, err := all[0].get(t.Context(), b.Cid())
		return err == nil
	})
}

func TestBadCIDsAreNotAskedFor(t *testing.T) {
	all := fleet(t, 1, newSource())
	c, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.MD5, MhLength: -1}.Sum([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := all[0].Get(t.Context(), c); !errors.Is(err, block.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for field, change := range map[string]func(*Options){
		"Name":         func(o *Options) { o.Name = "" },
		"Secret":       func(o *Options) { o.Secret = "short" },
		"Listen[0]":    func(o *Options) { o.Listen = []string{"127.0.0.1:4001"} },
		"Announce[0]":  func(o *Options) { o.Announce = []string{"x"} },
		"Peers[1]":     func(o *Options) { o.Peers = []string{"a@b:1", "a@b"} },
		"Allow[0]":     func(o *Options) { o.Allow = []string{"12D3"} },
		"Zone":         func(o *Options) { o.Zone = "a\x1b[2J" },
		"DiskBytes":    func(o *Options) { o.DiskBytes = -1 },
		"Fallbacks":    func(o *Options) { o.Fallbacks = 0 },
		"ProbeAfter":   func(o *Options) { o.ProbeAfter = 0 },
		"FetchTimeout": func(o *Options) { o.FetchTimeout = -1 },
		"LostAfter":    func(o *Options) { o.Members.LostAfter = 0 },
		"MaxWants":     func(o *Options) { o.Bitswap.MaxWants = 0 },
	} {
		o := testOptions("edge-0")
		change(&o)
		err := o.Validate()
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
		if field == "Secret" && strings.Contains(err.Error(), "short") {
			t.Errorf("the secret is in the error: %v", err)
		}
	}
	alone := testOptions("edge-0")
	alone.Secret, alone.DNS = "", "shoal.example"
	if err := alone.Validate(); err == nil || !strings.Contains(err.Error(), "Secret") {
		t.Errorf("siblings without a secret: got %v", err)
	}
	if err := testOptions("edge-0").Validate(); err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	e := newEdge(t, testOptions("edge-0"), Config{})
	opts := testOptions("edge-1")
	opts.Listen = []string{e.host.Addrs()[0].String()}
	if s, err := New(opts, Config{Local: newLocal(t, newDisk())}); err == nil || !strings.Contains(err.Error(), "listen on") {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	reg := prometheus.NewRegistry()
	e := newEdge(t, testOptions("edge-0"), Config{Metrics: reg})
	e.Start(newSource())
	if _, err := New(testOptions("edge-1"), Config{Local: newLocal(t, newDisk()), Metrics: reg}); err == nil {
		t.Fatal("registered twice")
	}
	names := func() (list []string) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			list = append(list, f.GetName())
		}
		return list
	}
	for _, name := range []string{"shoal_swarm_members", "shoal_swarm_fills_total", "shoal_swarm_served_bytes_total", "shoal_swarm_ring_version", "libp2p_rcmgr_connections"} {
		if !slices.Contains(names(), name) {
			t.Errorf("%s is not there", name)
		}
	}
	e.Close()
	if left := names(); len(left) > 0 {
		t.Errorf("left after Close: %v", left)
	}
}

func TestQUIC(t *testing.T) {
	b := makeBlock(t, 10_000)
	far := testOptions("far")
	far.Secret, far.Listen = "", []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	near := far
	near.Name = "near"
	e := newEdge(t, near, Config{})
	far.Allow = []string{e.ID().String()}
	f := newEdge(t, far, Config{})
	f.Start(nil)
	f.disk.put(b)
	origin, err := e.PeerOrigin(f.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	e.Start(origin)
	mustGet(t, e, b)
}

func BenchmarkColdBlockFromSibling(b *testing.B) {
	all := fleet(b, 2, newSource())
	v := all[0].view.Load()
	data := make([]byte, 64<<10)
	for b.Loop() {
		b.StopTimer()
		var blk *block.Verified
		for blk == nil || v.ring.Member(v.ring.Homes(blk.Cid().Hash(), 1, nil)[0]).Name != "edge-1" {
			rand.Read(data[:32])
			blk, _ = block.Sum(rawPrefix, append([]byte(nil), data...))
		}
		all[1].disk.put(blk)
		b.StartTimer()
		mustGet(b, all[0], blk)
	}
}

// A file that the other three edges hold, fetched by as many requests at once as a
// readahead would make.
func BenchmarkColdFileFromSiblings(b *testing.B) {
	for name, size := range map[string]int{"256KiB": 256 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			all := fleet(b, 4, newSource())
			v := all[0].view.Load()
			var file []*block.Verified
			for len(file) < 100<<20/size {
				blk := makeBlock(b, size)
				if home := v.ring.Homes(blk.Cid().Hash(), 1, nil)[0]; home != 0 {
					all[home].disk.put(blk)
					file = append(file, blk)
				}
			}
			b.SetBytes(100 << 20)
			for b.Loop() {
				if errs := crowd(b, all[:1], file, 32); len(errs) > 0 {
					b.Fatal(errs[0])
				}
			}
		})
	}
}
