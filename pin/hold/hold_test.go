package hold

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/block/blocktest"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
	"github.com/shoal-cdn/shoal/pin/record"
)

func TestOptionsAreChecked(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Options){
		"DAGs": func(o *Options) { o.DAGs = 0 }, "MaxDepth": func(o *Options) { o.MaxDepth = 0 },
		"RetryMost": func(o *Options) { o.RetryMost = time.Millisecond }, "VerifyRate": func(o *Options) { o.VerifyRate = 0 },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A DAG of every codec is fetched whole, once, and protected; what is on the disk is
// not fetched.
func TestHold(t *testing.T) {
	w := newWorld(t, capacity)
	raw := leaves(1, 40, 2000)
	onDisk := leaves(2, 5, 3000)
	cbor := cborNode(1, raw[30].Cid(), raw[31].Cid(), identity(cid.DagCBOR, cborNode(2, raw[32].Cid()).RawData()))
	jsonNode := sumAs(cid.DagJSON, []byte(fmt.Sprintf(`{"a":[{"/":"%s"},{"/":{"bytes":"AAAA"}},1]}`, raw[33].Cid())))
	plain := sumAs(cid.DagProtobuf, folder(raw[34:]...).RawData())
	// The same bytes as a leaf and as a node: both are followed.
	alias := blocktest.MadeUp(cid.NewCidV1(cid.Raw, plain.Cid().Hash()), plain.RawData())
	inner := folder(append(raw[:30:30], onDisk...)...)
	root := folder(inner, alias, cbor, jsonNode, plain, inner)
	all := append(append(raw, onDisk...), cbor, jsonNode, plain, inner, root)
	w.fleet.add(all...)
	for _, b := range append(onDisk, inner) {
		if err := w.store.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	defer w.stop()
	v0 := cid.NewCidV0(root.Cid().Hash())
	w.Hold(v0, nil)
	w.Hold(root.Cid(), nil)
	s := w.awaitStatus(root.Cid(), record.Pinned)
	w.checkHeld(all...)
	var bytes int64
	for _, b := range all {
		bytes += int64(len(b.RawData()))
	}
	if s.Blocks != int64(len(all)) || s.Bytes != bytes || s.Total < bytes || s.Reason != "" || s.Root != root.Cid() || s.Since.IsZero() {
		t.Errorf("state %+v; want %d blocks, %d bytes", s, len(all), bytes)
	}
	// The bytes that are both a leaf and a node may be asked for at the same time.
	if asked, most := w.fleet.times(); most > 2 || asked < len(all)-6 || asked > len(all)-5 {
		t.Errorf("%d blocks asked for, one of them %d times; want %d, once", asked, most, len(all)-6)
	}
	if got := slices.Collect(w.All()); len(got) != 1 || got[0] != s {
		t.Errorf("all: %+v", got)
	}
	if _, held := w.State(v0); !held {
		t.Error("a CIDv0 is not the same as its CIDv1")
	}
}

func TestIdentityRootNeedsNoBlock(t *testing.T) {
	w := newWorld(t, capacity)
	w.start()
	defer w.stop()
	root := identity(cid.Raw, []byte("tiny"))
	w.Hold(root, nil)
	if s := w.awaitStatus(root, record.Pinned); s.Blocks != 0 {
		t.Errorf("%+v", s)
	}
}

// What two roots share stays until both are let go.
func TestLet(t *testing.T) {
	w := newWorld(t, capacity)
	shared, one, two := tree(1, 5, 2, 1000), leaves(2, 3, 1000), leaves(3, 3, 1000)
	a, b := folder(append(one, shared[0])...), folder(append(two, shared[0])...)
	w.fleet.add(append(append(append(shared, one...), two...), a, b)...)
	if err := w.store.PutHeld(t.Context(), "add/other", storetest.Block(7, 7)); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Commit("add/other"); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.Hold(a.Cid(), nil)
	w.Hold(b.Cid(), nil)
	w.awaitStatus(a.Cid(), record.Pinned)
	w.awaitStatus(b.Cid(), record.Pinned)
	w.Let(a.Cid())
	w.Let(a.Cid())
	if _, held := w.State(a.Cid()); held {
		t.Error("held after Let")
	}
	w.awaitQuiet()
	w.checkHeld(append(append(shared, two...), b)...)
	for _, c := range append(one, a) {
		if w.store.Pinned(c.Cid()) {
			t.Errorf("%s is still pinned", c.Cid())
		}
	}
	// Wanted again at once, and let go in the middle of it.
	w.Let(b.Cid())
	w.Hold(b.Cid(), nil)
	w.awaitStatus(b.Cid(), record.Pinned)
	w.awaitQuiet()
	w.checkHeld(append(append(shared, two...), b)...)
	w.Let(b.Cid())
	w.Let(storetest.Block(99, 9).Cid())
	w.stop() // finishes what was begun
	if got := w.store.Owners(); !slices.Equal(got, []string{"add/other"}) {
		t.Errorf("owners %q", got)
	}
	if n := w.store.Stats().PinnedBlocks; n != 1 {
		t.Errorf("%d blocks are pinned", n)
	}
}

// Hold and Let in any order end as the last of them says.
func TestHoldAndLetInTurns(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 4, 2, 500)
	w.fleet.add(dag...)
	w.start()
	root := dag[0].Cid()
	for i := range 60 {
		w.Hold(root, nil)
		if i%3 == 0 {
			w.awaitStatus(root, record.Pinned)
		}
		w.Let(root)
		if i%4 == 0 {
			w.awaitQuiet()
		}
	}
	w.Hold(root, nil)
	w.awaitStatus(root, record.Pinned)
	w.awaitQuiet()
	w.checkHeld(dag...)
	w.Let(root)
	w.stop()
	w.checkNothingHeld()
}

// Owners that no state wants are released at start, those of others are not.
func TestStartReleasesWhatNobodyWants(t *testing.T) {
	w := newWorld(t, capacity)
	for i, owner := range []string{"pin/nonsense", "pin/" + storetest.Block(1, 10).Cid().String(), "add/x", "pinned/x"} {
		if err := w.store.PutHeld(t.Context(), owner, storetest.Block(i, 10)); err != nil {
			t.Fatal(err)
		}
		if err := w.store.Commit(owner); err != nil {
			t.Fatal(err)
		}
	}
	dag := tree(1, 3, 1, 100)
	w.fleet.add(dag...)
	w.start()
	w.Hold(dag[0].Cid(), nil)
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	w.stop()
	want := []string{"add/x", "pin/" + dag[0].Cid().String(), "pinned/x"}
	if got := w.store.Owners(); !slices.Equal(got, want) {
		t.Errorf("owners %q, want %q", got, want)
	}
	w.restart(capacity)
	w.checkHeld(dag...)
	w.stop()
	if got := w.store.Owners(); !slices.Equal(got, want) {
		t.Errorf("after a restart: owners %q, want %q", got, want)
	}
}

// An attempt that was cut off goes on where it was: nothing is fetched twice, and what
// is protected already is not protected again.
func TestResume(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 10, 2, 1000)
	w.fleet.add(dag...)
	absent := dag[len(dag)-1].Cid()
	w.fleet.lose(absent, true)
	w.start()
	w.Hold(dag[0].Cid(), nil)
	s := w.await(dag[0].Cid(), "tried", func(s State) bool { return s.Tries > 0 })
	if s.Status != record.Pinning || s.Missing != absent || !strings.Contains(s.Reason, absent.String()) || s.Blocks != int64(len(dag)-1) {
		t.Errorf("state %+v", s)
	}
	if err := w.Settle(dag[0].Cid()); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(capacity)
	if n := w.store.Stats(); n.PinnedBlocks != int64(len(dag)-1) {
		t.Errorf("%d of %d blocks are protected after a restart", n.PinnedBlocks, len(dag)-1)
	}
	w.fleet.lose(absent, false)
	w.start()
	defer w.stop()
	if s, _ := w.State(dag[0].Cid()); !s.Settled || s.Tries == 0 || s.Missing != absent {
		t.Errorf("after a restart: %+v", s)
	}
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	w.checkHeld(dag...)
	w.fleet.lose(absent, true)
	if all, _ := w.fleet.times(); all > len(dag)+3 { // the absent one was asked for more than once
		t.Errorf("%d blocks asked for, of %d", all, len(dag))
	}
	references := 0
	err := w.store.References("pin/"+dag[0].Cid().String(), func(multihash.Multihash) error { references++; return nil })
	if err != nil || references != len(dag) {
		t.Errorf("%d references to %d blocks, %v", references, len(dag), err)
	}
}

