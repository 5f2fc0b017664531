package pin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// world is a fleet of edges in memory: a list that all of them share, holders that
// fetch from each other or from an origin, and calls that arrive while both ends are
// there.
type world struct {
	t *testing.T

	mu     sync.Mutex
	edges  map[string]*edge
	pins   map[string]*record.Pin
	origin map[cid.Cid]bool // what the origin has
	drop   func(from, to string) bool
}

// edge is one of them. Its disk outlives the process.
type edge struct {
	*Pins
	name    string
	world   *world
	store   ds.Batching
	disk    *disk
	up      bool
	imports map[cid.Cid]bool
	opts    Options
}

// disk is what an edge holds.
type disk struct {
	shares map[cid.Cid]record.Report
	full   bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, edges: map[string]*edge{}, pins: map[string]*record.Pin{}, origin: map[cid.Cid]bool{}}
}

// root names a DAG, which the origin has.
func (w *world) root(text string) cid.Cid {
	mh, _ := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	c := cid.NewCidV1(cid.DagProtobuf, mh)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.origin[c] = true
	return c
}

// start starts an edge, for the first time or again.
func (w *world) start(name string, change ...func(*Options)) *edge {
	w.t.Helper()
	w.mu.Lock()
	e := w.edges[name]
	if e == nil {
		e = &edge{name: name, world: w, store: dssync.MutexWrap(ds.NewMapDatastore()), disk: &disk{shares: map[cid.Cid]record.Report{}}, imports: map[cid.Cid]bool{}, opts: DefaultOptions()}
		for _, f := range change {
			f(&e.opts)
		}
		w.edges[name] = e
	}
	w.mu.Unlock()
	p, err := newPins(e.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	e.Pins, e.up = p, true
	w.mu.Unlock()
	if err := p.assemble(parts{list: &sharedList{e}, hold: newMemoryHolder(e), fleet: memoryFleet{e}, imports: e, store: e.store}); err != nil {
		w.t.Fatal(err)
	}
	p.Start(nil)
	return e
}

// stop stops an edge.
func (e *edge) stop() {
	e.world.mu.Lock()
	e.up = false
	e.world.mu.Unlock()
	if err := e.Close(); err != nil {
		e.world.t.Error(err)
	}
}

// lose stops an edge for good and destroys its disk.
func (e *edge) lose() {
	e.stop()
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	delete(e.world.edges, e.name)
}

func (w *world) close() {
	for _, e := range w.edges {
		if e.up {
			e.stop()
		}
	}
}

// holders returns who holds a root whole.
func (w *world) holders(c cid.Cid) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, e := range w.edges {
		if e.disk.shares[record.Root(c)].Status == record.Pinned {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (e *edge) Held() (roots []cid.Cid) {
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	for c := range e.imports {
		roots = append(roots, c)
	}
	return roots
}

func (e *edge) Unpin(roots ...cid.Cid) (bool, error) {
	e.world.mu.Lock()
	defer e.world.mu.Unlock()
	for _, c := range roots {
		delete(e.imports, c)
	}
	return len(roots) > 0, nil
}

// mustAdd pins something for an owner.
func (e *edge) mustAdd(c cid.Cid, replicas int) record.View {
	e.world.t.Helper()
	v, err := e.Add(context.Background(), "owner", record.Request{CID: c, Replicas: replicas})
	if err != nil {
		e.world.t.Fatal(err)
	}
	return v
}

func (e *edge) mustBe(id string, want record.Status) record.View {
	e.world.t.Helper()
	v, err := e.Get(context.Background(), "owner", id)
	if err != nil || v.Status != want {
		e.world.t.Fatalf("%s: pin %s is %s (%v, %v), expected %s", e.name, id, v.Status, v.Info, err, want)
	}
	return v
}

// after lets so much time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// sharedList is a list that is the same everywhere at once.
type sharedList struct{ e *edge }

func (l *sharedList) Start()       {}
func (l *sharedList) Close() error { return nil }

func (l *sharedList) tell(ids []string) {
	l.e.world.mu.Lock()
	var up []*Pins
	for _, e := range l.e.world.edges {
		if e.up {
			up = append(up, e.Pins)
		}
	}
	l.e.world.mu.Unlock()
	for _, p := range up {
		p.changedPins(ids)
	}
}

func (l *sharedList) Add(_ context.Context, pins ...record.Pin) error {
	var ids []string
	l.e.world.mu.Lock()
	for _, p := range pins {
		l.e.world.pins[p.ID] = &p
		ids = append(ids, p.ID)
	}
	l.e.world.mu.Unlock()
	l.tell(ids)
	return nil
}

func (l *sharedList) Remove(_ context.Context, ids ...string) error {
	l.e.world.mu.Lock()
	for _, id := range ids {
		delete(l.e.world.pins, id)
	}
	l.e.world.mu.Unlock()
	l.tell(ids)
	return nil
}

func (l *sharedList) Get(id string) (*record.Pin, bool) {
	l.e.world.mu.Lock()
	defer l.e.world.mu.Unlock()
	p, ok := l.e.world.pins[id]
	return p, ok
}

func (l *sharedList) All() iter.Seq[*record.Pin] { return l.Owned("") }

func (l *sharedList) Owned(owner string) iter.Seq[*record.Pin] {
	l.e.world.mu.Lock()
	defer l.e.world.mu.Unlock()
	var list []*record.Pin
	for _, p := range l.e.world.pins {
		if owner == "" || p.Owner == owner {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *record.Pin) int { return b.Created.Compare(a.Created) })
	return slices.Values(list)
}

// memoryHolder takes a second for each root.
type memoryHolder struct {
	e      *edge
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	active map[cid.Cid]bool // guarded by world.mu
}

func newMemoryHolder(e *edge) *memoryHolder {
	h := &memoryHolder{e: e, active: map[cid.Cid]bool{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

func (h *memoryHolder) Start() {
	for s := range h.All() {
		if s.Status != record.Pinned {
			h.Hold(s.Root, nil)
		}
	}
}

func (h *memoryHolder) Close() error { h.cancel(); h.wg.Wait(); return nil }

func (h *memoryHolder) set(c cid.Cid, s record.Report) {
	h.e.world.mu.Lock()
	if s.Status == "" {
		delete(h.e.disk.shares, c)
	} else {
		h.e.disk.shares[c] = s
	}
	h.e.world.mu.Unlock()
	h.e.changedRoot(c)
}

func (h *memoryHolder) Hold(c cid.Cid, _ []string) {
	w := h.e.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.active[c] || h.e.disk.shares[c].Status == record.Pinned || h.e.disk.shares[c].Status == record.Failed {
		return
	}
	h.active[c] = true
	h.wg.Go(func() {
		h.set(c, record.Report{Share: record.Share{Status: record.Pinning, Blocks: 1, Bytes: 100}})
		for work.Pause(h.ctx, time.Second) == nil {
			w.mu.Lock()
			wanted := h.active[c]
			found := w.origin[c] || h.e.imports[c]
			for _, e := range w.edges {
				found = found || e.up && e.disk.shares[c].Status == record.Pinned
			}
			full := h.e.disk.full
			if full || found || !wanted {
				delete(h.active, c)
			}
			w.mu.Unlock()
			switch {
			case !wanted:
				return
			case full:
				h.set(c, record.Report{Share: record.Share{Status: record.Failed, Reason: "does not fit: 200 bytes needed, 100 free"}, Unfit: true})
				return
			case found:
				h.set(c, record.Report{Share: record.Share{Status: record.Pinned, Blocks: 2, Bytes: 200}})
				return
			}
		}
	})
}

func (h *memoryHolder) Let(c cid.Cid) {
	h.e.world.mu.Lock()
	delete(h.active, c)
	h.e.world.mu.Unlock()
	h.set(c, record.Report{})
}

func (h *memoryHolder) State(c cid.Cid) (hold.State, bool) {
	h.e.world.mu.Lock()
	defer h.e.world.mu.Unlock()
	s, ok := h.e.disk.shares[c]
	return hold.State{Root: c, Report: s}, ok
}

func (h *memoryHolder) All() iter.Seq[hold.State] {
	return func(yield func(hold.State) bool) {
		h.e.world.mu.Lock()
		all := make(map[cid.Cid]record.Report, len(h.e.disk.shares))
		for c, s := range h.e.disk.shares {
			all[c] = s
		}
		h.e.world.mu.Unlock()
		for c, s := range all {
			if !yield(hold.State{Root: c, Report: s}) {
				return
			}
		}
	}
}

func (h *memoryHolder) Lost() {}

func (h *memoryHolder) Settle(c cid.Cid) error {
	s, _ := h.State(c)
	s.Settled = true
	h.set(c, s.Report)
	return nil
}

func (h *memoryHolder) Verify(ctx context.Context, c cid.Cid, progress func(record.Progress)) (record.Check, error) {
	progress(record.Progress{Blocks: 1, Bytes: 100})
	s, ok := h.State(c)
	if !ok {
		return record.Check{}, errors.New("nothing is held")
	}
	return record.Check{Blocks: s.Blocks, Bytes: s.Bytes}, nil
}

// memoryFleet has all edges of the world that are up.
type memoryFleet struct{ e *edge }

func (f memoryFleet) Members() (list []member.Member) {
	f.e.world.mu.Lock()
	defer f.e.world.mu.Unlock()
	for name, e := range f.e.world.edges {
		m := member.Member{Name: name, Peer: name, Addr: "/ip4/192.0.2.1/tcp/4001", State: member.Lost, Weight: 100, Self: e == f.e}
		if e.up && !f.cut(name) {
			m.State = member.Alive
		}
		list = append(list, m)
	}
	return list
}

func (f memoryFleet) cut(name string) bool {
	drop := f.e.world.drop
	return drop != nil && drop(f.e.name, name)
}

func (f memoryFleet) Call(ctx context.Context, member, method string, request, response any) error {
	w := f.e.world
	w.mu.Lock()
	to, cut := w.edges[member], f.cut(member)
	var p *Pins
	if to != nil && to.up && !cut {
		p = to.Pins
	}
	w.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s is not there", member)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if len(body) > 1<<20 {
		return fmt.Errorf("a call of %d bytes", len(body))
	}
	result, err := p.Handlers()[method](ctx, f.e.name, body)
	if err != nil {
		return err
	}
	if body, err = json.Marshal(result); err != nil {
		return err
	}
	return json.Unmarshal(body, response)
}

// Ranker ranks by the hash of both names.
func (f memoryFleet) Ranker(among []member.Member) func([]byte, int) []string {
	return func(hash []byte, n int) []string {
		names := make([]string, len(among))
		lot := map[string]string{}
		for i, m := range among {
			names[i] = m.Name
			mh, _ := multihash.Sum(append([]byte(m.Name), hash...), multihash.SHA2_256, -1)
			lot[m.Name] = string(mh)
		}
		slices.SortFunc(names, func(a, b string) int {
			if lot[a] < lot[b] {
				return -1
			}
			return 1
		})
		return names[:min(n, len(names))]
	}
}
