package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/boxo/datastore/dshelp"
	dag "github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	crdt "github.com/ipfs/go-ds-crdt"
	pebbleds "github.com/ipfs/go-ds-pebble"
	ipld "github.com/ipfs/go-ipld-format"
)

// roundTrip is that of two machines in one network.
const roundTrip = 300 * time.Microsecond

// broadcaster hands heads to one other replica.
type broadcaster struct {
	in  chan []byte
	out atomic.Pointer[broadcaster]
}

func (b *broadcaster) Broadcast(_ context.Context, heads []byte) error {
	if out := b.out.Load(); out != nil {
		select {
		case out.in <- heads:
		default: // lost
		}
	}
	return nil
}

func (b *broadcaster) Next(ctx context.Context) ([]byte, error) {
	select {
	case heads := <-b.in:
		return heads, nil
	case <-ctx.Done():
		return nil, crdt.ErrNoMoreBroadcast
	}
}

// nodes keeps nodes in the datastore, and fetches what it lacks from a sibling: one
// call each, or with as many ancestors as fit into a call.
type nodes struct {
	ipld.DAGService // the methods that go-ds-crdt does not call
	store           ds.Datastore
	sibling         *nodes
	ahead           bool
	calls           atomic.Int64
}

func (d *nodes) key(c cid.Cid) ds.Key {
	return ds.NewKey("/n").Child(dshelp.MultihashToDsKey(c.Hash()))
}

func (d *nodes) Add(ctx context.Context, n ipld.Node) error {
	return d.store.Put(ctx, d.key(n.Cid()), n.RawData())
}

func parse(raw []byte) (*dag.ProtoNode, error) {
	n, err := dag.DecodeProtobuf(raw)
	if err != nil {
		return nil, err
	}
	return n, n.SetCidBuilder(dag.V1CidPrefix())
}

func (d *nodes) local(ctx context.Context, c cid.Cid) (*dag.ProtoNode, error) {
	raw, err := d.store.Get(ctx, d.key(c))
	if err != nil {
		return nil, err
	}
	return parse(raw)
}

func (d *nodes) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	if n, err := d.local(ctx, c); err == nil || d.sibling == nil {
		return n, err
	}
	d.calls.Add(1)
	time.Sleep(roundTrip)
	message, err := d.sibling.answer(ctx, c, d.ahead)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	if err := json.Unmarshal(message, &all); err != nil {
		return nil, err
	}
	for _, raw := range all {
		n, err := parse(raw)
		if err == nil {
			err = d.Add(ctx, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return d.local(ctx, c)
}

func (d *nodes) answer(ctx context.Context, c cid.Cid, ahead bool) ([]byte, error) {
	var all [][]byte
	todo := []cid.Cid{c}
	for size := 0; len(todo) > 0 && size < 700<<10 && (ahead || size == 0); todo = todo[1:] {
		n, err := d.local(ctx, todo[0])
		if err != nil {
			return nil, err
		}
		all = append(all, n.RawData())
		size += len(n.RawData()) * 4 / 3
		for _, l := range n.Links() {
			todo = append(todo, l.Cid)
		}
	}
	return json.Marshal(all)
}

func (d *nodes) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	all := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		n, err := d.Get(ctx, c)
		all <- &ipld.NodeOption{Node: n, Err: err}
	}
	close(all)
	return all
}

type replica struct {
	*crdt.Datastore
	db    *pebbleds.Datastore
	nodes *nodes
	bcast *broadcaster
}

func openReplica(dir string) (*replica, error) {
	db, err := pebbleds.NewDatastore(dir)
	if err != nil {
		return nil, err
	}
	r := &replica{db: db, nodes: &nodes{store: db}, bcast: &broadcaster{in: make(chan []byte, 1<<17)}}
	o := crdt.DefaultOptions()
	o.RebroadcastInterval = time.Second
	r.Datastore, err = crdt.New(db, ds.NewKey("/c"), r.nodes, r.bcast, o)
	return r, err
}

func (r *replica) close() error { return errors.Join(r.Datastore.Close(), r.db.Close()) }

func (r *replica) count() int {
	results, err := r.Query(context.Background(), query.Query{KeysOnly: true})
	if err != nil {
		return -1
	}
	all, _ := results.Rest()
	return len(all)
}

