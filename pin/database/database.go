package database

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	ds "github.com/ipfs/go-datastore"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrLocked means that another process has the file open.
	ErrLocked = errors.New("in use by another process")
	// ErrDamaged means that the file is not a database, or not any more.
	ErrDamaged = errors.New("the database is damaged; move the file away, and the edge starts with an empty one that its siblings fill")
	// ErrClosed means that the database has been closed.
	ErrClosed = errors.New("the database is closed")
)

// lockTimeout is how long to wait for another process to let go of the file.
const lockTimeout = time.Second

// Database is a datastore in one file. All methods may be called at once. There is
// one writer at a time.
type Database struct{ db *bbolt.DB }

var _ ds.Batching = (*Database)(nil)

var bucket = []byte("datastore")

// fill is how much of a page is used when it is split. Keys mostly come in order.
const fill = 0.8

// New opens the database in a file, which is created with its folder when it is not
// there, and takes it for this process.
func New(file string) (d *Database, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open database %s: %w", file, err)
		}
	}()
	_, statErr := os.Stat(file)
	fresh := errors.Is(statErr, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	d = &Database{}
	defer guard(&err)
	// With NoFreelistSync, bbolt would look for free pages at the start, and end the
	// process when it meets a damaged one.
	d.db, err = bbolt.Open(file, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	})
	if err != nil {
		return nil, translate(err)
	}
	err = d.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err == nil && fresh {
		err = syncFolder(filepath.Dir(file))
	}
	if err != nil {
		return nil, errors.Join(translate(err), d.db.Close())
	}
	return d, nil
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close waits for reads and writes that run, and lets go of the file.
func (d *Database) Close() error { return d.db.Close() }

// Get returns a copy of the value, or [ds.ErrNotFound].
func (d *Database) Get(ctx context.Context, key ds.Key) (value []byte, err error) {
	err = d.look(ctx, key, func(v []byte) { value = bytes.Clone(v) })
	return value, err
}

// Has reports whether there is a value.
func (d *Database) Has(ctx context.Context, key ds.Key) (bool, error) {
	err := d.look(ctx, key, func([]byte) {})
	if errors.Is(err, ds.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// GetSize returns the size of the value, or [ds.ErrNotFound].
func (d *Database) GetSize(ctx context.Context, key ds.Key) (size int, err error) {
	size = -1
	err = d.look(ctx, key, func(v []byte) { size = len(v) })
	return size, err
}

func (d *Database) look(ctx context.Context, key ds.Key, f func([]byte)) error {
	return d.view(ctx, func(b *bbolt.Bucket) error {
		v := b.Get(key.Bytes())
		if v == nil {
			return ds.ErrNotFound
		}
		f(v)
		return nil
	})
}

// Put stores a value durably.
func (d *Database) Put(ctx context.Context, key ds.Key, value []byte) error {
	return d.update(ctx, func(b *bbolt.Bucket) error { return b.Put(key.Bytes(), value) })
}

// Delete removes a value durably. It is no error that there is none.
func (d *Database) Delete(ctx context.Context, key ds.Key) error {
	return d.update(ctx, func(b *bbolt.Bucket) error { return b.Delete(key.Bytes()) })
}

// Sync does nothing: what was written is on the disk.
func (d *Database) Sync(context.Context, ds.Key) error { return nil }

// Batch collects writes for one transaction.
func (d *Database) Batch(context.Context) (ds.Batch, error) { return &batch{d: d}, nil }

// batch is a ds.Batch. As its interface says, it must not be used from several
// goroutines at once.
type batch struct {
	d   *Database
	ops []op
}

type op struct {
	key    ds.Key
	value  []byte
	delete bool
}

func (b *batch) Put(_ context.Context, key ds.Key, value []byte) error {
	b.ops = append(b.ops, op{key: key, value: value})
	return nil
}

func (b *batch) Delete(_ context.Context, key ds.Key) error {
	b.ops = append(b.ops, op{key: key, delete: true})
	return nil
}

// Commit writes all or nothing.
func (b *batch) Commit(ctx context.Context) error {
	ops := b.ops
	b.ops = nil
	if len(ops) == 0 {
		return nil
	}
	return b.d.update(ctx, func(bucket *bbolt.Bucket) error {
		for _, o := range ops {
			var err error
			if o.delete {
				err = bucket.Delete(o.key.Bytes())
			} else {
				err = bucket.Put(o.key.Bytes(), o.value)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", o.key, err)
			}
		}
		return nil
	})
}

func (d *Database) view(ctx context.Context, f func(*bbolt.Bucket) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer guard(&err)
	return translate(d.db.View(func(tx *bbolt.Tx) error { return f(tx.Bucket(bucket)) }))
}

func (d *Database) update(ctx context.Context, f func(*bbolt.Bucket) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer guard(&err)
	return translate(d.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = fill
		return f(b)
	}))
}

// guard turns a panic of bbolt, which is how it reports a damaged page, into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w (%v)", ErrDamaged, r)
	}
}

func translate(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return ErrClosed
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return err
}
