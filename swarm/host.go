package swarm

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	p2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/swarm/members"
)

// newHost opens the listening sockets. Nothing is looked up, announced or dialed
// by the host itself.
func newHost(opts Options, p *parsed, g *gate, dialer Dialer, reg prometheus.Registerer) (host.Host, error) {
	key, err := identity(opts)
	if err != nil {
		return nil, err
	}
	limits, err := resources()
	if err != nil {
		return nil, fmt.Errorf("swarm: resource limits: %w", err)
	}
	config := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("shoal"),
		libp2p.NoTransports,
		libp2p.Transport(tcp.NewTCPTransport, tcpOptions(dialer)...),
		// TLS is a good deal faster than Noise where the processor has AES.
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.NoListenAddrs, // see below
		libp2p.ConnectionGater(g),
		libp2p.ResourceManager(limits),
		libp2p.PrometheusRegisterer(reg),
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
		// Edges dial each other in private networks as a rule, where the library's
		// guess that a path is blocked does more harm than good.
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.SwarmOpts(p2pswarm.WithDialTimeout(maxDial), p2pswarm.WithDialTimeoutLocal(maxDial)),
	}
	if opts.wantsQUIC() {
		config = append(config, libp2p.Transport(quic.NewTransport))
	}
	if len(p.announce) > 0 {
		config = append(config, libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return p.announce }))
	}
	h, err := libp2p.New(config...)
	if err != nil {
		limits.Close()
		return nil, fmt.Errorf("swarm: make a libp2p host: %w", err)
	}
	// Done here and one by one, because the library is content with one address out
	// of several, and leaves goroutines behind when it gets none.
	for _, addr := range p.listen {
		if err := h.Network().Listen(addr); err != nil {
			h.Close()
			return nil, fmt.Errorf("swarm: listen on %s: %w", addr, err)
		}
	}
	return h, nil
}

func tcpOptions(dialer Dialer) []any {
	// Without this a second process could listen on the same port, and the two would
	// share the connections.
	list := []any{tcp.DisableReuseport()}
	if dialer != nil {
		list = append(list, tcp.WithDialerForAddr(func(ma.Multiaddr) (tcp.ContextDialer, error) { return dialer, nil }))
	}
	return list
}

// identity returns the key that this edge's connections are authenticated with.
func identity(opts Options) (crypto.PrivKey, error) {
	if opts.Secret != "" {
		return members.Identity(opts.Secret, opts.Name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if opts.KeyFile != "" {
		stored, err := os.ReadFile(opts.KeyFile)
		switch {
		case err == nil && len(stored) == ed25519.SeedSize:
			return keyOf(stored)
		case err == nil:
			return nil, fmt.Errorf("swarm: KeyFile: %s has %d bytes: expected the %d of an ed25519 seed; remove it to make a new one",
				opts.KeyFile, len(stored), ed25519.SeedSize)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("swarm: KeyFile: %w", err)
		}
	}
	rand.Read(seed)
	if opts.KeyFile != "" {
		if err := os.WriteFile(opts.KeyFile, seed, 0o600); err != nil {
			return nil, fmt.Errorf("swarm: KeyFile: %w", err)
		}
	}
	return keyOf(seed)
}

func keyOf(seed []byte) (crypto.PrivKey, error) {
	std := ed25519.NewKeyFromSeed(seed)
	key, _, err := crypto.KeyPairFromStdKey(&std)
	return key, err
}

// The library's defaults are made for a node that talks with the whole world: 8
// connections for each address, one new connection every 5 seconds, and so few
// streams that a burst of blocks loses some. Here the gate decides who gets in, and
// bounds of our own what a peer can hold up; what remains to be bounded are
// connections that have not proved who they are, and the number of connections and
// streams of one peer.
const (
	maxConns         = 20_000
	maxUnproved      = 256
	maxConnsPerPeer  = 16
	maxStreamsInPeer = 512
)

func resources() (network.ResourceManager, error) {
	partial := rcmgr.PartialLimitConfig{
		System:      rcmgr.ResourceLimits{Conns: maxConns, ConnsInbound: maxConns, ConnsOutbound: maxConns},
		Transient:   rcmgr.ResourceLimits{Conns: 2 * maxUnproved, ConnsInbound: maxUnproved},
		PeerDefault: rcmgr.ResourceLimits{Conns: maxConnsPerPeer, ConnsInbound: maxConnsPerPeer, StreamsInbound: maxStreamsInPeer},
	}
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(partial.Build(rcmgr.InfiniteLimits)),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: any4, ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: any6, ConnCount: math.MaxInt}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{}),
	)
}

// gate decides who may connect. It exists before those who know the answer.
type gate struct {
	permit atomic.Pointer[func(network.Direction, peer.ID) bool]
}

func (g *gate) ask(dir network.Direction, id peer.ID) bool {
	permit := g.permit.Load()
	return permit != nil && (*permit)(dir, id)
}

func (g *gate) InterceptPeerDial(id peer.ID) bool                               { return g.ask(network.DirOutbound, id) }
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

func (g *gate) InterceptSecured(dir network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return g.ask(dir, id)
}