// States that cannot be read are no reason not to start.
func TestDamagedStates(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 3, 1, 100)
	w.fleet.add(dag...)
	w.start()
	w.Hold(dag[0].Cid(), nil)
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	w.stop()
	for i, text := range []string{"", "{", `{"status":"nonsense"}`, "null"} {
		if err := w.data.Put(t.Context(), stateKey(storetest.Block(i, 10).Cid()), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	if n := len(slices.Collect(w.All())); n != 1 {
		t.Errorf("%d states", n)
	}
	w.stop()
	// The blocks without their references: they are protected again.
	if err := w.store.Release("pin/" + dag[0].Cid().String()); err != nil {
		t.Fatal(err)
	}
	w.start()
	defer w.stop()
	w.await(dag[0].Cid(), "pinned again", func(s State) bool { return s.Status == record.Pinned && w.store.Pinned(dag[0].Cid()) })
	w.checkHeld(dag...)
}

// What can never be pinned fails at once, says why, and leaves nothing protected.
func TestRefused(t *testing.T) {
	leaf := leaves(1, 20, 100)
	chain := []*block.Verified{leaf[0]}
	for i := range 12 {
		chain = append(chain, cborNode(i, chain[i].Cid()))
	}
	var wide []cid.Cid
	for _, l := range leaf {
		wide = append(wide, l.Cid())
	}
	broken := sumAs(cid.DagProtobuf, []byte{0xff, 1, 2})
	md5, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	insecure := cid.NewCidV1(cid.Raw, md5)
	git := sumAs(cid.GitRaw, []byte("blob 1\x00x"))
	deepBomb := sumAs(cid.DagCBOR, []byte(strings.Repeat("\x81", 100_000)))
	deepJSON := sumAs(cid.DagJSON, []byte(strings.Repeat("[", 100_000)))
	many := tree(5, 6, 2, 50)
	var carried [2][]cid.Cid
	for i := range 32 {
		carried[i%2] = append(carried[i%2], identity(cid.Raw, []byte{byte(i)}))
	}
	empty := []*block.Verified{cborNode(1, carried[0]...), cborNode(2, carried[1]...)}
	empty = append(empty, folder(empty...))
	manyLinks := sumAs(cid.DagProtobuf, bytes.Repeat([]byte{0x12, 6, 0x0a, 4, 1, 0x55, 0, 0}, block.MaxSize/8))
	for _, tc := range []struct {
		name   string
		blocks []*block.Verified
		root   cid.Cid
		say    []string
	}{
		{"malformed", []*block.Verified{leaf[0], broken, folder(leaf[0], broken2(broken))}, folder(leaf[0], broken2(broken)).Cid(), []string{broken2(broken).Cid().String(), "dag-cbor"}},
		{"malformed root", []*block.Verified{broken}, broken.Cid(), []string{"dag-pb"}},
		{"unknown codec", []*block.Verified{git}, git.Cid(), []string{"git-raw", "expected dag-pb"}},
		{"too deep", chain, chain[len(chain)-1].Cid(), []string{"8"}},
		{"too wide", append(leaf, cborNode(1, wide...)), cborNode(1, wide...).Cid(), []string{"16 links"}},
		{"too wide, dag-pb", append(leaf, folder(leaf...)), folder(leaf...).Cid(), []string{"16 links"}},
		{"too many", many, many[0].Cid(), []string{"30 blocks"}},
		{"many that carry themselves", empty, empty[2].Cid(), []string{"30 blocks"}},
		{"a quarter of a million links", []*block.Verified{manyLinks}, manyLinks.Cid(), []string{"16 links"}},
		{"nested values", []*block.Verified{deepBomb}, deepBomb.Cid(), []string{"dag-cbor"}},
		{"nested JSON", []*block.Verified{deepJSON}, deepJSON.Cid(), []string{"dag-json"}},
		{"insecure hash", []*block.Verified{cborNode(1, insecure)}, cborNode(1, insecure).Cid(), []string{insecure.String()}},
		{"insecure root", nil, insecure, []string{insecure.String()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, capacity)
			w.opts.MaxDepth, w.opts.MaxLinks, w.opts.MaxBlocks = 8, 16, 30
			w.fleet.add(tc.blocks...)
			w.start()
			defer w.stop()
			w.Hold(tc.root, nil)
			s := w.awaitStatus(tc.root, record.Failed)
			for _, say := range tc.say {
				if !strings.Contains(s.Reason, say) {
					t.Errorf("reason %q does not say %q", s.Reason, say)
				}
			}
			w.checkNothingHeld()
			w.Hold(tc.root, nil) // not yet
			if s, _ := w.State(tc.root); s.Status != record.Failed {
				t.Errorf("tried again at once: %+v", s)
			}
		})
	}
}

