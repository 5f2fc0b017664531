package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/pin/database"
	"github.com/shoal-cdn/shoal/pin/list"
	"github.com/shoal-cdn/shoal/pin/record"
)

// network carries calls between lists in this process, as JSON, each with a round trip
// of 0.3 ms.
type network struct {
	mu    sync.Mutex
	lists map[string]*list.List
	calls map[string]int
	bytes int
}

type peers struct {
	*network
	self string
}

func (p peers) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name := range p.lists {
		if name != p.self {
			names = append(names, name)
		}
	}
	return names
}

func (p peers) Call(ctx context.Context, member, method string, request, response any) error {
	p.mu.Lock()
	l := p.lists[member]
	p.calls[method]++
	p.mu.Unlock()
	if l == nil {
		return errors.New("not there")
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	time.Sleep(roundTrip)
	result, err := l.Handlers()[method](ctx, p.self, body)
	if err != nil {
		return err
	}
	answer, err := json.Marshal(result)
	p.mu.Lock()
	p.bytes += len(body) + len(answer)
	p.mu.Unlock()
	if err != nil || response == nil {
		return err
	}
	return json.Unmarshal(answer, response)
}

type edge struct {
	db *database.Database
	*list.List
}

func (e edge) close() error { return errors.Join(e.List.Close(), e.db.Close()) }

func (n *network) open(dir, name string) (edge, error) {
	db, err := database.New(filepath.Join(dir, name, "db"))
	if err != nil {
		return edge{}, err
	}
	l, err := list.New(list.DefaultOptions(), list.Config{Datastore: db, Peers: peers{n, name}})
	if err != nil {
		return edge{}, errors.Join(err, db.Close())
	}
	n.mu.Lock()
	n.lists[name] = l
	n.mu.Unlock()
	return edge{db, l}, nil
}

func recordOf(i int) (record.Pin, error) {
	hash, err := multihash.Sum(fmt.Append(nil, i), multihash.SHA2_256, -1)
	return record.Pin{
		Request: record.Request{CID: cid.NewCidV1(cid.DagProtobuf, hash), Name: fmt.Sprint("release-", i)},
		ID:      identifier(i), Owner: strings.Repeat("7", 64), Created: time.UnixMilli(1790000000000 + int64(i)),
	}, err
}

func (e edge) addOne(i int) error {
	p, err := recordOf(i)
	if err != nil {
		return err
	}
	return e.Add(context.Background(), p)
}

// parallel calls f for each number, from 32 goroutines.
func parallel(from, to int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, 32)
	for g := range errs {
		wg.Go(func() {
			for i := from + g; i < to && errs[g] == nil; i += len(errs) {
				errs[g] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func measureList(dir string, n int) (err error) {
	net := &network{lists: map[string]*list.List{}, calls: map[string]int{}}
	a, err := net.open(dir, "a")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	before := heap()
	some, more := min(n/10, 1000), min(n/2, 11_000)
	err = errors.Join(
		each("durable Add, one after the other", some, a.addOne),
		timed(fmt.Sprintf("%d Adds by 32 clients at once", more-some), func() error { return parallel(some, more, a.addOne) }),
		timed(fmt.Sprintf("%d Adds in batches of 1000", n-more), func() error { return a.addBatches(more, n) }),
	)
	if err != nil {
		return err
	}
	show("memory per pin", fmt.Sprintf("%d bytes", (heap()-before)/int64(n)))
	if err := errors.Join(a.close(), showDisk(fmt.Sprintf("on disk with %d pins", n), filepath.Join(dir, "a"))); err != nil {
		return err
	}
	if err := timed("open", func() error { a, err = net.open(dir, "a"); return err }); err != nil {
		return err
	}
	show("resident", resident())
	a.Start()
	if err := net.catchUp(dir, a); err != nil {
		return err
	}
	read := func() error {
		for p := range a.Owned(strings.Repeat("7", 64)) {
			if p.Name == "none" {
				return errors.New("unexpected")
			}
		}
		return nil
	}
	if err := timed("look at all pins of an owner", read); err != nil {
		return err
	}
	err = errors.Join(
		each("durable Remove, one after the other", some, func(i int) error { return a.Remove(context.Background(), identifier(i)) }),
		timed(fmt.Sprintf("%d Removes by 32 clients at once", n-some), func() error {
			return parallel(some, n, func(i int) error { return a.Remove(context.Background(), identifier(i)) })
		}),
		showDisk("on disk after all were removed", filepath.Join(dir, "a")),
	)
	if err != nil {
		return err
	}
	return errors.Join(
		timed(fmt.Sprintf("%d other pins in batches of 1000", n), func() error { return a.addBatches(n, 2*n) }),
		showDisk("on disk after that", filepath.Join(dir, "a")),
	)
}

func (e edge) addBatches(from, to int) error {
	for from < to {
		batch := make([]record.Pin, 0, 1000)
		for ; from < to && len(batch) < cap(batch); from++ {
			p, err := recordOf(from)
			if err != nil {
				return err
			}
			batch = append(batch, p)
		}
		if err := e.Add(context.Background(), batch...); err != nil {
			return err
		}
	}
	return nil
}

// catchUp starts an empty edge beside a full one.
func (n *network) catchUp(dir string, full edge) (err error) {
	b, err := n.open(dir, "b")
	if err != nil {
		return err
	}
	defer func() {
		n.mu.Lock()
		delete(n.lists, "b")
		n.mu.Unlock()
		err = errors.Join(err, b.close(), showDisk("on disk there", filepath.Join(dir, "b")))
	}()
	err = timed("an empty edge catches up", func() error {
		b.Start()
		for b.Len() < full.Len() {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	show("calls for that", fmt.Sprintf("%v, %.1f MB", n.calls, float64(n.bytes)/1e6))
	show("resident, both in one process", resident())
	return err
}
