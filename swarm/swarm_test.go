package swarm

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/cache/cachetest"
	"github.com/shoal-cdn/shoal/swarm/members"
)

const testSecret = "a secret that is long enough for tests"

var rawPrefix = cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1}

// makeBlock returns a block of the given size, and another one each time.
func makeBlock(t testing.TB, size int) *block.Verified {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	b, err := block.Sum(rawPrefix, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeBlocks(t testing.TB, n, size int) []*block.Verified {
	t.Helper()
	var all []*block.Verified
	for range n {
		all = append(all, makeBlock(t, size))
	}
	return all
}

// disk is a block store in memory.
type disk struct{ *cachetest.Disk }

func newDisk(all ...*block.Verified) *disk { return &disk{cachetest.New(all...)} }

// Get is what siblings are served from.
func (d *disk) Get(ctx context.Context, c cid.Cid) (*block.Verified, error) { return d.Read(ctx, c) }

func (d *disk) put(b *block.Verified) { d.Put(context.Background(), b) }

func (d *disk) len() int { return d.Len() }

// source is an origin that counts.
type source struct {
	disk
	mu      sync.Mutex
	fetches map[cid.Cid]int
	total   int
	down    error
	delay   time.Duration
	gate    chan struct{} // if set, Get waits until it is closed
}

func newSource(all ...*block.Verified) *source {
	return &source{disk: *newDisk(all...), fetches: map[cid.Cid]int{}}
}

func (s *source) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	s.mu.Lock()
	s.fetches[c]++
	s.total++
	down, gate, delay := s.down, s.gate, s.delay
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, block.Origin, ctx.Err()
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, block.Origin, ctx.Err()
		}
	}
	if down != nil {
		return nil, block.Origin, &block.UnavailableError{Cid: c, From: "test origin", Err: down}
	}
	b, err := s.disk.Get(ctx, c)
	return b, block.Origin, err
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// fetched returns how often each block was asked for.
func (s *source) fetched() map[cid.Cid]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.fetches)
}

func (s *source) set(f func(*source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// edge is one edge of a fleet under test.
type edge struct {
	*Swarm
	cache *cache.Cache
	disk  *disk
	name  string
}

// get fetches a block the way an edge does: from its disk, else from the swarm.
func (e *edge) get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	return e.cache.Get(ctx, c)
}

func testOptions(name string) Options {
	opts := DefaultOptions()
	opts.Name, opts.Secret = name, testSecret
	opts.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	return opts
}

// logs sends a swarm's log to the test's output.
type logs struct {
	t    testing.TB
	mu   sync.Mutex
	done bool
	name string
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.t.Logf("%s: %s", l.name, p)
	}
	return len(p), nil
}

func newEdge(t testing.TB, opts Options, cfg Config) *edge {
	t.Helper()
	return newEdgeOn(t, newDisk(), opts, cfg)
}

// newEdgeOn makes an edge that has a disk already.
func newEdgeOn(t testing.TB, d *disk, opts Options, cfg Config) *edge {
	t.Helper()
	e := &edge{disk: d, name: opts.Name}
	e.cache = newLocal(t, e.disk)
	cfg.Local = e.cache
	if cfg.Log == nil {
		l := &logs{t: t, name: opts.Name}
		t.Cleanup(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.done = true
		})
		cfg.Log = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s, err := New(opts, cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.Swarm = s
	e.cache.Connect(s)
	t.Cleanup(func() { s.Close() })
	return e
}

// newLocal returns the read path of an edge without memory.
func newLocal(t testing.TB, d *disk) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{}, cache.Config{Disk: d, Admission: cachetest.Admission{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// as makes a static entry of an edge, for Options.Peers.
func (e *edge) as() string {
	port, err := e.host.Addrs()[0].ValueForProtocol(6 /* TCP */)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%s@127.0.0.1:%s", e.name, port)
}

// fleet starts n edges that know the first one, and waits until all see all.
func fleet(t testing.TB, n int, origin block.Getter, change ...func(*Options)) []*edge {
	t.Helper()
	return fleetOn(t, newCable(), n, origin, change...)
}

// fleetOn does the same on a network that can be cut.
func fleetOn(t testing.TB, net *cable, n int, origin block.Getter, change ...func(*Options)) []*edge {
	t.Helper()
	var all []*edge
	for i := range n {
		opts := testOptions(fmt.Sprintf("edge-%d", i))
		if i > 0 {
			opts.Peers = []string{all[0].as()}
		}
		for _, f := range change {
			f(&opts)
		}
		e := newEdge(t, opts, Config{Dialer: net.dialer(opts.Name), Packets: net.packets(t, opts.Name)})
		net.join(e)
		e.Start(origin)
		all = append(all, e)
	}
	settle(t, all...)
	return all
}

// calm has siblings suspected late. It is for tests that count fetches: on a machine
// that is busy with other things, an edge may not answer for a long time although
// nothing is wrong with it.
func calm(o *Options) {
	o.Members.SuspectAfter, o.Members.DoubtAfter, o.Members.LostAfter = 10*time.Second, 10*time.Second, 20*time.Second
}

// settle waits until each of the edges has exactly all of them in its ring.
func settle(t testing.TB, all ...*edge) {
	t.Helper()
	for _, e := range all {
		eventually(t, fmt.Sprintf("%s sees %d edges", e.name, len(all)), func() bool {
			v := e.view.Load()
			return v.ring.Len() == len(all) && v.self >= 0
		})
	}
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

// homedAt returns a block whose homes are the given edges, in that order.
func homedAt(t testing.TB, v *view, names ...string) *block.Verified {
	t.Helper()
	data := make([]byte, 1024)
	rand.Read(data)
	for i := range uint64(1 << 20) {
		binary.BigEndian.PutUint64(data, i)
		b, err := block.Sum(rawPrefix, append([]byte(nil), data...))
		if err != nil {
			t.Fatal(err)
		}
		hs := v.ring.Homes(b.Cid().Hash(), len(names), nil)
		match := len(hs) == len(names)
		for k, h := range hs {
			match = match && v.ring.Member(h).Name == names[k]
		}
		if match {
			return b
		}
	}
	t.Fatalf("no block is at home at %v", names)
	return nil
}

func mustGet(t testing.TB, e *edge, b *block.Verified) block.Source {
	t.Helper()
	got, src, err := e.get(t.Context(), b.Cid())
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	if got.Cid() != b.Cid() || string(got.RawData()) != string(b.RawData()) {
		t.Fatalf("%s: got another block", e.name)
	}
	return src
}

// crowd has every edge get every block, all at once, and returns the errors.
func crowd(t testing.TB, all []*edge, want []*block.Verified, each int) []error {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, e := range all {
		jobs := make(chan *block.Verified)
		for range each {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for b := range jobs {
					got, _, err := e.get(t.Context(), b.Cid())
					if err == nil && string(got.RawData()) != string(b.RawData()) {
						err = errors.New("wrong bytes")
					}
					if err != nil {
						mu.Lock()
						errs = append(errs, fmt.Errorf("%s: %w", e.name, err))
						mu.Unlock()
					}
				}
			}()
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer close(jobs)
			for _, b := range want {
				jobs <- b
			}
		}()
	}
	wg.Wait()
	return errs
}

func stateOf(e *edge, name string) members.State {
	for _, m := range e.Members() {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}