// broken2 gives folder a size for a block that cannot be decoded.
func broken2(b *block.Verified) *block.Verified {
	return blocktest.MadeUp(cid.NewCidV1(cid.DagCBOR, b.Cid().Hash()), b.RawData())
}

// A DAG that is small on disk can have more paths than anybody could walk.
func TestExponentialDAG(t *testing.T) {
	w := newWorld(t, capacity)
	at := leaves(1, 2, 10)
	all := slices.Clone(at)
	for i := range 60 {
		a, b := cborNode(2*i, at[0].Cid(), at[1].Cid()), cborNode(2*i+1, at[1].Cid(), at[0].Cid())
		at = []*block.Verified{a, b}
		all = append(all, at...)
	}
	w.fleet.add(all...)
	w.start()
	defer w.stop()
	w.Hold(at[0].Cid(), nil)
	if s := w.awaitStatus(at[0].Cid(), record.Pinned); s.Blocks != int64(len(all)-1) {
		t.Errorf("%d blocks, want %d", s.Blocks, len(all)-1)
	}
}

// The origins of a pin are asked for what the fleet does not have.
func TestOrigins(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 6, 2, 500)
	w.fleet.add(dag[:3]...)
	peer := newFleet()
	peer.add(dag...)
	w.peers["/ip4/127.0.0.1/tcp/1/p2p/x"] = peer
	w.start()
	defer w.stop()
	w.Hold(dag[0].Cid(), []string{"nonsense"})
	w.await(dag[0].Cid(), "tried", func(s State) bool { return s.Tries > 0 })
	w.Hold(dag[0].Cid(), []string{"/ip4/127.0.0.1/tcp/1/p2p/x"})
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	w.checkHeld(dag...)
	if _, most := peer.times(); most != 1 {
		t.Errorf("the peer was asked %d times for one block", most)
	}
}

