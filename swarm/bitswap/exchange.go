package bitswap

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// The protocol's versions, newest first.
const (
	protocol12 protocol.ID = "/ipfs/bitswap/1.2.0"
	protocol11 protocol.ID = "/ipfs/bitswap/1.1.0"
	protocol10 protocol.ID = "/ipfs/bitswap/1.0.0"
)

var protocols = []protocol.ID{protocol12, protocol11, protocol10}

// Access says what a peer may do here.
type Access uint8

// The levels of access, each including those before it.
const (
	Stranger Access = iota // is cut off
	Source                 // may send what it was asked for
	Guest                  // gets what is stored
	Member                 // has its wants filled
)

// Store is where the blocks come from that others ask for. Both methods may be
// called from many goroutines at once.
type Store interface {
	// Has reports whether the block is stored. It is called for each want and
	// should not have to read a disk.
	Has(ctx context.Context, c cid.Cid) (bool, error)
	// Get returns the stored block, or an error.
	Get(ctx context.Context, c cid.Cid) (*block.Verified, error)
}

// Filler takes on members' wants of blocks that are not stored. It must not block
// and must not call back into the Exchange from within its methods.
type Filler interface {
	// Want is told of a want. If it returns true, [Exchange.Answer] must be called
	// later. It is called again when a WantHave is followed by a WantBlock.
	Want(from peer.ID, c cid.Cid, kind Kind) bool
	// Unwant is told that a want which was taken on was cancelled, or that the
	// peer is gone.
	Unwant(from peer.ID, c cid.Cid)
}

// Options configures an [Exchange].
type Options struct {
	// MaxWants is how many wants of one peer may be on record, and how many
	// answers to it may be in the queue.
	MaxWants int
	// MaxStreams is how many streams of one peer are read at once; others wait.
	MaxStreams int
	// MaxInflight is how many bytes of one peer's messages may be in memory while
	// they are read and checked; at least [MaxMessageSize].
	MaxInflight int64
	// SendTimeout is how long one message may take to be written.
	SendTimeout time.Duration
}

// DefaultOptions lets a peer keep a few hundred MB/s in flight.
func DefaultOptions() Options {
	return Options{MaxWants: 4096, MaxStreams: 64, MaxInflight: 4 * MaxMessageSize, SendTimeout: 10 * time.Second}
}

// Validate reports the first value that cannot be used.
func (o Options) Validate() error {
	switch {
	case o.MaxWants < 1:
		return fmt.Errorf("bitswap: MaxWants: %d: expected at least 1", o.MaxWants)
	case o.MaxStreams < 1:
		return fmt.Errorf("bitswap: MaxStreams: %d: expected at least 1", o.MaxStreams)
	case o.MaxInflight < MaxMessageSize:
		return fmt.Errorf("bitswap: MaxInflight: %d: expected at least %d bytes, the largest message", o.MaxInflight, MaxMessageSize)
	case o.SendTimeout <= 0:
		return fmt.Errorf("bitswap: SendTimeout: %s: expected a positive duration", o.SendTimeout)
	}
	return nil
}

// Config is what an [Exchange] works with.
type Config struct {
	Host host.Host
	// Connect makes a connection with a peer that something is to be sent to, if there
	// is none. It may be nil: whoever asks has seen to that.
	Connect func(context.Context, peer.ID) error
	Store   Store
	Filler  Filler               // may be nil: nothing is filled
	Access  func(peer.ID) Access // called for each message; must not call the Exchange
	// Received is told how many bytes each block has that a peer sent. It may be nil and must not
	// block.
	Received func(from peer.ID, bytes int)
	Log      *slog.Logger          // may be nil
	Metrics  prometheus.Registerer // may be nil
}

// Exchange carries wants and blocks between this peer and others. It is safe for
// concurrent use.
type Exchange struct {
	opts         Options
	host         host.Host
	connect      func(context.Context, peer.ID) error
	store        Store
	filler       Filler
	access       func(peer.ID) Access
	receivedFrom func(peer.ID, int)
	log          *slog.Logger
	metrics      *metrics
	notify       *network.NotifyBundle

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	hashing chan struct{} // one slot for each processor
	seed    maphash.Seed  // for remote.recent
	epoch   time.Time     // what stamp counts from

	mu      sync.Mutex
	closed  bool
	remotes map[peer.ID]*remote
	// waiting finds by multihash who has a want of a block on record.
	waiting map[string]map[*remote]struct{}
	// waitingLen is len(waiting), for a look without the lock.
	waitingLen atomic.Int64
}

// New starts to answer on cfg.Host. Close ends it.
func New(opts Options, cfg Config) (*Exchange, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	x := &Exchange{
		opts: opts, host: cfg.Host, connect: cfg.Connect, store: cfg.Store, filler: cfg.Filler, access: cfg.Access, receivedFrom: cfg.Received,
		log: cfg.Log, metrics: m,
		hashing: make(chan struct{}, runtime.GOMAXPROCS(0)),
		seed:    maphash.MakeSeed(),
		epoch:   time.Now(),
		remotes: map[peer.ID]*remote{},
		waiting: map[string]map[*remote]struct{}{},
	}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	x.notify = &network.NotifyBundle{DisconnectedF: func(n network.Network, c network.Conn) {
		if n.Connectedness(c.RemotePeer()) != network.Connected {
			x.Drop(c.RemotePeer())
		}
	}}
	x.host.Network().Notify(x.notify)
	for _, id := range protocols {
		x.host.SetStreamHandler(id, x.handle)
	}
	return x, nil
}

