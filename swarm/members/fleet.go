package members

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	shared "github.com/shoal-cdn/shoal/member"
)

// What is known of a member, and its states, are the vocabulary's.
type (
	Info  = shared.Member
	State = shared.State
)

// The states of a member.
const (
	Connecting    = shared.Connecting
	Alive         = shared.Alive
	Suspect       = shared.Suspect
	Lost          = shared.Lost
	Leaving       = shared.Leaving
	Left          = shared.Left
	Refused       = shared.Refused
	StandingAside = shared.StandingAside
)

// Resolver looks up the records of a DNS name. [*net.Resolver] is one.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// Options configures a [Fleet].
type Options struct {
	Secret string
	Name   string
	Zone   string
	// Weight is this edge's disk capacity in bytes.
	Weight uint64
	Peers  []Static
	// DNS is a name whose SRV or A records list the edges; empty for none.
	DNS string
	// Port is where edges listen that are found by A records.
	Port int
	// Max is how many members are known at most.
	Max int

	// Warm is up to how many members a fleet may have in which each edge keeps a
	// connection with each other. In a larger one, connections are made when needed.
	Warm int

	// SuspectAfter is the shortest time that an unanswered hello may take.
	SuspectAfter time.Duration
	// DoubtAfter is the shortest silence after which nothing is expected of a
	// suspect any more; see [Fleet.Doubtful].
	DoubtAfter time.Duration
	LostAfter  time.Duration
	// RedialAfter is the longest pause between two attempts to reach a lost member.
	RedialAfter  time.Duration
	ResolveEvery time.Duration
}

// DefaultOptions has somebody who waits for a dead member know within a second and a half.
func DefaultOptions() Options {
	return Options{
		Port: 4001, Max: 5000, Warm: 32,
		SuspectAfter: 60 * time.Millisecond,
		DoubtAfter:   90 * time.Millisecond,
		LostAfter:    1500 * time.Millisecond,
		RedialAfter:  2 * time.Second,
		ResolveEvery: 5 * time.Second,
	}
}

// Config is what a [Fleet] works with.
type Config struct {
	Host host.Host
	// Packets carries SWIM's packets; Close closes it. Nil: a UDP socket on the number of
	// the host's first TCP port.
	Packets  net.PacketConn
	Resolver Resolver
	Log      *slog.Logger
	// Known reports whether a peer is welcome although it is not a member. It may
	// be nil and must not call the Fleet.
	Known func(peer.ID) bool
	// Heard returns when something else than this package last heard of a
	// peer. It may be nil and must not call the Fleet.
	Heard func(peer.ID) time.Time
	// Changed is called after a member's state, weight or zone has changed, from
	// any goroutine, one call at a time. It may be nil.
	Changed func()
}

// Fleet keeps the table of members. It is safe for concurrent use.
type Fleet struct {
	opts Options
	cfg  Config
	host host.Host
	log  *slog.Logger
	peer string // this edge's ID as it is written
	me   instance
	swim *swim

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	notify  *network.NotifyBundle
	changes chan struct{} // wakes the goroutine that calls Config.Changed
	kick    chan struct{} // wakes the goroutine that keeps up connections

	mu      sync.Mutex
	closed  bool
	byName  map[string]*member
	byID    map[peer.ID]*member
	leaving bool
	// aside is since when this edge stands aside; zero if it does not.
	aside    time.Time
	asideWhy string
	started  time.Time
	changed  chan struct{}
	lag      time.Duration // how late this process's timers have been, lately
	lagAt    time.Time
	guests   map[peer.ID]*guest // connected and unknown
	blocked  map[peer.ID]time.Time
	probing  map[peer.ID]bool // made-up IDs, see learnID
	probed   map[string]probe
	warned   map[string]time.Time
}

