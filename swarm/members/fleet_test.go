package members

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ltls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

const secret = "a secret that is long enough for tests"

// node is one member under test.
type node struct {
	*Fleet
	host host.Host
	log  *buffer
}

// buffer keeps what was logged.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.b.String(), s)
}

// gate lets the fleet decide who connects.
type gate struct {
	mu     sync.Mutex
	f      *Fleet
	secure int // handshakes that came in
}

func (g *gate) permit(dir network.Direction, id peer.ID) bool {
	g.mu.Lock()
	f := g.f
	if dir == network.DirInbound {
		g.secure++
	}
	g.mu.Unlock()
	return f != nil && f.Permit(dir, id, false)
}

func (g *gate) InterceptPeerDial(id peer.ID) bool                               { return g.permit(network.DirOutbound, id) }
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
func (g *gate) InterceptSecured(dir network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return g.permit(dir, id)
}

func newNode(t testing.TB, name string, change func(*Options), resolver Resolver) *node {
	t.Helper()
	opts := DefaultOptions()
	opts.Secret, opts.Name, opts.Weight = secret, name, 1<<30
	if change != nil {
		change(&opts)
	}
	key, err := Identity(opts.Secret, opts.Name)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(ltls.ID, ltls.New), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(),
		libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.ConnectionGater(g))
	if err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	f, err := New(opts, Config{Host: h, Resolver: resolver, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.f = f
	g.mu.Unlock()
	n := &node{Fleet: f, host: h, log: log}
	f.Start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	n.Fleet.Close()
	n.host.Close()
}

func (n *node) addr() ma.Multiaddr { return n.host.Addrs()[0] }

func (n *node) port() int {
	text, _ := n.addr().ValueForProtocol(ma.P_TCP)
	port, _ := strconv.Atoi(text)
	return port
}

// knows makes an option of one static member.
func knows(name string, addr ma.Multiaddr) func(*Options) {
	return func(o *Options) { o.Peers = append(o.Peers, Static{Name: name, Addr: addr}) }
}

func (n *node) state(name string) State {
	for _, m := range n.Members() {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

func (n *node) alive() []string {
	var names []string
	for _, m := range n.Members() {
		if m.InRing() {
			names = append(names, m.Name)
		}
	}
	return names
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func sees(t testing.TB, n *node, names ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("sees %v", names), func() bool { return slices.Equal(n.alive(), names) })
}

func TestMembersLearnOfEachOther(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	b := newNode(t, "b", func(o *Options) { knows("a", a.addr())(o); o.Zone = "north"; o.Weight = 77 }, nil)
	c := newNode(t, "c", knows("b", b.addr()), nil) // knows only b
	for _, n := range []*node{a, b, c} {
		sees(t, n, "a", "b", "c")
	}
	for _, m := range c.Members() {
		if m.Name == "b" && (m.Zone != "north" || m.Weight != 77 || m.ID != b.host.ID() || m.Self) {
			t.Errorf("got %+v", m)
		}
		if m.Self != (m.Name == "c") {
			t.Errorf("%s: self is %v", m.Name, m.Self)
		}
	}
	eventually(t, "latency is known", func() bool { return c.Members()[0].Latency > 0 })
}

func TestOrderOfStartingDoesNotMatter(t *testing.T) {
	// b is configured with an address where nobody listens yet.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := ma.NewMultiaddr(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port))
	l.Close()
	b := newNode(t, "b", knows("a", addr), nil)
	eventually(t, "it has tried", func() bool { return b.Members()[0].Detail != "" })
	a := newNode(t, "a", knows("b", b.addr()), nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
}

func TestDeathIsNoticedAtOnce(t *testing.T) {
	a := newNode(t, "a", func(o *Options) { o.LostAfter = time.Hour }, nil) // not by a timeout
	b := newNode(t, "b", knows("a", a.addr()), nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	b.stop()
	sees(t, a, "a")
	if s := a.state("b"); s != Lost {
		t.Errorf("state %s", s)
	}
}

// In a large fleet, an edge is connected with few others. Those that notice a death have
// the others look.
func TestDeathIsHeardOf(t *testing.T) {
	large := func(o *Options) { o.Warm = 0 }
	a := newNode(t, "a", large, nil)
	b := newNode(t, "b", func(o *Options) { large(o); knows("a", a.addr())(o) }, nil)
	c := newNode(t, "c", func(o *Options) { large(o); knows("a", a.addr())(o) }, nil)
	for _, n := range []*node{a, b, c} {
		sees(t, n, "a", "b", "c")
	}
	b.host.Network().ClosePeer(c.host.ID()) // if they met
	sees(t, b, "a", "b", "c")
	c.stop()
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	eventually(t, "b has looked", func() bool {
		for _, m := range b.Members() {
			if m.Name == "c" {
				return strings.Contains(m.Detail, "refused")
			}
		}
		return false
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	large := func(o *Options) { o.Warm = 0 }
	a := newNode(t, "a", large, nil)
	b := newNode(t, "b", func(o *Options) { large(o); knows("a", a.addr())(o) }, nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	if err := b.Connect(t.Context(), a.host.ID()); err != nil {
		t.Fatal(err)
	}
	b.closeIdle(time.Now()) // it is needed
	a.Used(b.host.ID())
	b.closeIdle(time.Now().Add(2 * idleAfter)) // a needs it
	for _, n := range []*node{a, b} {
		n.mu.Lock()
		for _, m := range n.byName {
			m.used, m.offered = time.Now().Add(-2*idleAfter), time.Time{}
		}
		n.mu.Unlock()
	}
	eventually(t, "it is closed", func() bool {
		b.closeIdle(time.Now().Add(2 * idleAfter))
		return a.host.Network().Connectedness(b.host.ID()) != network.Connected
	})
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	if err := a.Connect(t.Context(), b.host.ID()); err != nil {
		t.Errorf("connect again: %v", err)
	}
}

// After a cut, an edge may have a connection left that counts as open and leads
// nowhere.
func TestConnectionThatNobodyAnswersIsReplaced(t *testing.T) {
	quick := func(o *Options) { o.LostAfter = 200 * time.Millisecond }
	a := newNode(t, "a", quick, nil)
	b := newNode(t, "b", func(o *Options) { quick(o); knows("a", a.addr())(o) }, nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")

	transport := a.host.Network().(*swarm.Swarm).TransportForDialing(b.addr())
	deaf, err := transport.Dial(t.Context(), b.addr(), b.host.ID()) // a does not know of it
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	eventually(t, "b has two connections", func() bool { return len(b.host.Network().ConnsToPeer(a.host.ID())) == 2 })
	for range 16 { // the one with more streams is used
		if s, err := deaf.OpenStream(t.Context()); err != nil {
			t.Fatal(err)
		} else if err := multistream.SelectProtoOrFail(Protocol, s); err != nil {
			t.Fatal(err)
		}
	}
	a.host.Network().ClosePeer(b.host.ID())
	eventually(t, "b gives the connection up", func() bool {
		b.Probe(a.host.ID()) // as whoever waits for it does
		return deaf.IsClosed()
	})
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	eventually(t, "b has another connection", func() bool { return b.state("a") == Alive })
}

func TestLeavingIsAnnounced(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	b := newNode(t, "b", knows("a", a.addr()), nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.Leave(ctx)
	if ctx.Err() != nil {
		t.Fatal("nobody acknowledged")
	}
	if s := a.state("b"); s != Leaving {
		t.Errorf("state %s", s)
	}
	b.stop()
	eventually(t, "it is gone", func() bool { return a.state("b") == Left })
	again := newNode(t, "b", knows("a", a.addr()), nil)
	sees(t, a, "a", "b")
	sees(t, again, "a", "b")
}

// One that says it leaves, and then does not, is not waited for without end.
func TestLeavingHasAnEnd(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	b := newNode(t, "b", knows("a", a.addr()), nil)
	sees(t, a, "a", "b")
	sees(t, b, "a", "b")
	b.Leave(t.Context())
	a.sweepAt(time.Now().Add(leaveWithin / 2))
	if s := a.state("b"); s != Leaving {
		t.Errorf("state %s half way", s)
	}
	a.sweepAt(time.Now().Add(leaveWithin + time.Second))
	if s := a.state("b"); s != Left {
		t.Errorf("state %s afterwards", s)
	}
	// It goes on saying so, which does not take it back.
	before := a.heardAt("b")
	eventually(t, "it answers", func() bool {
		a.Probe(b.host.ID())
		return a.heardAt("b").After(before)
	})
	if s := a.state("b"); s != Left {
		t.Errorf("state %s although it has left", s)
	}
}

func (n *node) heardAt(name string) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byName[name].heard
}

func TestAnotherSecretGetsNothing(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	b := newNode(t, "b", func(o *Options) {
		o.Secret = "another secret, long enough as well"
		knows("a", a.addr())(o)
	}, nil)
	eventually(t, "it is refused", func() bool { return b.state("a") == Refused })
	eventually(t, "it is said once", func() bool { return b.log.count("another swarm.secret") == 1 })
	if b.log.count("long enough") > 0 {
		t.Error("the secret is in the log")
	}
	sees(t, a, "a")
	sees(t, b, "b")
}

// A peer that does not expect anyone in particular gets through the handshake, and
// has to say who it is.
func TestStrangersAreTurnedAway(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	for name, say := range map[string]*frame{
		"wrong name":    {Hello: &hello{Version: protocolVersion, Name: "b"}},
		"its own name":  {Hello: &hello{Version: protocolVersion, Name: "a"}},
		"bad name":      {Hello: &hello{Version: protocolVersion, Name: "no such\nname"}},
		"other version": {Hello: &hello{Version: 99, Name: "b"}},
	} {
		h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport),
			libp2p.Security(ltls.ID, ltls.New), libp2p.DisableRelay(), libp2p.DisableMetrics())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.Connect(t.Context(), peer.AddrInfo{ID: a.host.ID(), Addrs: a.host.Addrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := h.NewStream(t.Context(), a.host.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFrame(s, say); err != nil {
			t.Fatal(err)
		}
		answer, err := readFrame(newBuffered(s))
		if err != nil || answer.Refused == nil || answer.Hello != nil {
			t.Errorf("%s: got %+v, %v", name, answer, err)
		}
		s.Reset()
		eventually(t, "it is disconnected", func() bool { return h.Network().Connectedness(a.host.ID()) != network.Connected })
	}
	sees(t, a, "a")
}

func TestTheSecondOfTwoWithOneNameStandsAside(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	first := newNode(t, "twin", knows("a", a.addr()), nil)
	sees(t, a, "a", "twin")
	sees(t, first, "a", "twin")
	second := newNode(t, "twin", knows("a", a.addr()), nil)
	eventually(t, "it stands aside", func() bool { return second.state("twin") == StandingAside })
	if n := second.log.count("standing aside"); n != 1 {
		t.Errorf("%d lines in its log", n)
	}
	if s := a.state("twin"); s != Alive {
		t.Errorf("the first one is %s", s)
	}
	first.stop()
	eventually(t, "it takes the name", func() bool { return slices.Equal(second.alive(), []string{"a", "twin"}) })
	sees(t, a, "a", "twin")
}

// records is a Resolver with fixed answers.
type records struct {
	mu  sync.Mutex
	srv map[string][]*net.SRV // by service
	a   []string
}

func (r *records) LookupSRV(_ context.Context, service, _, _ string) (string, []*net.SRV, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if list := r.srv[service]; list != nil {
		return "", list, nil
	}
	return "", nil, errors.New("no such host")
}

func (r *records) LookupHost(context.Context, string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.a == nil {
		return nil, errors.New("no such host")
	}
	return r.a, nil
}

func TestMembersAreFoundByDNS(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	stranger := newNode(t, "x", func(o *Options) { o.Secret = "another secret, long enough as well" }, nil)
	srv := func(n *node) *net.SRV { return &net.SRV{Target: "127.0.0.1", Port: uint16(n.port())} }
	for name, r := range map[string]*records{
		"SRV":            {srv: map[string][]*net.SRV{"": {srv(stranger), srv(a)}}},
		"SRV of service": {srv: map[string][]*net.SRV{"swarm": {srv(a)}}},
		"A":              {a: []string{"127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newNode(t, "b", func(o *Options) {
				o.DNS, o.Port, o.ResolveEvery = "shoal.example", a.port(), 50*time.Millisecond
			}, r)
			sees(t, b, "a", "b")
			sees(t, a, "a", "b")
			b.stop()
			sees(t, a, "a")
		})
	}
	sees(t, stranger, "x")
}

func TestDNSThatFailsIsLoggedOnce(t *testing.T) {
	b := newNode(t, "b", func(o *Options) { o.DNS, o.ResolveEvery = "shoal.example", time.Millisecond }, &records{})
	eventually(t, "it is logged", func() bool { return b.log.count("shoal.example") > 0 })
	time.Sleep(20 * time.Millisecond)
	if n := b.log.count("shoal.example"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestFleetIsBounded(t *testing.T) {
	a := newNode(t, "a", func(o *Options) { o.Max = 2 }, nil)
	for i := range 100 {
		err := a.swim.NotifyAlive(&memberlist.Node{Name: fmt.Sprintf("m-%d", i), Meta: []byte("{}")})
		if (err == nil) != (i < 2) {
			t.Errorf("member %d: %v", i, err)
		}
	}
	if n := len(a.Members()); n != 3 {
		t.Errorf("%d members", n)
	}
}

func TestMalformedFramesEndTheStream(t *testing.T) {
	a := newNode(t, "a", nil, nil)
	b := newNode(t, "b", knows("a", a.addr()), nil)
	sees(t, a, "a", "b")
	for _, raw := range [][]byte{{3, 'x', 'y', 'z'}, {0xff, 0xff, 0xff, 0xff, 0x0f}, {2, '{', '}'}} {
		s, err := b.host.NewStream(t.Context(), a.host.ID(), Protocol)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(raw)
		s.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := readFrame(newBuffered(s)); err == nil {
			t.Errorf("%q was answered", raw)
		}
		s.Reset()
	}
	sees(t, a, "a", "b")
}
