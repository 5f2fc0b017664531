package hold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/fluent/qp"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
	"github.com/shoal-cdn/shoal/pin/record"
)

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		pinUntilKilled()
		return
	}
	goleak.VerifyTestMain(m)
}

// fleet is where blocks come from besides the disk: the siblings and the origin. It
// can lack blocks and break.
type fleet struct {
	mu     sync.Mutex
	blocks map[string]*block.Verified
	asked  map[string]int
	gone   map[string]bool
	err    error                                      // of every Get
	wait   func(ctx context.Context, c cid.Cid) error // before every Get
}

func newFleet() *fleet {
	return &fleet{blocks: map[string]*block.Verified{}, asked: map[string]int{}, gone: map[string]bool{}}
}

func (f *fleet) add(bs ...*block.Verified) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bs {
		f.blocks[string(b.Cid().Hash())] = b
	}
}

func (f *fleet) lose(c cid.Cid, gone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[string(c.Hash())] = gone
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// times returns how often blocks were asked for, and the most for one of them.
func (f *fleet) times() (all, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.asked {
		all += n
		most = max(most, n)
	}
	return all, most
}

func (f *fleet) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	if f.wait != nil {
		if err := f.wait(ctx, c); err != nil {
			return nil, block.Origin, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := string(c.Hash())
	f.asked[key]++
	b := f.blocks[key]
	switch {
	case f.err != nil:
		return nil, block.Origin, f.err
	case b == nil, f.gone[key]:
		return nil, block.Origin, block.NotFound(c)
	}
	return blocktest.MadeUp(c, b.RawData()), block.Origin, nil
}

// path is the disk with the fleet behind it, as an edge has it.
type path struct {
	disk  *blockstore.Store
	fleet block.Getter
}

func (p path) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	if b, err := p.disk.Read(ctx, c); err == nil {
		return b, block.Disk, nil
	}
	return p.fleet.Get(ctx, c)
}

// world is one edge's disk, and what is around it.
type world struct {
	t     testing.TB
	dir   string
	store *blockstore.Store
	fleet *fleet
	data  ds.Batching
	opts  Options
	peers map[string]block.Getter
	*Holder
}

const capacity = 64 << 20

func newWorld(t testing.TB, size int64) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), fleet: newFleet(), data: namespace.Wrap(dssync.MutexWrap(ds.NewMapDatastore()), ds.NewKey("/hold")), opts: DefaultOptions(), peers: map[string]block.Getter{}}
	w.open(size)
	t.Cleanup(func() { w.store.Close() })
	return w
}

func (w *world) open(size int64) {
	w.t.Helper()
	var err error
	if w.store, err = blockstore.New(blockstore.Options{Dir: w.dir, Capacity: size}, nil, nil); err != nil {
		w.t.Fatal(err)
	}
}

// make prepares a Holder without starting it.
func (w *world) make() *Holder {
	w.t.Helper()
	h, err := New(w.opts, Config{Store: w.store, Fetch: path{w.store, w.fleet}, Datastore: w.data, Peer: func(addr string) (block.Getter, error) {
		if p := w.peers[addr]; p != nil {
			return p, nil
		}
		return nil, fmt.Errorf("no address in %q", addr)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Holder = h
	return h
}

func (w *world) start() {
	w.make().Start()
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.Holder.Close(); err != nil {
		w.t.Error(err)
	}
}

// restart closes everything and opens it again.
func (w *world) restart(size int64) {
	w.t.Helper()
	w.stop()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open(size)
	w.start()
}

// await waits until a root's state is as ok wants it.
func (w *world) await(root cid.Cid, what string, ok func(State) bool) State {
	w.t.Helper()
	var s State
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		var held bool
		if s, held = w.State(root); held && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is not %s: %+v", root, what, s)
		}
	}
}

func (w *world) awaitStatus(root cid.Cid, want record.Status) State {
	w.t.Helper()
	return w.await(root, string(want), func(s State) bool { return s.Status == want })
}

// awaitQuiet waits until nothing is being let go.
func (w *world) awaitQuiet() {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		busy := len(w.letting)
		for _, e := range w.entries {
			if e.let {
				busy++
			}
		}
		w.mu.Unlock()
		if busy == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d are still being let go", busy)
		}
	}
}

