package bitswap

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	m  map[string]*block.Verified
}

func (s *memory) put(b *block.Verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]*block.Verified{}
	}
	s.m[string(b.Cid().Hash())] = b
}

func (s *memory) Has(_ context.Context, c cid.Cid) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.m[string(c.Hash())]
	return ok, nil
}

func (s *memory) Get(_ context.Context, c cid.Cid) (*block.Verified, error) {
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

// taker is a Filler that takes on every WantBlock.
type taker struct {
	all      bool // every WantHave, too
	mu       sync.Mutex
	taken    map[cid.Cid]int
	unwanted map[cid.Cid]int
}

func newTaker() *taker { return &taker{taken: map[cid.Cid]int{}, unwanted: map[cid.Cid]int{}} }

func (f *taker) Want(_ peer.ID, c cid.Cid, kind Kind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == WantBlock || f.all {
		f.taken[c]++
	}
	return kind == WantBlock || f.all
}

func (f *taker) Unwant(_ peer.ID, c cid.Cid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unwanted[c]++
}

func (f *taker) took(c cid.Cid) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken[c]
}

func (f *taker) lost(c cid.Cid) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unwanted[c]
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWhatIsStoredIsServed(t *testing.T) {
	a, b := pair(t, nil)
	for _, size := range []int{0, 1, 1000, 100_000, block.MaxSize} {
		blk := randomBlock(t, size)
		if r := request(t, a, b.ID(), blk.Cid(), WantBlock); !errors.Is(r.Err, ErrDontHave) {
			t.Fatalf("%d bytes, before it was stored: got %+v", size, r)
		}
		b.store.put(blk)
		if r := request(t, a, b.ID(), blk.Cid(), WantHave); !r.Have {
			t.Fatalf("%d bytes, want-have: got %+v", size, r)
		}
		r := request(t, a, b.ID(), blk.Cid(), WantBlock)
		if r.Block == nil || r.Block.Cid() != blk.Cid() || !bytes.Equal(r.Block.RawData(), blk.RawData()) {
			t.Fatalf("%d bytes: got %+v", size, r)
		}
	}
}

func TestBlockComesUnderTheCIDThatWasAskedFor(t *testing.T) {
	a, b := pair(t, nil)
	blk := randomBlock(t, 100)
	b.store.put(blk)
	other := cid.NewCidV1(cid.DagCBOR, blk.Cid().Hash())
	if r := request(t, a, b.ID(), other, WantBlock); r.Block == nil || r.Block.Cid() != other {
		t.Fatalf("got %+v", r)
	}
}