// A peer is kept while its DAG is being fetched, also between tries, and closed when
// that is over.
func TestPeersAreClosed(t *testing.T) {
	w := newWorld(t, capacity)
	w.start()
	peer := &closing{fleet: newFleet()}
	w.peers["peer"] = peer
	var dag []*block.Verified
	for i, over := range []func(root cid.Cid){
		func(root cid.Cid) {
			peer.add(dag...)
			w.Hold(root, []string{"another"}) // ends the pause
			w.awaitStatus(root, record.Pinned)
		},
		func(root cid.Cid) { w.Let(root); w.awaitQuiet() },
		func(cid.Cid) { w.stop() },
	} {
		dag = tree(i, 3, 1, 100)
		peer.closed.Store(0)
		w.Hold(dag[0].Cid(), []string{"peer"})
		w.await(dag[0].Cid(), "tried", func(s State) bool { return s.Tries > 0 })
		if peer.closed.Load() != 0 {
			t.Fatal("closed between tries")
		}
		over(dag[0].Cid())
		for end := time.Now().Add(10 * time.Second); peer.closed.Load() != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("closed %d times", peer.closed.Load())
			}
		}
	}
}

// closing is a peer that can be closed.
type closing struct {
	*fleet
	closed atomic.Int32
}

func (c *closing) Close() error {
	c.closed.Add(1)
	return nil
}