// checkHeld fails the test unless all blocks are on the disk, right, and pinned.
func (w *world) checkHeld(bs ...*block.Verified) {
	w.t.Helper()
	for _, b := range bs {
		got, err := w.store.Get(context.Background(), b.Cid())
		switch {
		case err != nil:
			w.t.Errorf("held block: %v", err)
		case !bytes.Equal(got.RawData(), b.RawData()):
			w.t.Errorf("held block %s has other bytes", b.Cid())
		case !w.store.Pinned(b.Cid()):
			w.t.Errorf("block %s is not pinned", b.Cid())
		}
	}
}

func (w *world) checkNothingHeld() {
	w.t.Helper()
	// A failure is written down before what was protected is let go, see Holder.fail.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		n := w.store.Stats()
		if n.PinnedBlocks == 0 && n.MissingPinned == 0 && n.Owners == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("still held: %d blocks, %d missing, owners %q", n.PinnedBlocks, n.MissingPinned, w.store.Owners())
		}
	}
}

// leaves returns n raw blocks that nobody else has.
func leaves(seed, n, size int) []*block.Verified {
	all := make([]*block.Verified, n)
	for i := range all {
		all[i] = storetest.Block(seed*1_000_000+i, size)
	}
	return all
}

func verified(c cid.Cid, data []byte) *block.Verified {
	b, err := block.New(c, data)
	if err != nil {
		panic(err)
	}
	return b
}

// folder returns a dag-pb node that points to blocks, with the sizes of what is
// below them.
func folder(children ...*block.Verified) *block.Verified {
	nd := &merkledag.ProtoNode{}
	for i, b := range children {
		size := uint64(len(b.RawData()))
		if b.Cid().Type() == cid.DagProtobuf {
			below, err := merkledag.DecodeProtobuf(b.RawData())
			if err != nil {
				panic(err)
			}
			size, _ = below.Size()
		}
		if err := nd.AddRawLink(fmt.Sprintf("%05d", i), &ipld.Link{Size: size, Cid: b.Cid()}); err != nil {
			panic(err)
		}
	}
	return pbBlock(nd)
}

func pbBlock(nd *merkledag.ProtoNode) *block.Verified {
	if err := nd.SetCidBuilder(merkledag.V1CidPrefix()); err != nil {
		panic(err)
	}
	return verified(nd.Cid(), nd.RawData())
}

// tree returns a DAG of width^depth leaves; the root is the first block.
func tree(seed, width, depth, size int) []*block.Verified {
	level := leaves(seed, pow(width, depth), size)
	all := level
	for len(level) > 1 {
		var above []*block.Verified
		for i := 0; i < len(level); i += width {
			above = append(above, folder(level[i:min(i+width, len(level))]...))
		}
		all = append(append([]*block.Verified{}, above...), all...)
		level = above
	}
	return all
}

func pow(a, b int) int {
	n := 1
	for range b {
		n *= a
	}
	return n
}

// cborNode returns a dag-cbor node that points to CIDs, some way down.
func cborNode(salt int, to ...cid.Cid) *block.Verified {
	return verifiedCBOR(func(m datamodel.MapAssembler) {
		qp.MapEntry(m, "n", qp.Int(int64(salt)))
		qp.MapEntry(m, "links", qp.List(-1, func(l datamodel.ListAssembler) {
			for _, c := range to {
				qp.ListEntry(l, qp.Map(-1, func(m datamodel.MapAssembler) { qp.MapEntry(m, "to", qp.Link(cidlink.Link{Cid: c})) }))
			}
		}))
	})
}

func verifiedCBOR(build func(datamodel.MapAssembler)) *block.Verified {
	nd, err := qp.BuildMap(basicnode.Prototype.Any, -1, build)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := dagcbor.Encode(nd, &out); err != nil {
		panic(err)
	}
	return sumAs(cid.DagCBOR, out.Bytes())
}

func sumAs(codec uint64, data []byte) *block.Verified {
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return verified(cid.NewCidV1(codec, hash), data)
}

func identity(codec uint64, data []byte) cid.Cid {
	hash, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(codec, hash)
}

var errBroken = &block.UnavailableError{From: "origin https://10.1.2.3", Err: errors.New("connection refused")}

func (l lying) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	b, from, err := l.fleet.Get(ctx, c)
	if err != nil {
		return nil, from, err
	}
	other, err := block.Sum(cid.NewPrefixV1(cid.Raw, multihash.SHA2_256), append([]byte("not "), b.RawData()...))
	return other, from, err
}