func TestManyWantsAtOnceAllArrive(t *testing.T) {
	a, b := pair(t, nil)
	got := make(chan Reply, 2000)
	for range cap(got) {
		blk := randomBlock(t, 3000)
		b.store.put(blk)
		a.Ask(b.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
	}
	for range cap(got) {
		if r := await(t, got); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func TestSharedWantIsSentOnceAndAnswersAll(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	blk := randomBlock(t, 100)
	got := make(chan Reply, 50)
	for range cap(got) {
		a.Ask(b.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
	}
	eventually(t, "the want arrives", func() bool { return f.took(blk.Cid()) > 0 })
	b.Answer(blk.Cid(), blk)
	for range cap(got) {
		if r := await(t, got); r.Block == nil {
			t.Fatalf("got %+v", r)
		}
	}
	if n := f.took(blk.Cid()); n != 1 {
		t.Errorf("%d wants", n)
	}
}

func TestFillerAnswersWithDontHave(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	c := randomBlock(t, 10).Cid()
	got := make(chan Reply, 1)
	a.Ask(b.ID(), c, WantBlock, func(r Reply) { got <- r })
	eventually(t, "the want arrives", func() bool { return f.took(c) > 0 })
	b.Deny(c, []peer.ID{a.ID()})
	if r := await(t, got); !errors.Is(r.Err, ErrDontHave) {
		t.Fatalf("got %+v", r)
	}
}

func TestUpgradedWantIsNotDeniedByTheWeakerOne(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	for range 50 {
		blk := randomBlock(t, 100)
		have, want := make(chan Reply, 1), make(chan Reply, 1)
		a.Ask(b.ID(), blk.Cid(), WantHave, func(r Reply) { have <- r })
		a.Ask(b.ID(), blk.Cid(), WantBlock, func(r Reply) { want <- r })
		eventually(t, "the want arrives", func() bool { return f.took(blk.Cid()) > 0 })
		b.store.put(blk)
		b.Answer(blk.Cid(), blk)
		if r := await(t, want); r.Block == nil {
			t.Fatalf("want-block: got %+v", r)
		}
		await(t, have)
	}
}

// A clock that is set back or forth must not make a silent peer look alive. Only a time
// with a monotonic reading is safe from that; its String says so (package time).
func TestTimesOfAPeerAreMonotonic(t *testing.T) {
	a, b := pair(t, nil)
	if at := a.Heard(b.ID()); !at.IsZero() {
		t.Errorf("heard at %s before anything was said", at)
	}
	blk := randomBlock(t, 200<<10)
	b.store.put(blk)
	before := time.Now()
	request(t, a, b.ID(), blk.Cid(), WantBlock)
	for what, at := range map[string]time.Time{"heard": a.Heard(b.ID()), "received": a.Received(b.ID())} {
		if !strings.Contains(at.String(), " m=") || at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s at %s, asked at %s", what, at, before)
		}
	}
}

func TestReleaseEndsOnlyWhatMayWait(t *testing.T) {
	f := newTaker()
	f.all = true
	a, b := pair(t, f)
	weak, strong := randomBlock(t, 10), randomBlock(t, 10)
	replies := make(chan Reply, 2)
	a.Ask(b.ID(), weak.Cid(), WantHave, func(r Reply) { replies <- r })
	kept := make(chan Reply, 1)
	a.Ask(b.ID(), strong.Cid(), WantBlock, func(r Reply) { kept <- r })
	eventually(t, "both are taken", func() bool { return f.took(weak.Cid()) == 1 && f.took(strong.Cid()) == 1 })
	b.Release(weak.Cid())
	b.Release(strong.Cid())
	if r := await(t, replies); !errors.Is(r.Err, ErrDontHave) {
		t.Errorf("the WantHave got %+v", r)
	}
	b.Answer(strong.Cid(), strong)
	if r := await(t, kept); r.Block == nil {
		t.Errorf("the WantBlock got %+v", r)
	}
}

func TestCancelReachesTheFiller(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	c := randomBlock(t, 10).Cid()
	one := a.Ask(b.ID(), c, WantBlock, func(Reply) { t.Error("answered") })
	two := a.Ask(b.ID(), c, WantBlock, func(Reply) { t.Error("answered") })
	eventually(t, "the want arrives", func() bool { return f.took(c) > 0 })
	one.Cancel()
	one.Cancel()
	if n := f.lost(c); n != 0 {
		t.Fatal("cancelled while somebody waits")
	}
	two.Cancel()
	eventually(t, "the cancellation arrives", func() bool { return f.lost(c) == 1 })
	eventually(t, "nothing is left", func() bool { return !b.Waiting(c) })
}

func TestGonePeerFailsAsksAndFreesWants(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	c := randomBlock(t, 10).Cid()
	got := make(chan Reply, 1)
	a.Ask(b.ID(), c, WantBlock, func(r Reply) { got <- r })
	eventually(t, "the want arrives", func() bool { return f.took(c) > 0 })
	a.Host.Network().ClosePeer(b.ID())
	if r := await(t, got); !errors.Is(r.Err, ErrGone) {
		t.Fatalf("got %+v", r)
	}
	eventually(t, "the want is forgotten", func() bool { return f.lost(c) == 1 })
	if r := request(t, a, b.ID(), c, WantBlock); !errors.Is(r.Err, ErrGone) {
		t.Fatalf("not connected: got %+v", r)
	}
}

// resetStreams resets every Bitswap stream between two nodes.
func resetStreams(n *node, to peer.ID) {
	for _, c := range n.Host.Network().ConnsToPeer(to) {
		for _, s := range c.GetStreams() {
			if slices.Contains(protocols, s.Protocol()) {
				s.Reset()
			}
		}
	}
}

func TestWantsOfABrokenStreamAreSentAgain(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	var all []*block.Verified
	got := make(chan Reply, 100)
	for range cap(got) {
		blk := randomBlock(t, 100)
		all = append(all, blk)
		a.Ask(b.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
	}
	eventually(t, "the wants arrive", func() bool { return f.took(all[99].Cid()) > 0 })
	resetStreams(b, a.ID())
	again := randomBlock(t, 100)
	b.store.put(again)
	if r := request(t, a, b.ID(), again.Cid(), WantBlock); r.Block == nil {
		t.Fatalf("after the reset: got %+v", r)
	}
	for _, blk := range all {
		b.Answer(blk.Cid(), blk)
	}
	for range cap(got) {
		if r := await(t, got); r.Block == nil {
			t.Fatalf("got %+v", r)
		}
	}
}

func TestResentWantIsAnsweredOnce(t *testing.T) {
	f := newTaker()
	a, b := pair(t, f)
	blk := randomBlock(t, 100)
	got := make(chan Reply, 2)
	ask := a.Ask(b.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
	for range 3 {
		ask.Resend()
	}
	eventually(t, "the want arrives", func() bool { return f.took(blk.Cid()) > 0 })
	b.Answer(blk.Cid(), blk)
	if r := await(t, got); r.Block == nil {
		t.Fatalf("got %+v", r)
	}
	ask.Resend() // too late, and harmless
	ask.Cancel()
	other := randomBlock(t, 100)
	b.store.put(other)
	request(t, a, b.ID(), other.Cid(), WantBlock)
	if len(got) > 0 {
		t.Fatal("answered twice")
	}
}

func TestAccess(t *testing.T) {
	f := newTaker()
	a, b := newNode(t, DefaultOptions(), nil), newNode(t, DefaultOptions(), f)
	a.allow(b.ID(), Source)
	connect(t, a, b)
	stored, missing := randomBlock(t, 100), randomBlock(t, 100)
	b.store.put(stored)

	if r := request(t, a, b.ID(), stored.Cid(), WantBlock); !errors.Is(r.Err, ErrGone) {
		t.Errorf("stranger: got %+v", r)
	}
	b.allow(a.ID(), Guest)
	if r := request(t, a, b.ID(), stored.Cid(), WantBlock); r.Block == nil {
		t.Errorf("guest: got %+v", r)
	}
	if r := request(t, a, b.ID(), missing.Cid(), WantBlock); !errors.Is(r.Err, ErrDontHave) || f.took(missing.Cid()) > 0 {
		t.Errorf("guest, missing: got %+v", r)
	}
	// A guest's want stays on record.
	eventually(t, "it is on record", func() bool { return b.Waiting(missing.Cid()) })
	if b.Deny(missing.Cid(), nil); !b.Waiting(missing.Cid()) {
		t.Error("a guest's want was forgotten")
	}
	b.Answer(missing.Cid(), missing)
	if b.Waiting(missing.Cid()) {
		t.Error("a guest's want was not answered")
	}
}

// rawPeer is a peer that says what a test wants it to say.
type rawPeer struct {
	host.Host
	t testing.TB
	s network.Stream
}

func newRawPeer(t testing.TB, to *node, access Access) *rawPeer {
	t.Helper()
	p := &rawPeer{Host: newHost(t), t: t}
	to.allow(p.ID(), access)
	connect(t, p, to.Host)
	return p
}

func (p *rawPeer) send(to peer.ID, msg []byte) error {
	if p.s == nil {
		s, err := p.NewStream(p.t.Context(), to, protocol12)
		if err != nil {
			return err
		}
		p.s = s
	}
	_, err := p.s.Write(append(binary.AppendUvarint(nil, uint64(len(msg))), msg...))
	return err
}

func TestLyingPeerIsFoundOut(t *testing.T) {
	a := newNode(t, DefaultOptions(), nil)
	liar := newRawPeer(t, a, Member)
	liar.SetStreamHandler(protocol12, func(s network.Stream) {
		in := newReader(s)
		for {
			size, err := in.next()
			if err != nil {
				return
			}
			if _, err := in.read(size); err != nil {
				return
			}
			wrong := randomBlock(t, 500)
			msg := appendPayloadHead(nil, wrong.Cid().Prefix(), 500)
			liar.send(a.ID(), append(msg, wrong.RawData()...))
		}
	})
	if r := request(t, a, liar.ID(), randomBlock(t, 500).Cid(), WantBlock); !errors.Is(r.Err, ErrLied) {
		t.Fatalf("got %+v", r)
	}
}

func TestMalformedMessagesEndTheStreamOnly(t *testing.T) {
	b := newNode(t, DefaultOptions(), nil)
	stored := randomBlock(t, 100)
	b.store.put(stored)
	for name, bytes := range map[string][]byte{
		"no protobuf":    {5, 0xff, 0xff, 0xff, 0xff, 0xff},
		"too large":      binary.AppendUvarint(nil, MaxMessageSize+1),
		"endless varint": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		p := newRawPeer(t, b, Member)
		s, err := p.NewStream(t.Context(), b.ID(), protocol12)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(bytes)
		s.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := s.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("%s: the stream is still open: %v", name, err)
		}
	}
	a := newNode(t, DefaultOptions(), nil)
	a.allow(b.ID(), Member)
	b.allow(a.ID(), Member)
	connect(t, a, b)
	if r := request(t, a, b.ID(), stored.Cid(), WantBlock); r.Block == nil {
		t.Errorf("others suffer: got %+v", r)
	}
}

func TestFloodIsBoundedAndHarmsNobodyElse(t *testing.T) {
	opts := DefaultOptions()
	opts.MaxWants = 100
	f := newTaker()
	b := newNode(t, opts, f)
	flooder := newRawPeer(t, b, Member)
	var entries []Entry
	for range 5000 {
		entries = append(entries, Entry{Cid: randomBlock(t, 8).Cid(), SendDontHave: true})
	}
	if err := flooder.send(b.ID(), appendWantlist(nil, entries)); err != nil {
		t.Fatal(err)
	}
	good := newNode(t, DefaultOptions(), nil)
	good.allow(b.ID(), Member)
	b.allow(good.ID(), Member)
	connect(t, good, b)
	stored := randomBlock(t, 100)
	b.store.put(stored)
	if r := request(t, good, b.ID(), stored.Cid(), WantBlock); r.Block == nil {
		t.Fatalf("got %+v", r)
	}
	eventually(t, "the flood is read", func() bool { return f.took(entries[99].Cid) > 0 })
	r := b.remote(flooder.ID())
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wants) > 100 || len(r.queued) > 100 {
		t.Errorf("%d wants on record, %d answers in the queue", len(r.wants), len(r.queued))
	}
}

func TestStalledReaderHarmsNobodyElse(t *testing.T) {
	b := newNode(t, DefaultOptions(), nil)
	stalled := newRawPeer(t, b, Member)
	stalled.SetStreamHandler(protocol12, func(network.Stream) {}) // never reads
	var entries []Entry
	for range 40 {
		blk := randomBlock(t, 1<<20)
		b.store.put(blk)
		entries = append(entries, Entry{Cid: blk.Cid()})
	}
	if err := stalled.send(b.ID(), appendWantlist(nil, entries)); err != nil {
		t.Fatal(err)
	}
	good := newNode(t, DefaultOptions(), nil)
	good.allow(b.ID(), Member)
	b.allow(good.ID(), Member)
	connect(t, good, b)
	for _, e := range entries {
		if r := request(t, good, b.ID(), e.Cid, WantBlock); r.Block == nil {
			t.Fatalf("got %+v", r)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for field, change := range map[string]func(*Options){
		"MaxWants":    func(o *Options) { o.MaxWants = 0 },
		"MaxStreams":  func(o *Options) { o.MaxStreams = 0 },
		"MaxInflight": func(o *Options) { o.MaxInflight = 1 },
		"SendTimeout": func(o *Options) { o.SendTimeout = 0 },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
