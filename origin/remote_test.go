package origin

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

const somePeer = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"

// answering is a peer that has one answer.
type answering func(c cid.Cid) (*block.Verified, error)

func (a answering) Get(_ context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	b, err := a(c)
	return b, block.Origin, err
}

func TestBitswapOrigin(t *testing.T) {
	mh, err := multihash.Sum([]byte("data"), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	id := cid.NewCidV1(cid.Raw, mh)
	dead := errors.New("connection refused")
	for _, tc := range []struct {
		name   string
		peer   answering
		check  func(*block.Verified, error) bool
		metric string
	}{
		{"has it", func(c cid.Cid) (*block.Verified, error) { return block.New(c, []byte("data")) },
			func(b *block.Verified, err error) bool { return err == nil && string(b.RawData()) == "data" }, "ok"},
		{"has another", func(cid.Cid) (*block.Verified, error) { return block.Sum(id.Prefix(), []byte("date")) },
			func(b *block.Verified, err error) bool { return b == nil && errors.Is(err, block.ErrMismatch) }, "mismatch"},
		{"does not have it", func(c cid.Cid) (*block.Verified, error) { return nil, block.NotFound(c) },
			func(b *block.Verified, err error) bool { return b == nil && ipld.IsNotFound(err) }, "not_found"},
		{"cannot be reached", func(c cid.Cid) (*block.Verified, error) {
			return nil, &block.UnavailableError{Cid: c, From: "peer", RetryAfter: time.Second, Err: dead}
		}, func(b *block.Verified, err error) bool {
			var u *block.UnavailableError
			return b == nil && errors.As(err, &u) && u.RetryAfter == time.Second && errors.Is(err, dead)
		}, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			o := DefaultOptions()
			o.Origins = []Spec{{Type: TypeBitswap, Addr: "/ip4/127.0.0.1/tcp/4001/p2p/" + somePeer}}
			s, err := New(o, func(string) (block.Getter, error) { return tc.peer, nil }, slog.New(slog.DiscardHandler), reg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b, _, err := s.Get(t.Context(), id)
			if !tc.check(b, err) {
				t.Errorf("got %v, %v", b, err)
			}
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, f := range families {
				text.WriteString(f.String())
			}
			if !strings.Contains(text.String(), tc.metric) || !strings.Contains(text.String(), somePeer) {
				t.Errorf("metrics do not show %s of %s:\n%s", tc.metric, somePeer, text.String())
			}
		})
	}
}

func TestBitswapOriginNeedsPeers(t *testing.T) {
	o := DefaultOptions()
	o.Origins = []Spec{{Type: TypeBitswap, Addr: "/ip4/127.0.0.1/tcp/4001/p2p/" + somePeer}}
	if _, err := New(o, nil, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "origins[0]") {
		t.Fatalf("got %v", err)
	}
}
