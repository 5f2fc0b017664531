package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dstest "github.com/ipfs/go-datastore/test"
)

func open(t *testing.T, file string) *Database {
	t.Helper()
	d, err := New(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// unsynced does not wait for the disk, because the suite writes thousands of times.
func unsynced(t *testing.T) *Database {
	d := open(t, filepath.Join(t.TempDir(), "db"))
	d.db.NoSync = true
	return d
}

// TestIsADatastore runs the suite of go-datastore, but for the combinations of query
// clauses, which take ten seconds.
func TestIsADatastore(t *testing.T) {
	for name, f := range map[string]func(*testing.T, ds.Datastore){
		"put and get": dstest.SubtestBasicPutGet, "not found": dstest.SubtestNotFounds, "prefix": dstest.SubtestPrefix,
		"order": dstest.SubtestOrder, "limit": dstest.SubtestLimit, "filter": dstest.SubtestFilter,
		"many keys": dstest.SubtestManyKeysAndQuery, "sizes": dstest.SubtestReturnSizes, "sync": dstest.SubtestBasicSync,
	} {
		t.Run(name, func(t *testing.T) { f(t, unsynced(t)) })
	}
	for i, f := range dstest.BatchSubtests {
		t.Run(fmt.Sprint("batch ", i), func(t *testing.T) { f(t, unsynced(t)) })
	}
}

func TestStaysAfterReopening(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "new", "folder", "db")
	d := open(t, file)
	b, _ := d.Batch(ctx)
	for i := range 1000 {
		b.Put(ctx, ds.NewKey(fmt.Sprintf("/a/%04d", i)), []byte{byte(i)})
	}
	b.Delete(ctx, ds.NewKey("/a/0007"))
	if err := b.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, file)
	res, err := d.Query(ctx, query.Query{Prefix: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, ok := res.NextSync(); ok; r, ok = res.NextSync() {
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		// Writing while reading must not block.
		if n%100 == 0 {
			if err := d.Put(ctx, ds.NewKey("/b/"+r.Key), make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if n != 999 {
		t.Errorf("%d entries", n)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	open(t, file)
	if _, err := New(file); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
}

func TestDamageIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(file, bytes.Repeat([]byte("not a database "), 4000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(file); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestDamagedPageIsAnError(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "db")
	d := open(t, file)
	b, _ := d.Batch(ctx)
	for i := range 2000 {
		b.Put(ctx, ds.NewKey(fmt.Sprintf("/a/%04d", i)), make([]byte, 100))
	}
	if err := errors.Join(b.Commit(ctx), d.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	for at := int64(4 * os.Getpagesize()); at < info.Size(); at += int64(os.Getpagesize()) {
		f.WriteAt(bytes.Repeat([]byte{0xa5}, 512), at)
	}
	f.Close()
	d, err = New(file)
	if err == nil {
		defer d.Close()
		_, err = d.Get(ctx, ds.NewKey("/a/1000"))
	}
	if !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "db"))
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), ds.NewKey("a"), nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := d.Get(t.Context(), ds.NewKey("a")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Has(ctx, ds.NewKey("a")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
