package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// TestEverythingAtOnce reads, writes, evicts, holds, releases and lists at the
// same time. What is read is right, and what is held is there.
func TestEverythingAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, MinCapacity)
	const held = 20
	for i := range held {
		if err := s.PutHeld(ctx, "always", storetest.Block(i, 50_000)); err != nil {
			t.Fatal(err)
		}
	}
	var pool []*block.Verified
	for i := range 120 {
		pool = append(pool, storetest.Block(i, []int{50_000, 300_000, 1000}[min(2, i/held)]))
	}
	check := func(b *block.Verified, got []byte, err error, must bool) {
		switch {
		case ipld.IsNotFound(err) && !must:
		case err != nil:
			t.Errorf("%s: %v", b.Cid(), err)
		case !bytes.Equal(got, b.RawData()):
			t.Errorf("%s: wrong bytes", b.Cid())
		}
	}
	var all sync.WaitGroup
	for worker := range 6 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 9))
			owner := fmt.Sprint("worker-", worker)
			for i := range 300 {
				n := random.IntN(len(pool))
				b := pool[n]
				switch what := random.IntN(20); {
				case what < 6:
					if err := s.Put(ctx, b); err != nil {
						t.Error(err)
					}
				case what < 14:
					got, err := s.Get(ctx, b.Cid())
					var data []byte
					if err == nil {
						data = got.RawData()
					}
					check(b, data, err, n < held)
				case what < 17:
					var copied []byte
					err := s.View(ctx, b.Cid(), func(data []byte) error {
						copied = bytes.Clone(data)
						return nil
					})
					check(b, copied, err, n < held)
				case what < 18:
					if err := s.PutHeld(ctx, owner, b); err != nil {
						t.Error(err)
					}
				case what < 19:
					if err := s.DeleteBlock(ctx, b.Cid()); err != nil && !errors.Is(err, ErrPinned) {
						t.Error(err)
					}
				case i%5 == 0:
					if err := errors.Join(s.Commit(owner), s.Release(owner)); err != nil {
						t.Error(err)
					}
				default:
					keys, err := s.AllKeysChan(ctx)
					if err != nil {
						t.Error(err)
					}
					for range keys {
					}
					s.Stats()
				}
			}
		})
	}
	all.Wait()
	if got := folderSize(t, dir); got > MinCapacity {
		t.Errorf("%d bytes in the folder", got)
	}
}

// TestReadOutlivesItsSegment: a read that has found its segment is not disturbed
// when the segment is reclaimed, or the store closed, before it is done.
func TestReadOutlivesItsSegment(t *testing.T) {
	s := openStore(t, t.TempDir(), MinCapacity)
	b := storetest.Block(1, 100_000)
	mustPut(t, s, b)
	p, err := s.locate(ctx, s.keys.key(b.Cid().Hash()), b.Cid())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBlock(ctx, b.Cid()); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 300, 100_000)
	mustClose(t, s)
	buf := make([]byte, p.entry.length())
	if err := p.read(buf, p.entry.offset, p.entry.crc); err != nil || !bytes.Equal(buf, b.RawData()) {
		t.Errorf("the read was cut off: %v", err)
	}
	if err := p.release(); err != nil {
		t.Error(err)
	}
	if err := p.read(buf, p.entry.offset, p.entry.crc); err == nil {
		t.Error("the file is still open after its last reader left")
	}
}
