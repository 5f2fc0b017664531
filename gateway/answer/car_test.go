package answer

import (
	"bytes"
	"io"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// The header is that of https://ipld.io/specs/transport/car/carv1/#header, and dag-cbor
// has one form for each length.
func TestCARHeader(t *testing.T) {
	long, err := multihash.Sum(make([]byte, block.MaxIdentitySize), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []cid.Cid{cid.MustParse("bafkqaaa"), cid.NewCidV1(cid.Raw, long), cid.MustParse("QmVRzPKPzNtSrEzBFm2UZfxmPAgnaLke4DMcerbsGGSaFe")} {
		r, err := car.NewBlockReader(bytes.NewReader(appendCARHeader(nil, s)))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if len(r.Roots) != 1 || r.Roots[0] != s || r.Version != 1 {
			t.Errorf("%s: version %d of %v", s, r.Version, r.Roots)
		}
		if b, err := r.Next(); err != io.EOF {
			t.Errorf("%s: %v, %v", s, b, err)
		}
	}
}