// New makes the table with its static members. Start begins to reach them.
func New(opts Options, cfg Config) (*Fleet, error) {
	f := &Fleet{
		opts: opts, cfg: cfg, host: cfg.Host, log: cfg.Log, peer: cfg.Host.ID().String(),
		me:      instance{Started: time.Now().UnixNano(), Nonce: rand.Uint64()},
		changes: make(chan struct{}, 1), changed: make(chan struct{}), kick: make(chan struct{}, 1),
		byName: map[string]*member{}, byID: map[peer.ID]*member{},
		started: time.Now(),
		guests:  map[peer.ID]*guest{}, blocked: map[peer.ID]time.Time{},
		probing: map[peer.ID]bool{}, probed: map[string]probe{}, warned: map[string]time.Time{},
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	var err error
	if f.swim, err = newSWIM(f); err != nil {
		f.cancel()
		return nil, err
	}
	if _, err = f.meta(); err == nil {
		err = f.swim.create()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	for _, s := range opts.Peers {
		if s.Name == opts.Name {
			continue // one list for the whole fleet is convenient
		}
		m, err := f.add(s.Name)
		if err != nil {
			f.Close()
			return nil, err
		}
		m.static = append(m.static, s.Addr)
		m.info.Addr = s.Addr.String()
	}
	return f, nil
}

// Start listens for members and begins to reach them.
func (f *Fleet) Start() {
	f.run(f.swim.transport.read)
	f.host.SetStreamHandler(Protocol, f.handle)
	f.host.SetStreamHandler(swimProtocol, f.swim.handle)
	f.notify = &network.NotifyBundle{ConnectedF: f.connected, DisconnectedF: f.disconnected}
	f.host.Network().Notify(f.notify)
	f.run(f.callChanged)
	f.run(f.sweep)
	f.run(f.keep)
	if f.opts.DNS != "" {
		f.run(f.discover)
	}
}

// Close stops everything and returns when all goroutines have ended. It says
// nothing to the others; see [Fleet.Leave].
func (f *Fleet) Close() {
	f.host.RemoveStreamHandler(Protocol)
	f.host.RemoveStreamHandler(swimProtocol)
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	if f.notify != nil {
		f.host.Network().StopNotify(f.notify)
	}
	f.swim.stop()
	f.running.Wait()
}

// run starts fn unless the fleet is closed.
func (f *Fleet) run(fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runLocked(fn)
}

// runLocked does the same when f.mu is held.
func (f *Fleet) runLocked(fn func()) bool {
	if f.closed {
		return false
	}
	f.running.Add(1)
	go func() {
		defer f.running.Done()
		fn()
	}()
	return true
}

// IsMember reports whether a peer ID belongs to the fleet.
func (f *Fleet) IsMember(id peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byID[id] != nil
}

// Members returns this edge and all others it knows of, by name.
func (f *Fleet) Members() []Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []Info{f.self()}
	for _, m := range f.byName {
		info := m.info
		info.Latency, info.Met = m.srtt.Seconds(), m.met
		all = append(all, info)
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// self describes this edge. f.mu is held.
func (f *Fleet) self() Info {
	i := Info{Name: f.opts.Name, ID: f.host.ID(), Peer: f.peer, Zone: f.opts.Zone, Weight: f.opts.Weight,
		State: Alive, Since: f.started, Self: true}
	if addrs := f.host.Addrs(); len(addrs) > 0 {
		i.Addr = addrs[0].String()
	}
	switch {
	case !f.aside.IsZero():
		i.State, i.Since, i.Detail = StandingAside, f.aside, f.asideWhy
	case f.leaving:
		i.State = Leaving
	}
	return i
}

// State returns the state of a peer; Lost for one that is no member.
func (f *Fleet) State(id peer.ID) State {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		return m.info.State
	}
	return Lost
}

// Changed returns a channel that is closed at the next change of any member's
// state, weight, zone or address.
func (f *Fleet) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Leave tells the others that this edge is about to stop, and returns when they have
// been told or ctx ends. Those that are not connected hear of it by SWIM.
func (f *Fleet) Leave(ctx context.Context) {
	f.mu.Lock()
	f.leaving = true
	var told sync.WaitGroup
	everyone := true
	for _, m := range f.byName {
		switch {
		case !m.info.InRing():
		case !m.met:
			everyone = false
		default:
			told.Add(1)
			if !f.runLocked(func() {
				defer told.Done()
				if _, err := f.introduce(ctx, peer.AddrInfo{ID: m.id}); err != nil {
					f.log.Debug("swarm: a member was not told that this edge leaves", "member", m.name, "err", err)
				}
			}) {
				told.Done()
			}
		}
	}
	f.mu.Unlock()
	f.touch()
	f.swim.update(!everyone)
	told.Wait()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// touch makes changes known to everyone who waits for them.
func (f *Fleet) touch() {
	f.mu.Lock()
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	signal(f.changes)
}

// callChanged calls Config.Changed, which may be slow, one call at a time.
func (f *Fleet) callChanged() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.changes:
			if f.cfg.Changed != nil {
				f.cfg.Changed()
			}
		}
	}
}

// warnEvery is how often the same warning is repeated.
const warnEvery = 10 * time.Minute

// warn logs a warning unless the same was logged lately.
func (f *Fleet) warn(key, msg string, args ...any) {
	f.mu.Lock()
	recent := time.Since(f.warned[key]) < warnEvery
	if !recent && len(f.warned) < 1000 {
		f.warned[key] = time.Now()
	}
	f.mu.Unlock()
	if !recent {
		f.log.Warn(msg, args...)
	}
}

// ID returns the peer ID of a member.
func (f *Fleet) ID(name string) (peer.ID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byName[name]; m != nil {
		return m.id, true
	}
	return "", false
}

// Name returns the name of the member with a peer ID.
func (f *Fleet) Name(id peer.ID) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		return m.name, true
	}
	return "", false
}
