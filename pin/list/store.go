package list

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// What is stored, below /list:
//
//	version            the number of this format
//	sum                the summary of the state, and how many pins there are
//	known/AUTHOR       the numbers of this author that are known, as JSON ranges
//	pin/AUTHOR/SEQ     a pin, as JSON; AUTHOR and SEQ have 16 hexadecimal digits
var (
	root       = ds.NewKey("/list")
	versionKey = root.ChildString("version")
	sumKey     = root.ChildString("sum")
	knownKey   = root.ChildString("known")
	pinKey     = root.ChildString("pin")
)

const version = "1"

type storedSum struct {
	summary
	Count int `json:"count"`
}

func keyOf(d dot) ds.Key {
	return ds.RawKey(fmt.Sprintf("%s/%016x/%016x", pinKey, uint64(d.Author), d.Seq))
}

func dotOf(key string) (d dot, err error) {
	a, seq, ok := strings.Cut(strings.TrimPrefix(key, pinKey.String()+"/"), "/")
	if !ok {
		return d, errors.New("malformed key")
	}
	if err := d.Author.UnmarshalText([]byte(a)); err != nil {
		return d, err
	}
	d.Seq, err = strconv.ParseUint(seq, 16, 64)
	if err == nil && d.Seq == 0 {
		err = errors.New("number 0")
	}
	return d, err
}

// load reads the list. If what is there does not agree with the sum that was stored
// with it, something was lost, and it must not look as if it had been removed: the
// edge then knows only what it holds, and learns the rest from its siblings again.
func (l *List) load(ctx context.Context) (*index, error) {
	if err := l.checkVersion(ctx); err != nil {
		return nil, err
	}
	x := newIndex()
	lost, err := l.loadPins(ctx, x)
	if err != nil {
		return nil, err
	}
	bad, err := l.loadKnown(ctx, x)
	if err != nil {
		return nil, err
	}
	want := storedSum{}
	raw, err := l.cfg.Datastore.Get(ctx, sumKey)
	switch {
	case errors.Is(err, ds.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if json.Unmarshal(raw, &want) != nil {
			bad++
		}
	}
	if len(lost) == 0 && bad == 0 && want == (storedSum{x.sum, x.byTime.Len()}) {
		return x, nil
	}
	l.log.Warn("list of pins: the database has lost something; what siblings have of it comes back from them",
		"pins_expected", want.Count, "pins", x.byTime.Len(), "unreadable", len(lost))
	return x, l.forget(ctx, x, lost)
}

func (l *List) checkVersion(ctx context.Context) error {
	v, err := l.cfg.Datastore.Get(ctx, versionKey)
	switch {
	case errors.Is(err, ds.ErrNotFound):
		return l.cfg.Datastore.Put(ctx, versionKey, []byte(version))
	case err != nil:
		return err
	case string(v) != version:
		return fmt.Errorf("the database has format %.20q, this program reads %s: run the version that wrote it", v, version)
	}
	return nil
}

// each calls f with what is stored below a key.
func (l *List) each(ctx context.Context, below ds.Key, f func(query.Entry)) error {
	results, err := l.cfg.Datastore.Query(ctx, query.Query{Prefix: below.String()})
	if err != nil {
		return err
	}
	defer results.Close()
	for {
		r, ok := results.NextSync()
		if !ok {
			return nil
		}
		if r.Error != nil {
			return r.Error
		}
		f(r.Entry)
	}
}

// loadPins returns the keys of what cannot be read.
func (l *List) loadPins(ctx context.Context, x *index) (lost []ds.Key, err error) {
	err = l.each(ctx, pinKey, func(e query.Entry) {
		d, err := dotOf(e.Key)
		if err == nil {
			p, decodeErr := decode(e.Value)
			if err = decodeErr; err == nil {
				x.add(&entry{pin: *p, dot: d})
				return
			}
		}
		l.log.Error("list of pins: a stored pin is unreadable", "key", e.Key, "err", err)
		lost = append(lost, ds.RawKey(e.Key))
	})
	return lost, err
}

// loadKnown returns how much of it cannot be used.
func (l *List) loadKnown(ctx context.Context, x *index) (bad int, err error) {
	err = l.each(ctx, knownKey, func(e query.Entry) {
		var a author
		var r ranges
		err := a.UnmarshalText([]byte(strings.TrimPrefix(e.Key, knownKey.String()+"/")))
		if err == nil {
			err = json.Unmarshal(e.Value, &r)
		}
		if err == nil {
			err = r.check()
		}
		if err != nil {
			l.log.Error("list of pins: what is known of an author is unreadable", "key", e.Key, "err", err)
			bad++
			return
		}
		x.learn(a, r)
	})
	return bad, err
}

// forget makes known just what is on the list.
func (l *List) forget(ctx context.Context, x *index, lost []ds.Key) error {
	b, err := l.cfg.Datastore.Batch(ctx)
	if err != nil {
		return err
	}
	for _, key := range lost {
		if err := b.Delete(ctx, key); err != nil {
			return err
		}
	}
	for a := range x.known {
		if err := b.Delete(ctx, knownKey.ChildString(a.String())); err != nil {
			return err
		}
	}
	x.known, x.spans, x.sum.Known = map[author]ranges{}, 0, 0
	var a author
	var r ranges
	learn := func() error {
		if len(r) == 0 {
			return nil
		}
		x.learn(a, r)
		return putKnown(ctx, b, a, r)
	}
	x.byDot.Scan(func(e *entry) bool {
		d := e.dot
		if d.Author != a {
			if err = learn(); err != nil {
				return false
			}
			a, r = d.Author, nil
		}
		if last := len(r) - 1; last >= 0 && r[last][1]+1 == d.Seq {
			r[last][1]++
		} else {
			r = append(r, span{d.Seq, d.Seq})
		}
		return true
	})
	if err != nil {
		return err
	}
	if err := learn(); err != nil {
		return err
	}
	if err := putSum(ctx, b, storedSum{x.sum, x.byTime.Len()}); err != nil {
		return err
	}
	return b.Commit(ctx)
}

func putKnown(ctx context.Context, b ds.Batch, a author, r ranges) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.Put(ctx, knownKey.ChildString(a.String()), raw)
}

func putSum(ctx context.Context, b ds.Batch, s storedSum) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return b.Put(ctx, sumKey, raw)
}
