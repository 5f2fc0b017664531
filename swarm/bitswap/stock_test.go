package bitswap

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	stock "github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/host"
)

// stockPeer is a peer of the other implementation, the one inside Kubo.
type stockPeer struct {
	host.Host
	store blockstore.Blockstore
	swap  *stock.Bitswap
}

func newStockPeer(t *testing.T) *stockPeer {
	t.Helper()
	p := &stockPeer{Host: newHost(t), store: blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))}
	ctx, cancel := context.WithCancel(context.Background())
	net := bsnet.NewFromIpfsHost(p.Host)
	p.swap = stock.New(ctx, net, nil, p.store)
	net.Start(p.swap)
	t.Cleanup(func() {
		net.Stop()
		p.swap.Close()
		cancel()
	})
	return p
}

func TestWeFetchFromStock(t *testing.T) {
	a, p := newNode(t, DefaultOptions(), nil), newStockPeer(t)
	a.allow(p.ID(), Source)
	connect(t, a, p)
	got := make(chan Reply, 100)
	for range cap(got) {
		blk := randomBlock(t, 50_000)
		if err := p.store.Put(t.Context(), blk); err != nil {
			t.Fatal(err)
		}
		a.Ask(p.ID(), blk.Cid(), WantBlock, func(r Reply) { got <- r })
	}
	for range cap(got) {
		if r := await(t, got); r.Block == nil {
			t.Fatalf("got %+v", r)
		}
	}
	if r := request(t, a, p.ID(), randomBlock(t, 10).Cid(), WantBlock); !errors.Is(r.Err, ErrDontHave) {
		t.Fatalf("missing: got %+v", r)
	}
}

func TestStockFetchesFromUs(t *testing.T) {
	b, p := newNode(t, DefaultOptions(), nil), newStockPeer(t)
	b.allow(p.ID(), Guest)
	var keys []cid.Cid
	want := map[cid.Cid][]byte{}
	for range 100 {
		blk := randomBlock(t, 50_000)
		b.store.put(blk)
		keys = append(keys, blk.Cid())
		want[blk.Cid()] = blk.RawData()
	}
	late := randomBlock(t, 2000)
	keys = append(keys, late.Cid())
	want[late.Cid()] = late.RawData()
	connect(t, p, b)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	blocks, err := p.swap.NewSession(ctx).GetBlocks(ctx, keys)
	if err != nil {
		t.Fatal(err)
	}
	// One of them is stored only after it was asked for.
	go func() {
		eventually(t, "the want is on record", func() bool { return b.Waiting(late.Cid()) })
		b.store.put(late)
		b.Answer(late.Cid(), late)
	}()
	for blk := range blocks {
		if !bytes.Equal(want[blk.Cid()], blk.RawData()) {
			t.Fatalf("got other bytes for %s", blk.Cid())
		}
		delete(want, blk.Cid())
	}
	if len(want) > 0 {
		t.Fatalf("%d blocks did not come", len(want))
	}
}
