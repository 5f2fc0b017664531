package blockstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

func TestViewPart(t *testing.T) {
	options := DefaultOptions()
	options.Dir = t.TempDir()
	s, err := New(options, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(i / 7)
	}
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	c := cid.NewCidV1(cid.Raw, mh)
	view := func(size, from, to int) ([]byte, error) {
		var got []byte
		err := s.ViewPart(t.Context(), c, size, from, to, func(p []byte) error {
			got = append([]byte{}, p...)
			return nil
		})
		return got, err
	}
	if _, err := view(len(data), 0, 1); !ipld.IsNotFound(err) {
		t.Errorf("a block that is not there: %v", err)
	}
	b, err := block.New(c, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for range 2 { // checked the first time, trusted the second
		for _, r := range [][2]int{{0, len(data)}, {0, 0}, {5, 6}, {50_000, 70_000}, {99_999, 100_000}} {
			if got, err := view(len(data), r[0], r[1]); err != nil || !bytes.Equal(got, data[r[0]:r[1]]) {
				t.Errorf("%v: %d bytes, %v", r, len(got), err)
			}
		}
	}
	for _, r := range [][3]int{{99_999, 0, 1}, {100_000, -1, 1}, {100_000, 2, 1}, {100_000, 0, 100_001}} {
		if _, err := view(r[0], r[1], r[2]); err == nil {
			t.Errorf("%v: no error", r)
		}
	}
	stop := errors.New("stop")
	if err := s.ViewPart(t.Context(), c, len(data), 0, 1, func([]byte) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
	k := s.keys.key(c.Hash())
	if e, _ := s.index.get(k); !e.checked() || e.length() != len(data) || e.uses() != maxUses {
		t.Errorf("%+v", e)
	}
}
