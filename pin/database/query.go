package database

import (
	"bytes"
	"context"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	"go.etcd.io/bbolt"
)

// A query reads this many entries or bytes in one transaction.
const (
	chunkEntries = 256
	chunkBytes   = 1 << 20
)

// Query returns entries in the order of their keys. It reads in chunks and not in one
// long transaction, which would keep freed pages from being used again, and would wait
// for itself if its caller wrote in between. So what is written meanwhile may be seen
// or not.
func (d *Database) Query(ctx context.Context, q query.Query) (query.Results, error) {
	prefix := []byte(ds.NewKey(q.Prefix).String())
	if len(prefix) > 1 {
		prefix = append(prefix, '/')
	}
	s := &scan{d: d, ctx: ctx, prefix: prefix, next: prefix, keysOnly: q.KeysOnly && !q.ReturnsSizes}
	results := query.ResultsFromIterator(q, query.Iterator{Next: s.entry})
	rest := q
	rest.Prefix = "" // done
	if ordered(q.Orders) {
		rest.Orders = nil
	}
	return query.NaiveQueryApply(rest, results), nil
}

// ordered reports whether the order of the keys is what is asked for.
func ordered(orders []query.Order) bool {
	if len(orders) == 0 {
		return true
	}
	switch orders[0].(type) {
	case query.OrderByKey, *query.OrderByKey:
		return true // keys are unique: further orders change nothing
	}
	return false
}

type scan struct {
	d        *Database
	ctx      context.Context
	prefix   []byte
	next     []byte // where the next chunk begins; nil at the end
	keysOnly bool
	chunk    []query.Entry
}

func (s *scan) entry() (query.Result, bool) {
	if len(s.chunk) == 0 && s.next != nil {
		if err := s.read(); err != nil {
			s.next = nil
			return query.Result{Error: err}, true
		}
	}
	if len(s.chunk) == 0 {
		return query.Result{}, false
	}
	e := s.chunk[0]
	s.chunk = s.chunk[1:]
	return query.Result{Entry: e}, true
}

func (s *scan) read() error {
	s.chunk = make([]query.Entry, 0, chunkEntries)
	return s.d.view(s.ctx, func(b *bbolt.Bucket) error {
		c := b.Cursor()
		size := 0
		k, v := c.Seek(s.next)
		for ; k != nil && bytes.HasPrefix(k, s.prefix); k, v = c.Next() {
			if len(s.chunk) == chunkEntries || size > chunkBytes {
				s.next = bytes.Clone(k)
				return nil
			}
			e := query.Entry{Key: string(k), Size: len(v)}
			if !s.keysOnly {
				e.Value = bytes.Clone(v)
			}
			size += len(k) + len(v)
			s.chunk = append(s.chunk, e)
		}
		s.next = nil
		return nil
	})
}
