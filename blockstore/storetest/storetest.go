// Package storetest holds what every block store must do, whatever it keeps its
// blocks in: one suite, run against each of them.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	boxo "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// Block returns the n-th made-up block of size bytes. The same n and size make
// the same block.
func Block(n, size int) *block.Verified {
	return BlockOf(Data(n, size), multihash.SHA2_256)
}

// Data returns the bytes of Block(n, size).
func Data(n, size int) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%d/%d", n, size))
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data)
	return data
}

// BlockOf returns data as a raw block whose CID uses the hash function code.
func BlockOf(data []byte, code uint64) *block.Verified {
	hash, err := multihash.Sum(data, code, -1)
	if err != nil {
		panic(err)
	}
	b, err := block.New(cid.NewCidV1(cid.Raw, hash), data)
	if err != nil {
		panic(err)
	}
	return b
}

// Run tests the stores that open returns. Each is empty, holds at least 8 MiB, and
// is closed by open with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) boxo.Blockstore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, boxo.Blockstore)
	}{
		{"EmptyStore", testEmpty},
		{"PutThenRead", testPutThenRead},
		{"PutMany", testPutMany},
		{"PutTwice", testPutTwice},
		{"SameHashOtherCodec", testCodec},
		{"HashFunctions", testHashFunctions},
		{"Sizes", testSizes},
		{"Delete", testDelete},
		{"UndefinedCID", testUndefined},
		{"AllKeys", testAllKeys},
		{"AllKeysStops", testAllKeysStops},
		{"View", testView},
		{"BytesAreKept", testBytesAreKept},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Check fails the test unless the store has b and returns its bytes.
func Check(t *testing.T, s boxo.Blockstore, b blocks.Block) {
	t.Helper()
	ctx := context.Background()
	if has, err := s.Has(ctx, b.Cid()); !has || err != nil {
		t.Errorf("Has(%s) = %v, %v; want true", b.Cid(), has, err)
	}
	if n, err := s.GetSize(ctx, b.Cid()); n != len(b.RawData()) || err != nil {
		t.Errorf("GetSize(%s) = %d, %v; want %d", b.Cid(), n, err, len(b.RawData()))
	}
	got, err := s.Get(ctx, b.Cid())
	if err != nil {
		t.Errorf("Get(%s): %v", b.Cid(), err)
		return
	}
	if got.Cid() != b.Cid() || !bytes.Equal(got.RawData(), b.RawData()) {
		t.Errorf("Get(%s) returned %s with other bytes", b.Cid(), got.Cid())
	}
}

// CheckMissing fails the test unless the store says that it has no c.
func CheckMissing(t *testing.T, s boxo.Blockstore, c cid.Cid) {
	t.Helper()
	ctx := context.Background()
	if has, err := s.Has(ctx, c); has || err != nil {
		t.Errorf("Has(%s) = %v, %v; want false", c, has, err)
	}
	if _, err := s.GetSize(ctx, c); !ipld.IsNotFound(err) {
		t.Errorf("GetSize(%s): %v; want not found", c, err)
	}
	if b, err := s.Get(ctx, c); !ipld.IsNotFound(err) || b != nil {
		t.Errorf("Get(%s) = %v, %v; want not found", c, b, err)
	}
	if v, ok := s.(boxo.Viewer); ok {
		err := v.View(ctx, c, func([]byte) error {
			t.Errorf("View(%s) called back", c)
			return nil
		})
		if !ipld.IsNotFound(err) {
			t.Errorf("View(%s): %v; want not found", c, err)
		}
	}
}

func put(t *testing.T, s boxo.Blockstore, bs ...blocks.Block) {
	t.Helper()
	for _, b := range bs {
		if err := s.Put(context.Background(), b); err != nil {
			t.Fatalf("Put(%s): %v", b.Cid(), err)
		}
	}
}

func testEmpty(t *testing.T, s boxo.Blockstore) {
	CheckMissing(t, s, Block(1, 10).Cid())
	if keys := allKeys(t, s); len(keys) > 0 {
		t.Errorf("an empty store lists %v", keys)
	}
}

func testPutThenRead(t *testing.T, s boxo.Blockstore) {
	b := Block(1, 1000)
	put(t, s, b)
	Check(t, s, b)
	CheckMissing(t, s, Block(2, 1000).Cid())
}

func testPutMany(t *testing.T, s boxo.Blockstore) {
	var many []blocks.Block
	for i := range 50 {
		many = append(many, Block(i, 100+i))
	}
	if err := s.PutMany(context.Background(), many); err != nil {
		t.Fatal(err)
	}
	if err := s.PutMany(context.Background(), nil); err != nil {
		t.Errorf("PutMany of nothing: %v", err)
	}
	for _, b := range many {
		Check(t, s, b)
	}
}

func testPutTwice(t *testing.T, s boxo.Blockstore) {
	b := Block(1, 1000)
	put(t, s, b, b)
	Check(t, s, b)
	if keys := allKeys(t, s); len(keys) != 1 {
		t.Errorf("stored twice, listed as %v", keys)
	}
}

func testCodec(t *testing.T, s boxo.Blockstore) {
	b := Block(1, 1000)
	put(t, s, b)
	for _, c := range []cid.Cid{cid.NewCidV1(cid.DagProtobuf, b.Cid().Hash()), cid.NewCidV0(b.Cid().Hash())} {
		other, err := b.As(c)
		if err != nil {
			t.Fatal(err)
		}
		Check(t, s, other)
	}
}

func testHashFunctions(t *testing.T, s boxo.Blockstore) {
	data := Data(1, 100)
	for _, code := range []uint64{multihash.SHA2_256, multihash.SHA2_512, multihash.BLAKE3, multihash.IDENTITY, multihash.BLAKE2B_MIN + 31} {
		b := BlockOf(data, code)
		CheckMissing(t, s, b.Cid())
		put(t, s, b)
		Check(t, s, b)
	}
}

func testSizes(t *testing.T, s boxo.Blockstore) {
	for i, size := range []int{0, 1, 31, 32, 33, 4095, 4096, 4097, 32 << 10, 32<<10 + 1, 256 << 10, 1 << 20, block.MaxSize} {
		b := Block(i, size)
		put(t, s, b)
		Check(t, s, b)
	}
}

func testDelete(t *testing.T, s boxo.Blockstore) {
	kept, gone := Block(1, 1000), Block(2, 1000)
	put(t, s, kept, gone)
	for range 2 {
		if err := s.DeleteBlock(context.Background(), gone.Cid()); err != nil {
			t.Fatalf("DeleteBlock: %v", err)
		}
		CheckMissing(t, s, gone.Cid())
		Check(t, s, kept)
	}
	put(t, s, gone)
	Check(t, s, gone)
}

func testUndefined(t *testing.T, s boxo.Blockstore) {
	if _, err := s.Get(context.Background(), cid.Undef); !ipld.IsNotFound(err) {
		t.Errorf("Get of no CID: %v; want not found", err)
	}
}

func allKeys(t *testing.T, s boxo.Blockstore) map[string]int {
	t.Helper()
	keys, err := s.AllKeysChan(context.Background())
	if err != nil {
		t.Fatalf("AllKeysChan: %v", err)
	}
	counts := map[string]int{}
	for c := range keys {
		if c.Prefix().Codec != cid.Raw {
			t.Errorf("%s has not the raw codec", c)
		}
		counts[string(c.Hash())]++
	}
	return counts
}

func testAllKeys(t *testing.T, s boxo.Blockstore) {
	want := map[string]bool{}
	for i := range 300 {
		b := Block(i, 50+i)
		put(t, s, b)
		want[string(b.Cid().Hash())] = true
	}
	for i := 0; i < 300; i += 3 {
		c := Block(i, 50+i).Cid()
		if err := s.DeleteBlock(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		delete(want, string(c.Hash()))
	}
	got := allKeys(t, s)
	for h := range want {
		if got[h] != 1 {
			t.Errorf("%s listed %d times", multihash.Multihash(h).B58String(), got[h])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys listed, want %d", len(got), len(want))
	}
}

func testAllKeysStops(t *testing.T, s boxo.Blockstore) {
	for i := range 100 {
		put(t, s, Block(i, 50))
	}
	ctx, cancel := context.WithCancel(context.Background())
	keys, err := s.AllKeysChan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-keys
	cancel()
	for range keys { // ends, or the test times out
	}
}

func testView(t *testing.T, s boxo.Blockstore) {
	v, ok := s.(boxo.Viewer)
	if !ok {
		t.Skip("not a Viewer")
	}
	b := Block(1, 5000)
	put(t, s, b)
	var got []byte
	if err := v.View(context.Background(), b.Cid(), func(data []byte) error {
		got = bytes.Clone(data)
		return nil
	}); err != nil || !bytes.Equal(got, b.RawData()) {
		t.Errorf("View: %d bytes, %v", len(got), err)
	}
	refusal := errors.New("no thanks")
	if err := v.View(context.Background(), b.Cid(), func([]byte) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("View: %v; want the callback's error", err)
	}
}

// testBytesAreKept makes sure that a block that was returned is not part of a
// buffer that is used again.
func testBytesAreKept(t *testing.T, s boxo.Blockstore) {
	var got []blocks.Block
	for i := range 50 {
		put(t, s, Block(i, 3000))
	}
	for i := range 50 {
		b, err := s.Get(context.Background(), Block(i, 3000).Cid())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	for i, b := range got {
		if !bytes.Equal(b.RawData(), Data(i, 3000)) {
			t.Errorf("block %d changed after it was returned", i)
		}
	}
}

func testConcurrent(t *testing.T, s boxo.Blockstore) {
	ctx := context.Background()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 200 {
				b := Block((i+worker*50)%300, 2000)
				if err := s.Put(ctx, b); err != nil {
					t.Errorf("Put: %v", err)
				}
				got, err := s.Get(ctx, b.Cid())
				if err != nil && !ipld.IsNotFound(err) {
					t.Errorf("Get: %v", err)
				}
				if err == nil && !bytes.Equal(got.RawData(), b.RawData()) {
					t.Errorf("Get(%s): other bytes", b.Cid())
				}
				if i%10 == 0 {
					if err := s.DeleteBlock(ctx, b.Cid()); err != nil {
						t.Errorf("DeleteBlock: %v", err)
					}
				}
			}
		})
	}
	all.Wait()
}
