package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

const (
	// dialTimeout is how long a connection with an origin may take to be made.
	dialTimeout = 3 * time.Second
	// maxDial bounds that for all connections, also on a machine that is very busy.
	maxDial = 10 * time.Second
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("swarm is closed")

// Local is what is on this edge. Its methods may be called from many goroutines at
// once.
type Local interface {
	// Has reports whether a block is here. It is asked for each want of a sibling
	// and reads no disk.
	Has(ctx context.Context, c cid.Cid) (bool, error)
	// GetLocal returns a block that is here, and counts that as a use.
	GetLocal(ctx context.Context, c cid.Cid) (*block.Verified, error)
	// Fill returns a block that is at home here, and has [Swarm.Fill] find it if it is
	// not here. Everyone who wants it shares one fetch, which ends with the last of them.
	Fill(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error)
	// Relay returns a block that siblings ask this edge for although it is at home
	// elsewhere, and has [Swarm.Get] find it if it is not here.
	Relay(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error)
	// Put keeps a block that is at home here.
	Put(ctx context.Context, b *block.Verified) error
	// Touch counts a use of a block at home here, or here for the zone, that a sibling
	// reports, and returns whether it is here.
	Touch(c cid.Cid) bool
	// Hottest returns what is in memory and was used, the most used first, up to a
	// number of bytes.
	Hottest(bytes int64) []cid.Cid
}

// Dialer makes TCP connections. [*net.Dialer] is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Config is what a [Swarm] works with.
type Config struct {
	Local    Local
	Dialer   Dialer                // nil: libp2p's own
	Packets  net.PacketConn        // of the fleet's failure detector; nil: UDP beside the first TCP port
	Resolver members.Resolver      // nil: the system's
	Log      *slog.Logger          // nil: nothing is logged
	Metrics  prometheus.Registerer // nil: nothing is registered
}

// Swarm is this edge's part of the fleet. It is safe for concurrent use.
type Swarm struct {
	opts    Options
	local   Local
	origin  block.Getter // set by Start
	log     *slog.Logger
	metrics *metrics
	library *prometheus.Registry // libp2p's own metrics, which it never takes back

	host      host.Host
	exchange  *bitswap.Exchange
	fleet     *members.Fleet // nil: this edge stands alone
	guests    map[peer.ID]bool
	fallbacks *semaphore.Weighted
	recent    *recent
	uses      *uses
	load      *placement.Load
	denials   *denials
	health    health
	view      atomic.Pointer[view]
	calls     map[string]Handler // fixed by Start

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	joined  chan struct{} // closed when the siblings were met

	mu       sync.Mutex
	started  bool
	closed   bool
	fills    map[fillKey]*fill
	failures *failures
	news     news
	sources  map[peer.ID]int // Bitswap origins, and how often each is used
	siblings map[peer.ID]*sibling
}

var _ block.Getter = (*Swarm)(nil)

// New opens the listening sockets. Nobody is dialed and nothing is answered until
// Start.
func New(opts Options, cfg Config) (*Swarm, error) {
	p, err := opts.parse()
	if err != nil {
		return nil, err
	}
	s := &Swarm{
		opts: opts, local: cfg.Local, log: cfg.Log, guests: p.allow,
		fallbacks: semaphore.NewWeighted(int64(opts.Fallbacks)), recent: &recent{}, uses: newUses(), load: placement.NewLoad(), denials: newDenials(), news: news{due: map[string][]string{}},
		fills: map[fillKey]*fill{}, failures: newFailures(opts.ErrorMemory),
		sources: map[peer.ID]int{}, siblings: map[peer.ID]*sibling{},
		library: prometheus.NewRegistry(), calls: map[string]Handler{}, joined: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	g := &gate{}
	if s.host, err = newHost(opts, p, g, cfg.Dialer, s.library); err != nil {
		return nil, err
	}
	if err := s.build(p, cfg); err != nil {
		if s.fleet != nil {
			s.fleet.Close()
		}
		s.host.Close()
		return nil, err
	}
	permit := s.permit
	g.permit.Store(&permit)
	return s, nil
}

func (s *Swarm) build(p *parsed, cfg Config) (err error) {
	if s.opts.Secret != "" {
		o := s.opts.Members
		o.Secret, o.Name, o.Zone, o.DNS, o.Peers = s.opts.Secret, s.opts.Name, s.opts.Zone, s.opts.DNS, p.peers
		o.Weight = uint64(s.opts.DiskBytes)
		resolver := cfg.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		s.fleet, err = members.New(o, members.Config{
			Host: s.host, Packets: cfg.Packets, Resolver: resolver, Log: s.log, Known: s.known,
			Heard:   func(id peer.ID) time.Time { return s.exchange.Heard(id) },
			Changed: s.look,
		})
		if err != nil {
			return fmt.Errorf("swarm: %w", err)
		}
	}
	s.exchange, err = bitswap.New(s.opts.Bitswap, bitswap.Config{
		Host: s.host, Connect: s.connect, Store: serving{s.local, s.recent}, Filler: (*filler)(s), Access: s.access, Received: s.received, Log: s.log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return fmt.Errorf("swarm: %w", err)
	}
	if s.metrics, err = newMetrics(cfg.Metrics, s); err != nil {
		s.exchange.Close()
		return fmt.Errorf("swarm: %w", err)
	}
	s.look()
	return nil
}

// Start joins the fleet. What no sibling has is asked of origin, which may be nil.
func (s *Swarm) Start(origin block.Getter) {
	s.mu.Lock()
	s.origin, s.started = origin, true
	s.mu.Unlock()
	if s.fleet == nil {
		close(s.joined)
		return
	}
	s.handleCalls()
	s.fleet.Start()
	s.run(s.reportUses)
	if !s.run(s.join) {
		close(s.joined)
	}
}

// Drain tells the fleet that this edge is about to stop, hands over what was asked of
// it lately, and returns when that is done or ctx ends. From then on nothing is at home
// here; blocks are still served until Close.
func (s *Swarm) Drain(ctx context.Context) {
	if s.fleet != nil {
		s.fleet.Leave(ctx)
		s.look()
		s.handOver(ctx)
	}
}

// Close ends all fetches, closes all connections and returns when all goroutines
// have ended.
func (s *Swarm) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	if s.fleet != nil {
		s.host.RemoveStreamHandler(callProtocol)
		s.fleet.Close()
	}
	s.exchange.Close()
	// Only now, so that nobody is told that a block could not be had because the
	// search for it was cancelled.
	s.cancel()
	s.running.Wait()
	err := s.host.Close()
	s.metrics.unregister()
	return err
}

// run starts f unless the swarm is closed.
func (s *Swarm) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		f()
	}()
	return true
}

