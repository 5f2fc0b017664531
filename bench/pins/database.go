package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	pebbleds "github.com/ipfs/go-ds-pebble"

	"github.com/shoal-cdn/shoal/pin/database"
)

type store interface {
	ds.Batching
	Close() error
}

// stores open what is compared. Pebble has a cache of 8 MiB and syncs each write, as
// bbolt does.
var stores = []struct {
	name string
	open func(dir string) (store, error)
}{
	{"bbolt", func(dir string) (store, error) {
		return database.New(filepath.Join(dir, "bbolt", "db"))
	}},
	{"pebble", func(dir string) (store, error) {
		return pebbleds.NewDatastore(filepath.Join(dir, "pebble"),
			pebbleds.WithPebbleOpts(&pebble.Options{MemTableSize: 4 << 20, CacheSize: 8 << 20}),
			pebbleds.WithPebbleWriteOptions(pebble.Sync))
	}},
}

func value(i int) []byte {
	return fmt.Appendf(nil, `{"cid":"bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbz%04x","name":"release-%d","owner":"%064x","created":%d}`, i, i, 7, 1790000000000+i)
}

func key(i int) ds.Key { return ds.NewKey(fmt.Sprintf("/list/pin/0123456789abcdef/%016x", i)) }

func measureDatabases(dir string, n int) error {
	for _, s := range stores {
		fmt.Println("#", s.name)
		if err := measureDatabase(dir, n, s.open); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func measureDatabase(dir string, n int, open func(string) (store, error)) error {
	ctx := context.Background()
	s, err := open(dir)
	if err != nil {
		return err
	}
	write := func(from, to int) error {
		b, err := s.Batch(ctx)
		if err != nil {
			return err
		}
		for i := from; i < to; i++ {
			if err := b.Put(ctx, key(i), value(i)); err != nil {
				return err
			}
		}
		return errors.Join(b.Put(ctx, ds.NewKey("/list/sum"), value(to)), b.Commit(ctx))
	}
	some := min(n/10, 1000)
	err = errors.Join(
		each("durable write of a pin and the sum", some, func(i int) error { return write(i, i+1) }),
		timed("batches of 1000", func() error {
			for i := some; i < n; i += 1000 {
				if err := write(i, min(i+1000, n)); err != nil {
					return err
				}
			}
			return nil
		}),
		s.Close(), showDisk("on disk", dir),
	)
	if err != nil {
		return err
	}
	err = timed("open and read all", func() error {
		if s, err = open(dir); err != nil {
			return err
		}
		results, err := s.Query(ctx, query.Query{Prefix: "/list/pin"})
		if err != nil {
			return err
		}
		all, err := results.Rest()
		if err == nil && len(all) != n {
			err = fmt.Errorf("%d pins", len(all))
		}
		return err
	})
	show("resident", resident())
	return errors.Join(err, s.Close(), os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
}

// fillDisk fills a file system while there is a database on it, and makes room again.
func fillDisk(dir string, _ int) error {
	for _, s := range stores {
		fmt.Println("#", s.name)
		d, err := s.open(dir)
		if err != nil {
			return err
		}
		put := func(i int) error { return d.Put(context.Background(), key(i), value(i)) }
		ballast, err := os.Create(filepath.Join(dir, "ballast"))
		if err != nil {
			return err
		}
		for err == nil {
			_, err = ballast.Write(make([]byte, 4096))
		}
		failed := 0
		for i := range 20_000 {
			if err := put(i); err != nil {
				failed++
			}
		}
		show("writes refused on a full disk", fmt.Sprintf("%d of 20000", failed))
		err = errors.Join(ballast.Close(), os.Remove(ballast.Name()))
		show("a write when there is room again", fmt.Sprint("error: ", put(20_000)))
		if err := errors.Join(err, d.Close(), os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
			return err
		}
	}
	return nil
}