func idKey(i int) ds.Key { return ds.NewKey(identifier(i)) }

func measureCRDT(dir string, n int) error {
	ctx := context.Background()
	path := filepath.Join(dir, "a")
	a, err := openReplica(path)
	if err != nil {
		return err
	}
	put := func(i int) error { return a.Put(ctx, idKey(i), value(i)) }
	some := min(n/10, 1000)
	err = errors.Join(
		each("durable Put, one after the other", some, func(i int) error { return errors.Join(put(i), a.Sync(ctx, ds.NewKey("/"))) }),
		timed(fmt.Sprintf("%d Puts, not durable", n-some), func() error { return repeat(some, n, put) }),
		a.close(), showDisk(fmt.Sprintf("on disk with %d pins", n), path),
	)
	if err != nil {
		return err
	}
	if err := timed("open", func() error { a, err = openReplica(path); return err }); err != nil {
		return err
	}
	for _, ahead := range []bool{true, false} {
		if err := catchUp(filepath.Join(dir, fmt.Sprint("b", ahead)), a, ahead, n); err != nil {
			return err
		}
	}
	err = errors.Join(
		timed("all Deletes, not durable", func() error {
			return repeat(0, n, func(i int) error { return a.Delete(ctx, idKey(i)) })
		}),
		a.close(), showDisk("on disk after all were removed", path),
	)
	if err != nil {
		return err
	}
	if a, err = openReplica(path); err != nil {
		return err
	}
	err = errors.Join(a.db.DB.Compact(ctx, []byte("/"), []byte("0"), true), a.close(), showDisk("and after compaction", path))
	if err != nil {
		return err
	}
	return crash(dir, min(n, 5000))
}

func repeat(from, to int, f func(i int) error) error {
	for i := from; i < to; i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

func catchUp(path string, a *replica, ahead bool, n int) error {
	b, err := openReplica(path)
	if err != nil {
		return err
	}
	b.nodes.sibling, b.nodes.ahead = a.nodes, ahead
	err = timed(fmt.Sprintf("an empty one catches up (ancestors ahead: %v)", ahead), func() error {
		a.bcast.out.Store(b.bcast)
		defer a.bcast.out.Store(nil)
		for {
			time.Sleep(50 * time.Millisecond) // the oldest comes last
			if ok, err := b.Has(context.Background(), idKey(0)); ok || err != nil {
				return err
			}
		}
	})
	show("calls for that", b.nodes.calls.Load())
	show("resident, both in one process", resident())
	return errors.Join(err, b.close())
}

// crash takes the image of the disk that a crash in the middle of catching up leaves
// behind, and goes on with it.
func crash(dir string, n int) error {
	ctx := context.Background()
	a, err := openReplica(filepath.Join(dir, "crash-a"))
	if err != nil {
		return err
	}
	put := func(i int) error { return a.Put(ctx, idKey(i), value(i)) }
	if err := repeat(0, n, put); err != nil {
		return err
	}
	b, err := openReplica(filepath.Join(dir, "crash-b"))
	if err != nil {
		return err
	}
	b.nodes.sibling, b.nodes.ahead = a.nodes, true
	a.bcast.out.Store(b.bcast)
	for b.count() < n/2 {
		time.Sleep(10 * time.Millisecond)
	}
	image := filepath.Join(dir, "crash-image")
	err = b.db.DB.Checkpoint(image, pebble.WithFlushedWAL())
	a.bcast.out.Store(nil)
	if err := errors.Join(err, b.close()); err != nil {
		return err
	}
	c, err := openReplica(image)
	if err != nil {
		return err
	}
	c.nodes.sibling, c.nodes.ahead = a.nodes, true
	a.bcast.out.Store(c.bcast)
	show("killed while catching up, has", fmt.Sprintf("%d of %d", c.count(), n))
	if err := put(n); err != nil { // so that there is a new head
		return err
	}
	time.Sleep(15 * time.Second)
	show("15 s later, with one more", fmt.Sprintf("%d of %d; marked as dirty: %v", c.count(), n+1, c.IsDirty(ctx)))
	return errors.Join(c.close(), a.close())
}