// ID returns this edge's peer ID.
func (s *Swarm) ID() peer.ID { return s.host.ID() }

// Addrs returns the addresses that this edge can be reached at, each with its peer
// ID at the end.
func (s *Swarm) Addrs() []string {
	var list []string
	for _, a := range s.host.Addrs() {
		list = append(list, a.String()+"/p2p/"+s.host.ID().String())
	}
	return list
}

// Members returns this edge and all others that it knows of, by name.
func (s *Swarm) Members() []member.Member {
	if s.fleet == nil {
		return []member.Member{{Name: s.opts.Name, ID: s.host.ID(), Peer: s.host.ID().String(), Zone: s.opts.Zone,
			State: member.Alive, Weight: uint64(s.opts.DiskBytes), Self: true, Listen: s.Addrs()}}
	}
	all := s.fleet.Members()
	for i := range all {
		if all[i].Self {
			all[i].Listen = s.Addrs()
		}
	}
	return all
}

// Changed returns a channel that is closed at the next change of who is there; nil if
// there is nobody else.
func (s *Swarm) Changed() <-chan struct{} {
	if s.fleet == nil {
		return nil
	}
	return s.fleet.Changed()
}

// Retry has blocks that could not be had a moment ago looked for again at once: it is
// for when there is another origin.
func (s *Swarm) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures.clear()
	s.health.reset()
}

// connect makes a connection with a member if there is none. Others are connected by
// whoever wants something of them.
func (s *Swarm) connect(ctx context.Context, id peer.ID) error {
	if s.fleet == nil || !s.fleet.IsMember(id) {
		return nil
	}
	return s.fleet.Connect(ctx, id)
}

// known reports whether a peer is welcome although it is not a member.
func (s *Swarm) known(id peer.ID) bool {
	if s.guests[id] {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sources[id] > 0
}

func (s *Swarm) permit(dir network.Direction, id peer.ID) bool {
	if s.fleet != nil {
		return s.fleet.Permit(dir, id, s.known(id))
	}
	return s.known(id)
}

// received counts the bytes of a block that a sibling sent, by whether it had to cross
// zones.
func (s *Swarm) received(from peer.ID, bytes int) {
	if s.access(from) != bitswap.Member {
		return
	}
	scope := "local"
	if s.view.Load().zones[from] != s.opts.Zone {
		scope = "remote"
	}
	s.metrics.zoneBytes.WithLabelValues(scope).Add(float64(bytes))
}

// access says what a peer may do over Bitswap.
func (s *Swarm) access(id peer.ID) bitswap.Access {
	switch {
	case s.fleet != nil && s.fleet.IsMember(id):
		return bitswap.Member
	case s.guests[id]:
		return bitswap.Guest
	case s.known(id):
		return bitswap.Source
	}
	return bitswap.Stranger
}
