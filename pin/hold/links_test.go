package hold

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// allLinks reads the links by building the node, which linksOf avoids.
func allLinks(decode codec.Decoder, data []byte) ([]cid.Cid, error) {
	nd := basicnode.Prototype.Any.NewBuilder()
	if err := decode(nd, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	links, err := traversal.SelectLinks(nd.Build())
	if err != nil {
		return nil, err
	}
	found := make([]cid.Cid, 0, len(links))
	for _, l := range links {
		found = append(found, l.(cidlink.Link).Cid)
	}
	return found, nil
}

// Taking a node apart finds what building it finds, and refuses what that refuses.
func FuzzLinks(f *testing.F) {
	a, b := storetest.Block(1, 10).Cid(), storetest.Block(2, 10).Cid()
	f.Add(true, cborNode(1, a, b).RawData())
	f.Add(false, []byte(fmt.Sprintf(`{"x":[{"/":"%s"},{"y":{"/":"%s"}},{"/":{"bytes":"aGk"}},1.5,null,true,"s"]}`, a, b)))
	f.Add(true, []byte{0xa0})
	f.Add(true, []byte{0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(true, []byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 2})
	f.Add(true, []byte{0xd8, 42, 0x43, 0, 1, 2})
	f.Add(false, []byte(`[{"/":"x"}]`))
	f.Fuzz(func(t *testing.T, isCBOR bool, data []byte) {
		codecCode, decode := uint64(cid.DagJSON), dagjson.Decode
		if isCBOR {
			codecCode, decode = cid.DagCBOR, dagcbor.Decode
		}
		c := sumAs(codecCode, data).Cid()
		got, err := linksOf(c, data, 1000)
		want, wantErr := allLinks(decode, data)
		if (err == nil) != (wantErr == nil) {
			// Building a node refuses a key that is there twice; the links are the same.
			if wantErr != nil && !isCBOR {
				return
			}
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err != nil {
			return
		}
		cids := make([]cid.Cid, 0, len(got))
		for _, l := range got {
			cids = append(cids, l.cid)
		}
		if !slices.Equal(cids, want) {
			t.Errorf("links %v, want %v", cids, want)
		}
	})
}

func TestSeen(t *testing.T) {
	s := newSeen()
	const n = 50_000
	hash := func(i int) multihash.Multihash {
		return multihash.Multihash(fmt.Appendf(nil, "hash %d", i))
	}
	for i := range n {
		if before := s.mark(hash(i), markHeld); before != 0 {
			t.Fatalf("%d was marked %b before it was", i, before)
		}
	}
	for i := range n {
		if i%2 == 0 {
			if before := s.mark(hash(i), markLeaf); before != markHeld {
				t.Fatalf("%d was marked %b", i, before)
			}
		}
	}
	for i := range n {
		want := markHeld
		if i%2 == 0 {
			want |= markLeaf
		}
		if before := s.mark(hash(i), markDagPB); before != want {
			t.Fatalf("%d was marked %b, want %b", i, before, want)
		}
	}
	if s.met != n {
		t.Errorf("%d met, want %d", s.met, n)
	}
	slots := 0
	for i := range s.shards {
		slots += len(s.shards[i].slots)
	}
	if perEntry := 16 * slots / n; perEntry > 32 {
		t.Errorf("%d bytes per block", perEntry)
	}
}
