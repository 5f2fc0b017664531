package list

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

func TestMain(m *testing.M) {
	if killed() {
		return
	}
	goleak.VerifyTestMain(m)
}

// network connects lists in one process.
type network struct {
	mu    sync.Mutex
	lists map[string]*List
	cut   map[[2]string]bool
	// silent: who is cut off is still named, and calls to them end only in time.
	silent bool
	loss   float64
	delay  time.Duration // at most
	calls  int
	bytes  int
	rand   *rand.Rand
}

func newNetwork() *network {
	return &network{lists: map[string]*List{}, cut: map[[2]string]bool{}, rand: rand.New(rand.NewPCG(1, 2))}
}

func link(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// split cuts all links between the edges of different groups.
func (n *network) split(groups ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = map[[2]string]bool{}
	for i, g := range groups {
		for _, h := range groups[i+1:] {
			for _, a := range strings.Fields(g) {
				for _, b := range strings.Fields(h) {
					n.cut[link(a, b)] = true
				}
			}
		}
	}
}

func (n *network) heal() { n.split() }

func (n *network) setSilent(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = silent
}

// spoil makes calls slow, by half of it to all of it, and loses some.
func (n *network) spoil(delay time.Duration, loss float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.loss = delay, loss
}

// traffic returns the calls and bytes since it was last asked.
func (n *network) traffic() (calls, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls, bytes = n.calls, n.bytes
	n.calls, n.bytes = 0, 0
	return calls, bytes
}

// fate says what happens to a call: whether it arrives, and whether its answer does.
func (n *network) fate(a, b string) (to *List, arrives, answered bool, delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	up := !n.cut[link(a, b)] && n.lists[b] != nil
	arrives = up && n.rand.Float64() >= n.loss/2
	answered = arrives && n.rand.Float64() >= n.loss/2
	if n.delay > 0 {
		delay = n.delay/2 + time.Duration(n.rand.Int64N(int64(n.delay/2)))
	}
	return n.lists[b], arrives, answered, delay
}

// peers is what one edge sees of the network.
type peers struct {
	net  *network
	name string
}

func (p peers) Names() []string {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	var names []string
	for name := range p.net.lists {
		if name != p.name && (p.net.silent || !p.net.cut[link(p.name, name)]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p peers) Call(ctx context.Context, member, method string, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if len(body) > maxMessage-1000 {
		return fmt.Errorf("a request of %d bytes", len(body))
	}
	to, arrives, answered, delay := p.net.fate(p.name, member)
	if work.Pause(ctx, delay) != nil {
		return ctx.Err()
	}
	if !arrives {
		<-ctx.Done()
		return ctx.Err()
	}
	h := to.Handlers()[method]
	if h == nil {
		return errors.New("unknown method")
	}
	result, err := h(ctx, p.name, body)
	if !answered {
		<-ctx.Done()
		return ctx.Err()
	}
	if err != nil {
		return errors.New(err.Error())
	}
	answer, err := json.Marshal(result)
	if err != nil {
		return err
	}
	p.net.mu.Lock()
	p.net.bytes += len(body) + len(answer)
	p.net.mu.Unlock()
	if len(answer) > maxMessage-1000 {
		return fmt.Errorf("an answer of %d bytes", len(answer))
	}
	if response == nil {
		return nil
	}
	return json.Unmarshal(answer, response)
}

// memory is a datastore whose batches are atomic, and that can fail.
type memory struct {
	*dssync.MutexDatastore
	mu   sync.Mutex
	fail error
}

func newMemory() *memory { return &memory{MutexDatastore: dssync.MutexWrap(ds.NewMapDatastore())} }

func (m *memory) Batch(context.Context) (ds.Batch, error) {
	return &memoryBatch{m: m, Batch: ds.NewBasicBatch(m.MutexDatastore)}, nil
}

type memoryBatch struct {
	ds.Batch
	m *memory
}

func (b *memoryBatch) Commit(ctx context.Context) error {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if b.m.fail != nil {
		return b.m.fail
	}
	return b.Batch.Commit(ctx)
}

func (m *memory) setFail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// copy is a backup.
func (m *memory) copy(t testing.TB) *memory {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	results, err := m.Query(t.Context(), query.Query{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := results.Rest()
	if err != nil {
		t.Fatal(err)
	}
	c := newMemory()
	for _, e := range all {
		c.Put(t.Context(), ds.RawKey(e.Key), e.Value)
	}
	return c
}

// join starts an edge. net may be nil.
func (n *network) join(t testing.TB, name string, store ds.Batching, changed func([]string)) *List {
	t.Helper()
	l, err := New(DefaultOptions(), Config{Datastore: store, Peers: peers{n, name}, Changed: changed})
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.lists[name] = l
	n.mu.Unlock()
	l.Start()
	t.Cleanup(func() { l.Close() })
	return l
}

// leave stops an edge.
func (n *network) leave(name string) {
	n.mu.Lock()
	l := n.lists[name]
	delete(n.lists, name)
	n.mu.Unlock()
	l.Close()
}

func (n *network) all() map[string]*List {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.lists)
}

// converge waits until all lists are the same, and returns how long it took.
func (n *network) converge(t testing.TB, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		sums := map[summary]bool{}
		for _, l := range n.all() {
			sums[l.summary()] = true
		}
		if len(sums) == 1 {
			break
		}
		if time.Since(start) > limit {
			for name, l := range n.all() {
				t.Log(name, ids(l), l.summary(), l.Siblings())
			}
			t.Fatalf("the lists are not the same after %v", limit)
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(start)
	var want []string
	for name, l := range n.all() {
		have := ids(l)
		if want == nil {
			want = have
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%s: %v, and another one: %v", name, have, want)
		}
		audit(t, l)
	}
	return took
}

// audit holds the index to what is stored and to itself.
func audit(t testing.TB, l *List) {
	t.Helper()
	again := &List{cfg: l.cfg, log: l.log}
	x, err := again.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if x.sum != l.index.sum || x.byTime.Len() != l.index.byTime.Len() || len(x.byID) != len(l.index.byID) || x.buckets.Len() != l.index.buckets.Len() {
		t.Errorf("what is stored (%v, %d pins) is not what is in memory (%v, %d pins)", x.sum, x.byTime.Len(), l.index.sum, l.index.byTime.Len())
	}
	owned := 0
	for _, tree := range l.index.owners {
		owned += tree.Len()
	}
	if owned != l.index.byTime.Len() || l.index.byDot.Len() != owned {
		t.Errorf("%d pins by owner, %d by time, %d by number", owned, l.index.byTime.Len(), l.index.byDot.Len())
	}
}

// ids returns the IDs of all pins, sorted.
func ids(l *List) []string {
	all := []string{}
	for p := range l.All() {
		all = append(all, p.ID)
	}
	slices.Sort(all)
	return all
}

// epoch is a time of creation.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func pin(id string) record.Pin {
	hash, err := multihash.Sum([]byte(id), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return record.Pin{
		Request: record.Request{CID: cid.NewCidV1(cid.DagProtobuf, hash), Name: "release " + id},
		ID:      id, Owner: "owner",
	}
}

func pins(prefix string, n int) []record.Pin {
	all := make([]record.Pin, n)
	for i := range all {
		all[i] = pin(fmt.Sprintf("%s-%06d", prefix, i))
		all[i].Created = epoch.Add(time.Duration(i) * time.Millisecond)
	}
	return all
}

func add(t testing.TB, l *List, all ...record.Pin) {
	t.Helper()
	if err := l.Add(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, l *List, all ...string) {
	t.Helper()
	if err := l.Remove(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
}

// alone returns a list without siblings.
func alone(t testing.TB, store ds.Batching) *List {
	t.Helper()
	l, err := New(DefaultOptions(), Config{Datastore: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