// Close stops answering, fails every ask with [ErrGone] and returns when all
// goroutines have ended.
func (x *Exchange) Close() error {
	for _, id := range protocols {
		x.host.RemoveStreamHandler(id)
	}
	x.host.Network().StopNotify(x.notify)
	x.mu.Lock()
	x.closed = true
	var ids []peer.ID
	for id := range x.remotes {
		ids = append(ids, id)
	}
	x.mu.Unlock()
	x.cancel()
	for _, id := range ids {
		x.Drop(id)
	}
	x.running.Wait()
	x.metrics.unregister()
	return nil
}

// remote returns the state kept for a peer, or nil if the exchange is closed.
func (x *Exchange) remote(id peer.ID) *remote {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	r := x.remotes[id]
	if r == nil {
		r = newRemote(x, id)
		x.remotes[id] = r
	}
	return r
}

// Drop forgets a peer: what was asked of it fails with [ErrGone], what it asked is
// forgotten, and the streams to it are reset. It is called by itself when the last
// connection to the peer closes.
func (x *Exchange) Drop(id peer.ID) {
	x.mu.Lock()
	r := x.remotes[id]
	x.mu.Unlock()
	if r != nil {
		x.drop(r)
	}
}

func (x *Exchange) drop(r *remote) {
	x.mu.Lock()
	if x.remotes[r.id] == r {
		delete(x.remotes, r.id)
	}
	x.mu.Unlock()
	r.end(ErrGone)
}

// Heard returns when the last message of a peer was read; the zero time if none
// was. The time is monotonic: a clock that is set says nothing about a peer.
func (x *Exchange) Heard(id peer.ID) time.Time {
	return x.last(id, func(r *remote) *atomic.Int64 { return &r.heard })
}

// Received returns when bytes of a block were last read from a peer, the way
// [Exchange.Heard] does. A large block on its way shows here before it is complete.
func (x *Exchange) Received(id peer.ID) time.Time {
	return x.last(id, func(r *remote) *atomic.Int64 { return &r.received })
}

func (x *Exchange) last(id peer.ID, of func(*remote) *atomic.Int64) time.Time {
	x.mu.Lock()
	r := x.remotes[id]
	x.mu.Unlock()
	if r == nil {
		return time.Time{}
	}
	if ns := of(r).Load(); ns != 0 {
		return x.epoch.Add(time.Duration(ns))
	}
	return time.Time{}
}

// stamp notes the present time: nanoseconds since the exchange was made, by the
// monotonic clock, and never 0.
func (x *Exchange) stamp(at *atomic.Int64) { at.Store(max(int64(time.Since(x.epoch)), 1)) }

// run starts f unless the exchange is closed.
func (x *Exchange) run(f func()) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	x.running.Add(1)
	go func() {
		defer x.running.Done()
		f()
	}()
	return true
}

// handle reads the messages of one incoming stream.
func (x *Exchange) handle(s network.Stream) {
	id := s.Conn().RemotePeer()
	if x.access(id) == Stranger {
		x.metrics.refused.WithLabelValues("stranger").Inc()
		s.Reset()
		return
	}
	r := x.remote(id)
	if r == nil {
		s.Reset()
		return
	}
	if !x.run(func() {
		defer context.AfterFunc(r.ctx, func() { s.Reset() })()
		// Whoever opens a stream for each message may have to wait for its turn; a
		// refusal would lose the message.
		if err := r.reading.Acquire(r.ctx, 1); err != nil {
			return
		}
		defer r.reading.Release(1)
		if err := x.read(r, s); err != nil && !errors.Is(err, io.EOF) {
			x.log.Debug("bitswap: incoming stream ended", "peer", id, "err", err)
			s.Reset()
			return
		}
		s.Close()
	}) {
		s.Reset()
	}
}

// read handles messages until the stream ends. A clean end is io.EOF.
func (x *Exchange) read(r *remote, s network.Stream) error {
	in := newReader(s)
	in.came = func() { x.stamp(&r.received) }
	for {
		size, err := in.next()
		if err != nil {
			return err
		}
		if err := r.inflight.Acquire(r.ctx, size); err != nil {
			return err
		}
		buf, err := in.read(size)
		if err != nil {
			r.inflight.Release(size)
			return err
		}
		m, err := Parse(buf)
		if err != nil {
			r.inflight.Release(size)
			x.metrics.refused.WithLabelValues("malformed").Inc()
			return err
		}
		x.stamp(&r.heard)
		access := x.access(r.id)
		if access == Stranger {
			r.inflight.Release(size)
			return errors.New("no longer allowed")
		}
		x.metrics.refused.WithLabelValues("cid").Add(float64(m.Ignored))
		r.receiveBlocks(m.Payload, len(buf), func() { r.inflight.Release(size) })
		r.receivePresences(m.Presences)
		r.receiveWants(m, access)
	}
}
