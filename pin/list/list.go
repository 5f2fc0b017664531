package list

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"

	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/btree"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

var (
	// ErrClosed is returned by what was called after Close.
	ErrClosed = errors.New("the list of pins is closed")
	// ErrExists means that there is a pin with this ID.
	ErrExists = errors.New("there is a pin with this ID")
)

// Peers are the siblings of an edge. Its methods may be called at once.
type Peers interface {
	// Names returns the siblings that can be asked now. It is called several times a
	// second.
	Names() []string
	// Call sends a request to a sibling's handler of that method, as JSON, and puts
	// the answer into response, unless that is nil.
	Call(ctx context.Context, member, method string, request, response any) error
}

// Handler answers the calls of siblings to one method. from is the caller's name.
type Handler = func(ctx context.Context, from string, request json.RawMessage) (any, error)

// Config is what a list works with.
type Config struct {
	// Datastore keeps the list, below the key /list. A batch must be on the disk,
	// whole or not at all, when its Commit returns.
	Datastore ds.Batching
	Peers     Peers // nil: this edge is alone
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	// Changed is told the IDs of pins that were added or removed, here or elsewhere,
	// after that can be seen on the list. It is called by one goroutine, and may use
	// the list. It is not called for what was on the list at the start.
	Changed func(ids []string)
}

// List is the fleet's list of pins. All methods may be called at once.
type List struct {
	options Options
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	run     string // identifies this process to siblings

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	changes chan *change // to the writer
	writer  writer

	// mu guards index. The writer alone changes it, so it alone may read without mu.
	mu    sync.RWMutex
	index *index

	news    news
	fleet   fleet
	started sync.Once
	closed  sync.Once
}

// New reads the list from the datastore. Changes can be made at once; the siblings are
// not talked to before Start.
func New(o Options, cfg Config) (*List, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("list of pins: %w", err)
	}
	if cfg.Datastore == nil {
		return nil, errors.New("list of pins: a datastore is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &List{
		options: o, cfg: cfg, log: cfg.Log, run: fmt.Sprintf("%016x", random()),
		ctx: ctx, cancel: cancel, changes: make(chan *change),
		writer: writer{gave: map[author]uint64{}, removed: map[dot]string{}},
	}
	l.fleet.init()
	l.news.wake = work.NewSignal()
	var err error
	if l.index, err = l.load(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("list of pins: %w", err)
	}
	if l.metrics, err = newMetrics(cfg.Metrics, l); err != nil {
		cancel()
		return nil, fmt.Errorf("list of pins: %w", err)
	}
	l.wg.Go(l.write)
	l.wg.Go(l.tellNews)
	return l, nil
}

// random returns a number that is not 0.
func random() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if n := binary.BigEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// Start begins to talk to the siblings.
func (l *List) Start() {
	l.started.Do(func() {
		if l.cfg.Peers != nil && l.ctx.Err() == nil {
			l.wg.Go(l.keepCompany)
		}
	})
}

// Close ends all that runs, and waits for it. What Add or Remove returned for is kept.
// The datastore is not closed.
func (l *List) Close() error {
	l.closed.Do(func() {
		l.started.Do(func() {}) // no start after this
		l.cancel()
		l.wg.Wait()
		l.metrics.unregister()
	})
	return nil
}

// Add puts pins on the list, all or none. They are on the disk of this edge when it
// returns, and the siblings are told at once. A Created that is zero, or taken by
// another pin of the owner, becomes the next free millisecond: see what [List.Get] says.
//
// The ID of a pin must never have been used. One that is on the list makes the error
// wrap [ErrExists]. After any other error but that of a bad pin, the pins may turn out
// to have been added when the edge starts again.
func (l *List) Add(ctx context.Context, pins ...record.Pin) error {
	return l.Replace(ctx, nil, pins...)
}

// Remove takes pins off the list, all or none, for good: they do not come back,
// whatever siblings that have not heard of it may hold. If one of them is not on the
// list the error wraps [record.ErrNotFound].
func (l *List) Remove(ctx context.Context, ids ...string) error {
	return l.Replace(ctx, ids)
}

// Replace removes pins and adds others, all or nothing, and in one piece wherever it
// is heard of.
func (l *List) Replace(ctx context.Context, remove []string, add ...record.Pin) error {
	pins := make([]*record.Pin, len(add))
	for i := range add {
		pins[i] = own(add[i])
		if err := check(pins[i]); err != nil {
			return fmt.Errorf("add to the list of pins: %w", err)
		}
	}
	if len(remove)+len(add) == 0 {
		return nil
	}
	return l.change(ctx, func(t *transaction) error { return t.replace(remove, pins) })
}

// Get returns a pin by its ID. It must not be changed.
func (l *List) Get(id string) (*record.Pin, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	e := l.index.byID[id]
	if e == nil {
		return nil, false
	}
	return &e.pin, true
}

// Len returns how many pins there are.
func (l *List) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.byTime.Len()
}

// All returns the pins as they are at the moment of the iteration's start, the newest
// first. They must not be changed.
func (l *List) All() iter.Seq[*record.Pin] {
	return l.snapshot(func() *btree.BTreeG[*entry] { return l.index.byTime })
}

// Owned is like All, for the pins of one owner.
func (l *List) Owned(owner string) iter.Seq[*record.Pin] {
	return l.snapshot(func() *btree.BTreeG[*entry] { return l.index.owners[owner] })
}

func (l *List) snapshot(of func() *btree.BTreeG[*entry]) iter.Seq[*record.Pin] {
	return func(yield func(*record.Pin) bool) {
		// A copy costs nothing, but marks the original: hence not RLock.
		l.mu.Lock()
		t := of()
		if t != nil {
			t = t.Copy()
		}
		l.mu.Unlock()
		if t != nil {
			t.Reverse(func(e *entry) bool { return yield(&e.pin) })
		}
	}
}

// summary returns what identifies the state of the list.
func (l *List) summary() summary {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.sum
}

// news are IDs that Changed has not been told yet.
type news struct {
	mu   sync.Mutex
	ids  []string
	wake work.Signal
}

func (l *List) addNews(ids []string) {
	if l.cfg.Changed == nil || len(ids) == 0 {
		return
	}
	l.news.mu.Lock()
	l.news.ids = append(l.news.ids, ids...)
	l.news.mu.Unlock()
	l.news.wake.Give()
}

// tellNews calls Changed from a goroutine of its own, so that the callee may change
// the list, or wait for somebody who does.
func (l *List) tellNews() {
	for {
		select {
		case <-l.news.wake:
		case <-l.ctx.Done():
			return
		}
		l.news.mu.Lock()
		ids := l.news.ids
		l.news.ids = nil
		l.news.mu.Unlock()
		if len(ids) > 0 {
			l.cfg.Changed(ids)
		}
	}
}
