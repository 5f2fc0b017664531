package bitswap

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ltls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(ltls.ID, ltls.New),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func connect(t testing.TB, a, b host.Host) {
	t.Helper()
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
}

// memory is a Store in memory.
type memory struct {
	mu sync.Mutex
	m  map[string]blocks.Block
}

func (s *memory) put(b blocks.Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]blocks.Block{}
	}
	s.m[string(b.Cid().Hash())] = b
}

func (s *memory) Has(_ context.Context, c cid.Cid) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.m[string(c.Hash())]
	return ok, nil
}

func (s *memory) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.m[string(c.Hash())]; ok {
		return b, nil
	}
	return nil, block.NotFound(c)
}

// node is one peer with an exchange.
type node struct {
	host.Host
	*Exchange
	store memory

	mu     sync.Mutex
	access map[peer.ID]Access
}

func (n *node) Close() error { return n.Exchange.Close() }

func (n *node) allow(id peer.ID, a Access) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.access[id] = a
}

func newNode(t testing.TB, opts Options, f Filler) *node {
	t.Helper()
	n := &node{Host: newHost(t), access: map[peer.ID]Access{}}
	x, err := New(opts, Config{Host: n.Host, Store: &n.store, Filler: f, Access: func(id peer.ID) Access {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.access[id]
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.Exchange = x
	t.Cleanup(func() { x.Close() })
	return n
}

// pair returns two members of each other, connected.
func pair(t testing.TB, f Filler) (a, b *node) {
	t.Helper()
	a, b = newNode(t, DefaultOptions(), nil), newNode(t, DefaultOptions(), f)
	a.allow(b.ID(), Member)
	b.allow(a.ID(), Member)
	connect(t, a, b)
	return a, b
}

func randomBlock(t testing.TB, size int) *block.Verified {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	b, err := block.Sum(cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1}, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// request sends a want and waits for the reply.
func request(t testing.TB, from *node, to peer.ID, c cid.Cid, kind Kind) Reply {
	t.Helper()
	got := make(chan Reply, 1)
	from.Ask(to, c, kind, func(r Reply) { got <- r })
	return await(t, got)
}

func await(t testing.TB, got <-chan Reply) Reply {
	t.Helper()
	select {
	case r := <-got:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no reply")
		return Reply{}
	}
}

func BenchmarkColdBlock(b *testing.B) {
	x, y := pair(b, nil)
	blk := randomBlock(b, 64<<10)
	y.store.put(blk)
	for b.Loop() {
		if r := request(b, x, y.ID(), blk.Cid(), WantBlock); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}

func BenchmarkColdFile(b *testing.B) {
	for name, size := range map[string]int{"256KiB": 256 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			x, y := pair(b, nil)
			var all []*block.Verified
			for range 100 << 20 / size {
				blk := randomBlock(b, size)
				y.store.put(blk)
				all = append(all, blk)
			}
			got := make(chan Reply, len(all))
			b.SetBytes(100 << 20)
			for b.Loop() {
				for _, blk := range all {
					x.Ask(y.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
				}
				for range all {
					if r := await(b, got); r.Err != nil {
						b.Fatal(r.Err)
					}
				}
			}
		})
	}
}

func BenchmarkBareStream(b *testing.B) {
	x, y := newHost(b), newHost(b)
	connect(b, x, y)
	y.SetStreamHandler("/bare", func(s network.Stream) {
		defer s.Close()
		in, buf := newReader(s), make([]byte, 1<<20)
		for {
			if _, err := in.in.ReadByte(); err != nil {
				return
			}
			for range 100 {
				s.Write(buf)
			}
		}
	})
	s, err := x.NewStream(b.Context(), y.ID(), "/bare")
	if err != nil {
		b.Fatal(err)
	}
	in := newReader(s)
	b.SetBytes(100 << 20)
	for b.Loop() {
		s.Write([]byte{1})
		for range 100 {
			if _, err := in.read(1 << 20); err != nil {
				b.Fatal(err)
			}
		}
	}
}
