package gateway

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// randomBytes are other ones for each seed, and the same for the same one.
func randomBytes(seed byte, n int) []byte {
	data := make([]byte, n)
	random := rand.NewChaCha8([32]byte{seed})
	_, _ = random.Read(data)
	return data
}

// aheadBackend is a backend over a shelf.
func aheadBackend(t *testing.T, s *shelf) *backend {
	t.Helper()
	g, err := New(DefaultOptions(), Deps{Blocks: s, Names: newRegistry(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g.backend
}

func readSpan(ctx context.Context, b *backend, c cid.Cid, ranges ...bgw.ByteRange) ([]byte, error) {
	ctx = withRecord(ctx, &requestRecord{start: time.Now(), sites: &siteTable{}})
	root, err := b.service.GetBlock(ctx, c)
	if err != nil {
		return nil, err
	}
	n, err := readNode(c.Prefix().Codec, root.RawData())
	if err != nil {
		return nil, err
	}
	r, err := newFileReader(ctx, b.service, root, n, spanOf(ranges, n.size))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestAFileIsReadAhead(t *testing.T) {
	s := newShelf()
	data := randomBytes(1, 8*1024)
	root := s.file(t, data).Cid()
	s.from(block.Origin)

	// The first leaf is held back until three others were asked for, too.
	var mu sync.Mutex
	asked, enough := 0, make(chan struct{})
	s.hook(func(ctx context.Context, c cid.Cid) error {
		if c == root {
			return nil
		}
		mu.Lock()
		if asked++; asked == 4 {
			close(enough)
		}
		mu.Unlock()
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	got, err := readSpan(t.Context(), aheadBackend(t, s), root)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
	}
}

func TestOnlyTheAskedPartIsFetched(t *testing.T) {
	s := newShelf()
	data := randomBytes(2, 8*1024)
	root := s.file(t, data).Cid()
	s.from(block.Origin)
	b := aheadBackend(t, s)
	to := func(n int64) *int64 { return &n }
	for _, tc := range []struct {
		name   string
		r      bgw.ByteRange
		want   []byte
		leaves int
	}{
		{"the beginning", bgw.ByteRange{From: 0, To: to(99)}, data[:100], 1},
		{"across two leaves", bgw.ByteRange{From: 3000, To: to(3100)}, data[3000:3101], 2},
		{"to the end", bgw.ByteRange{From: 7000}, data[7000:], 2},
		{"beyond the end", bgw.ByteRange{From: 8000, To: to(9999)}, data[8000:], 1},
		{"the last bytes", bgw.ByteRange{From: -10}, data[len(data)-10:], 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.gets()
			got, err := readSpan(t.Context(), b, root, tc.r)
			if err != nil || !bytes.Equal(got, tc.want) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if n := s.gets() - before; n > tc.leaves+1 { // and the root
				t.Errorf("%d blocks were asked for", n)
			}
		})
	}
}
