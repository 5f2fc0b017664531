package origin

import (
	"context"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	boxo "github.com/ipfs/boxo/gateway"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// TestAgainstBoxo asks the gateway that Kubo and Rainbow are built of.
func TestAgainstBoxo(t *testing.T) {
	bs := someBlocks(t)
	node := []byte{0x0a, 0x02, 0x08, 0x01} // an empty UnixFS directory, by CIDv0 and CIDv1
	mh, _ := multihash.Sum(node, multihash.SHA2_256, -1)
	for _, c := range []cid.Cid{cid.NewCidV0(mh), cid.NewCidV1(cid.DagProtobuf, mh)} {
		b, err := block.New(c, node)
		if err != nil {
			t.Fatal(err)
		}
		bs = append(bs, b)
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for _, b := range bs {
		if err := store.Put(context.Background(), blocks.Block(b)); err != nil {
			t.Fatal(err)
		}
	}
	backend, err := boxo.NewBlocksBackend(blockservice.New(store, offline.Exchange(store)))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, gatewayOptions(serve(t, boxo.NewHandler(boxo.Config{}, backend)).URL))
	for _, b := range bs {
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
			t.Error(err)
		}
	}
	if err := fetch(t, s, t.Context(), makeBlock(t, 10).Cid()); !ipld.IsNotFound(err) {
		t.Errorf("a block that is not there: %v", err)
	}
}
