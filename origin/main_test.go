package origin

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/block"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// makeBlock returns a raw block of size random bytes.
func makeBlock(t testing.TB, size int) *block.Verified {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	return rawBlock(t, data)
}

func rawBlock(t testing.TB, data []byte) *block.Verified {
	t.Helper()
	b, err := block.New(cidOf(t, data), data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cidOf returns the CID of data, of any size.
func cidOf(t testing.TB, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// open makes a Set that the test closes.
func open(t testing.TB, o Options) *Set {
	t.Helper()
	s, err := New(o, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fetch gets a block and checks that nothing comes with an error.
func fetch(t testing.TB, s *Set, ctx context.Context, c cid.Cid) error {
	t.Helper()
	b, from, err := s.Get(ctx, c)
	if err != nil {
		if b != nil {
			t.Errorf("a block and an error: %v", err)
		}
		return err
	}
	if from != block.Origin || b.Cid() != c {
		t.Errorf("got %s from %s, asked for %s", b.Cid(), from, c)
	}
	if _, err := block.New(c, b.RawData()); err != nil {
		t.Errorf("wrong bytes: %v", err)
	}
	return nil
}

// requests returns shoal_origin_requests_total of one outcome over all origins.
func requests(s *Set, o outcome) int {
	n := 0
	for _, origin := range s.origins() {
		n += count(s.metrics.requests.WithLabelValues(origin.name, string(o)))
	}
	return n
}

func avoided(s *Set, r reason) int {
	n := 0
	for _, origin := range s.origins() {
		n += count(s.metrics.avoided.WithLabelValues(origin.name, string(r)))
	}
	return n
}

func count(c prometheus.Counter) int {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}
