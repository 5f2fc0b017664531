package coding

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/hot"
)

type noBlocks struct{}

func (noBlocks) Lend(int64)                    {}
func (noBlocks) Hold(...*block.Verified) int64 { return 0 }
func (noBlocks) Release(...cid.Cid) int64      { return 0 }
func (noBlocks) Use(...cid.Cid)                {}

// newCoder is a coder with a store, and counts how often it encodes.
func newCoder(t testing.TB) (c *Coder, store *hot.Store, encoded *atomic.Int64) {
	t.Helper()
	encoded = new(atomic.Int64)
	store = hot.New(8<<20, noBlocks{})
	ctx, cancel := context.WithCancel(context.Background())
	c = New(ctx, func() *hot.Store { return store }, func(string, string, time.Duration) { encoded.Add(1) }, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		cancel()
		c.Close()
	})
	return c, store, encoded
}

func accepting(codings ...Coding) *Acceptance {
	a := &Acceptance{plain: true, n: len(codings)}
	copy(a.list[:], codings)
	return a
}

// of is content that is at hand.
func of(name string, body []byte) Content {
	read := func(context.Context) ([]byte, error) { return body, nil }
	return Content{Name: name, Size: int64(len(body)), Now: read, Later: read}
}

func text(n int) []byte { return bytes.Repeat([]byte("a line of text\n"), n/15+1)[:n] }

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// While all places are taken, there is another form or the content as it is; only who
// does not take that waits.
func TestNobodyWaitsForAPlace(t *testing.T) {
	c, _, _ := newCoder(t)
	content := of("x", text(5000))
	if f, _ := c.Choose(t.Context(), accepting(gzipCoding), content); f == nil || f.Name() != "gzip" {
		t.Fatal("no form was made")
	}
	for range cap(c.slots) {
		c.slots <- struct{}{}
	}
	if f, _ := c.Choose(t.Context(), accepting(brotliCoding), content); f != nil {
		t.Error("a form without a place")
	}
	if f, _ := c.Choose(t.Context(), accepting(brotliCoding, gzipCoding), content); f == nil || f.Name() != "gzip" {
		t.Error("the form that is there was not taken")
	}
	insists := accepting(brotliCoding)
	insists.plain = false
	done := make(chan *Form)
	go func() {
		f, _ := c.Choose(t.Context(), insists, content)
		done <- f
	}()
	select {
	case <-done:
		t.Error("an answer without a place")
	case c.slots <- struct{}{}:
		t.Error("more places than there are")
	default:
	}
	for range cap(c.slots) {
		<-c.slots
	}
	if f := <-done; f == nil || f.Name() != "br" {
		t.Error("who insists got none")
	}
}

// A form is made of the content, and once.
func TestAFormIsKept(t *testing.T) {
	c, _, encoded := newCoder(t)
	content := of("x", text(5000))
	for range 3 {
		f, _ := c.Choose(t.Context(), accepting(brotliCoding), content)
		got, err := io.ReadAll(brotli.NewReader(bytes.NewReader(f.Body())))
		if err != nil || !bytes.Equal(got, text(5000)) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if want := fmt.Sprintf("Content-Length: %d\r\n", len(f.Body())); !strings.Contains(string(f.Head()), want) {
			t.Errorf("the head is %q", f.Head())
		}
	}
	if n := encoded.Load(); n != 1 {
		t.Errorf("encoded %d times", n)
	}
	if f, _ := c.Choose(t.Context(), accepting(brotliCoding), of("y", noise(5000))); f != nil {
		t.Errorf("noise became %d bytes", len(f.Body()))
	}
}

// A form is not replaced by a larger one, or by none.
func TestTheBestFormIsTheSmallest(t *testing.T) {
	c, store, _ := newCoder(t)
	for name, body := range map[string][]byte{"larger": append(text(100), noise(4900)...), "none": noise(5000)} {
		key := formKey{name, brotliCoding}
		keepForm(store, name, newForm(brotliCoding, []byte("small"), 5000, true), store.Generation())
		c.run(compression{
			generation: store.Generation(), formKey: key, effort: best, size: 5000,
			read: func(context.Context) ([]byte, error) { return body, nil },
		})
		if f := c.kept(key, 5000); string(f.body) != "small" || f.better {
			t.Errorf("%s: %d bytes, better: %v", name, len(f.body), f.better)
		}
	}
}

// BenchmarkEncode says what making a form costs.
func BenchmarkEncode(b *testing.B) {
	c, _, _ := newCoder(b)
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		body := text(size)
		for effort := range numEfforts {
			for to := range numCodings {
				if levels[effort][to] < 0 {
					continue
				}
				b.Run(fmt.Sprintf("%dKiB/%s/%s", size>>10, codings[to].name, effort), func(b *testing.B) {
					b.SetBytes(int64(len(body)))
					b.ReportAllocs()
					var encoded []byte
					for b.Loop() {
						encoded = c.encode(b.Context(), to, effort, body)
					}
					b.ReportMetric(100*float64(len(encoded))/float64(len(body)), "%")
				})
			}
		}
	}
}