// A peer that sends something else is not believed.
func TestWrongBytes(t *testing.T) {
	w := newWorld(t, capacity)
	dag := tree(1, 3, 1, 500)
	liar, honest := newFleet(), newFleet()
	honest.add(dag...)
	for _, b := range dag {
		liar.blocks[string(b.Cid().Hash())] = storetest.Block(12345, 500)
	}
	w.peers["liar"], w.peers["honest"] = lying{liar}, honest
	w.start()
	defer w.stop()
	w.Hold(dag[0].Cid(), []string{"liar", "honest"})
	w.awaitStatus(dag[0].Cid(), record.Pinned)
	w.checkHeld(dag...)
}

// lying hands out blocks under the CID that they have, not the one asked for.
type lying struct{ *fleet }

func TestSettleNeedsAHold(t *testing.T) {
	w := newWorld(t, capacity)
	w.start()
	defer w.stop()
	if err := w.Settle(storetest.Block(1, 1).Cid()); !errors.Is(err, ErrNotHeld) {
		t.Errorf("got %v", err)
	}
}

// Two large DAGs that hang do not keep a small one waiting, and none is forgotten.
func TestFairness(t *testing.T) {
	w := newWorld(t, capacity)
	w.opts.DAGs = 3
	var roots []cid.Cid
	slow := map[cid.Cid]bool{}
	for i := range 4 {
		dag := tree(i+1, 75, 2, 20) // 5625 leaves
		w.fleet.add(dag...)
		roots = append(roots, dag[0].Cid())
		for _, b := range dag[len(dag)-300:] { // far behind what makes it large
			slow[b.Cid()] = true
		}
	}
	release := make(chan struct{})
	w.fleet.wait = func(ctx context.Context, c cid.Cid) error {
		if !slow[c] {
			return nil
		}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	w.start()
	defer w.stop()
	for _, root := range roots {
		w.Hold(root, nil)
	}
	for _, root := range roots {
		w.await(root, "as far as it gets", func(s State) bool { return s.Blocks >= largeDAG-16 })
	}
	small := tree(9, 3, 1, 100)
	w.fleet.add(small...)
	w.Hold(small[0].Cid(), nil)
	w.awaitStatus(small[0].Cid(), record.Pinned)
	for _, root := range roots {
		if s, _ := w.State(root); s.Status == record.Pinned {
			t.Errorf("%s did not wait", root)
		}
	}
	close(release)
	for _, root := range roots {
		w.awaitStatus(root, record.Pinned)
	}
	if _, most := w.fleet.times(); most > 1 {
		t.Errorf("a block was fetched %d times", most)
	}
}

// The state on disk has the form that later versions have to read.
func TestSavedForm(t *testing.T) {
	s := saved{Report: record.Report{Share: record.Share{Status: record.Failed, Reason: "r", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}, Needed: 2, Free: 1, Tries: 1}
	text, err := json.Marshal(s)
	if want := `{"status":"failed","blocks":0,"bytes":0,"reason":"r","since":"2026-01-02T03:04:05Z","tries":1,"needed":2,"free":1}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

var _ Store = (*blockstore.Store)(nil)

// claiming returns a node with links that claim more or less than there is.
func claiming(size uint64, children ...*block.Verified) *block.Verified {
	nd := &merkledag.ProtoNode{}
	for i, b := range children {
		if err := nd.AddRawLink(fmt.Sprint(i), &ipld.Link{Size: size, Cid: b.Cid()}); err != nil {
			panic(err)
		}
	}
	return pbBlock(nd)
}
