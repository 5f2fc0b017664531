package block_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

func sum(t *testing.T, data []byte, code uint64, length int) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, code, length)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func TestNewAcceptsWhatTheCIDNames(t *testing.T) {
	data := []byte("a shoal of herring")
	mh, _ := multihash.Sum(data, multihash.SHA2_256, -1)
	for name, c := range map[string]cid.Cid{
		"sha2-256":    sum(t, data, multihash.SHA2_256, -1),
		"cidv0":       cid.NewCidV0(mh),
		"blake3":      sum(t, data, multihash.BLAKE3, 32),
		"blake2b-256": sum(t, data, multihash.BLAKE2B_MIN+31, -1),
		"identity":    sum(t, data, multihash.IDENTITY, -1),
	} {
		t.Run(name, func(t *testing.T) {
			b, err := block.New(c, data)
			if err != nil {
				t.Fatal(err)
			}
			if b.Cid() != c || !bytes.Equal(b.RawData(), data) {
				t.Fatalf("got %s with %q", b.Cid(), b.RawData())
			}
			if _, err := block.New(c, []byte("a shoal of salmon.")); !errors.Is(err, block.ErrMismatch) {
				t.Fatalf("other bytes: got %v, want ErrMismatch", err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	big := make([]byte, block.MaxSize+1)
	for _, tc := range []struct {
		name string
		c    cid.Cid
		data []byte
		want error
	}{
		{"over the size limit", sum(t, big, multihash.SHA2_256, -1), big, block.ErrTooLarge},
		{"broken hash function", sum(t, []byte("x"), multihash.MD5, -1), []byte("x"), block.ErrUnsupported},
		{"short digest", sum(t, []byte("x"), multihash.SHA2_256, 8), []byte("x"), block.ErrUnsupported},
		{"oversized identity", sum(t, big[:200], multihash.IDENTITY, -1), big[:200], block.ErrUnsupported},
		{"no CID", cid.Undef, nil, block.ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, err := block.New(tc.c, tc.data)
			if !errors.Is(err, tc.want) || b != nil {
				t.Fatalf("got %v, %v; want %v", b, err, tc.want)
			}
			if len(err.Error()) > 400 {
				t.Errorf("error of %d bytes: %.80s...", len(err.Error()), err)
			}
		})
	}
}

func TestLargestBlockIsAccepted(t *testing.T) {
	data := make([]byte, block.MaxSize)
	if _, err := block.New(sum(t, data, multihash.SHA2_256, -1), data); err != nil {
		t.Fatal(err)
	}
}

func TestNotFoundIsRecognised(t *testing.T) {
	err := block.NotFound(sum(t, []byte("x"), multihash.SHA2_256, -1))
	if !ipld.IsNotFound(err) {
		t.Fatalf("%v is not recognised", err)
	}
}

func TestSourcesAreOrderedAndNamed(t *testing.T) {
	var names []string
	for i, s := range block.Sources {
		if i > 0 && s <= block.Sources[i-1] {
			t.Errorf("%s is not farther than %s", s, block.Sources[i-1])
		}
		names = append(names, s.String())
	}
	if got := strings.Join(names, "|"); got != "memory|disk|sibling|origin" {
		t.Fatalf("got %s", got)
	}
}

func TestSumFindsTheCID(t *testing.T) {
	data := []byte("a shoal of herring")
	want := sum(t, data, multihash.SHA2_256, -1)
	b, err := block.Sum(want.Prefix(), data)
	if err != nil || b.Cid() != want {
		t.Fatalf("got %v, %v; want %s", b, err, want)
	}
	for name, prefix := range map[string]cid.Prefix{
		"broken hash function": {Version: 1, Codec: cid.Raw, MhType: multihash.MD5, MhLength: -1},
		"short digest":         {Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: 8},
		"unknown version":      {Version: 7, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1},
	} {
		if b, err := block.Sum(prefix, data); !errors.Is(err, block.ErrUnsupported) || b != nil {
			t.Errorf("%s: got %v, %v; want ErrUnsupported", name, b, err)
		}
	}
	if _, err := block.Sum(want.Prefix(), make([]byte, block.MaxSize+1)); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("over the limit: got %v, want ErrTooLarge", err)
	}
}
