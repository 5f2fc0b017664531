package list

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
)

// maxGroup bounds, in bytes, what is committed together.
const maxGroup = 2 << 20

// change is something that the writer is to do.
type change struct {
	stage func(*transaction) error // stages all or nothing
	done  chan error
}

// change waits until a change is on the disk.
func (l *List) change(ctx context.Context, stage func(*transaction) error) error {
	c := &change{stage: stage, done: make(chan error, 1)}
	select {
	case l.changes <- c:
		return <-c.done // the writer answers each change that it has taken
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.ctx.Done():
		return ErrClosed
	}
}

// write takes changes and commits together those that come at the same time: many
// clients share one fsync.
func (l *List) write() {
	for {
		select {
		case c := <-l.changes:
			l.commit(c)
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *List) commit(first *change) {
	t := &transaction{
		list: l, add: map[dot]*entry{}, raw: map[dot]json.RawMessage{}, remove: map[dot]*entry{},
		known: map[author]ranges{}, ids: map[string][]*entry{},
		stamps: map[stamp]bool{}, newest: map[string]time.Time{},
	}
	var group []*change
	stage := func(c *change) {
		if err := c.stage(t); err != nil {
			c.done <- err
			return
		}
		group = append(group, c)
	}
	stage(first)
	for more := true; more && t.size < maxGroup; {
		select {
		case c := <-l.changes:
			stage(c)
		default:
			more = false
		}
	}
	err := t.commit()
	for _, c := range group {
		c.done <- err
	}
}

// transaction is what will change, over the index as it is.
type transaction struct {
	list   *List
	add    map[dot]*entry
	raw    map[dot]json.RawMessage
	remove map[dot]*entry
	known  map[author]ranges    // replaced
	ids    map[string][]*entry  // added, by ID
	stamps map[stamp]bool       // of what is added here
	newest map[string]time.Time // the same, by owner
	told   []item               // for siblings
	size   int                  // bytes
}

// find returns what would be on the list under an ID.
func (t *transaction) find(id string) []*entry {
	all := append(t.list.index.find(id), t.ids[id]...)
	return slices.DeleteFunc(all, func(e *entry) bool { return t.remove[e.dot] != nil })
}

func (t *transaction) knows(a author) ranges {
	if r, ok := t.known[a]; ok {
		return r
	}
	return t.list.index.known[a]
}

// live returns what would be on the list under a dot.
func (t *transaction) live(d dot) *entry {
	if t.remove[d] != nil {
		return nil
	}
	if e := t.add[d]; e != nil {
		return e
	}
	return t.list.index.at(d)
}

func (t *transaction) learn(a author, r ranges) {
	known := t.knows(a)
	if known.includes(r) {
		return
	}
	t.size += 16 * len(r)
	if mine := t.known[a]; len(mine) > 0 && len(r) == 1 && r[0][0] > mine[len(mine)-1][1] {
		// Most numbers come in order. Nobody else has this slice yet.
		if last := &mine[len(mine)-1]; last[1]+1 == r[0][0] {
			last[1] = r[0][1]
		} else {
			t.known[a] = append(mine, r[0])
		}
		return
	}
	t.known[a] = known.union(r)
}

func (t *transaction) put(e *entry, raw json.RawMessage) {
	t.add[e.dot], t.raw[e.dot] = e, raw
	t.ids[e.pin.ID] = append(t.ids[e.pin.ID], e)
	t.learn(e.dot.Author, ranges{{e.dot.Seq, e.dot.Seq}})
	t.size += len(raw)
}

// enter is put for what is added here.
func (t *transaction) enter(e *entry, raw json.RawMessage) {
	t.put(e, raw)
	t.told = append(t.told, item{dot: e.dot, Pin: raw})
}

func (t *transaction) drop(e *entry) {
	t.remove[e.dot] = e
	t.list.writer.saw(e.dot, e.pin.ID)
	t.learn(e.dot.Author, ranges{{e.dot.Seq, e.dot.Seq}})
	t.size += 64
}

// retract is drop for what is removed here.
func (t *transaction) retract(e *entry) {
	t.drop(e)
	t.told = append(t.told, item{dot: e.dot, ID: e.pin.ID})
}

// replace is a change that is made here.
func (t *transaction) replace(remove []string, add []*record.Pin) error {
	seen := map[string]bool{}
	for _, id := range remove {
		if seen["-"+id] || len(t.find(id)) == 0 {
			return fmt.Errorf("remove pin %.128q: %w", id, record.ErrNotFound)
		}
		seen["-"+id] = true
	}
	encoded := make([]json.RawMessage, len(add))
	for i, p := range add {
		if seen["+"+p.ID] || len(t.find(p.ID)) > 0 {
			return fmt.Errorf("add pin %q: %w", p.ID, ErrExists)
		}
		seen["+"+p.ID] = true
		var err error
		if encoded[i], err = encode(p); err != nil { // again when the time moves
			return fmt.Errorf("add to the list of pins: %w", err)
		}
	}
	for _, id := range remove {
		for _, e := range t.find(id) {
			t.retract(e)
		}
	}
	for i, p := range add {
		if created := t.free(p.Owner, p.Created); created != p.Created {
			p.Created = created
			encoded[i], _ = encode(p) // as before, with other digits
		}
		t.enter(&entry{pin: *p, dot: t.list.writer.next(t)}, encoded[i])
	}
	return nil
}

// stamp is a time that an owner's pin has.
type stamp struct {
	owner string
	at    int64 // milliseconds
}

// free returns a time that no other pin of the owner has: the wish, or else the
// millisecond after the newest.
func (t *transaction) free(owner string, wish time.Time) time.Time {
	newest, taken := t.newest[owner], t.stamps[stamp{owner, wish.UnixMilli()}]
	if tree := t.list.index.owners[owner]; tree != nil {
		tree.Ascend(&entry{pin: record.Pin{Created: wish}}, func(e *entry) bool {
			taken = taken || e.pin.Created.Equal(wish)
			return false
		})
		if last, _ := tree.Max(); last.pin.Created.After(newest) {
			newest = last.pin.Created
		}
	}
	at := wish
	if taken {
		at = newest.Add(time.Millisecond)
	}
	t.stamps[stamp{owner, at.UnixMilli()}] = true
	if at.After(newest) {
		newest = at
	}
	t.newest[owner] = newest
	return at
}

// commit writes what was staged, puts it into the index and tells whom it concerns.
func (t *transaction) commit() error {
	if len(t.add)+len(t.remove)+len(t.known) == 0 {
		return nil
	}
	for d := range t.add {
		if t.remove[d] != nil { // came and went
			delete(t.add, d)
			delete(t.remove, d)
		}
	}
	start := time.Now()
	if err := t.persist(t.list.ctxForDisk()); err != nil {
		t.list.metrics.commits.WithLabelValues("failed").Inc()
		return fmt.Errorf("write the list of pins: %w", err)
	}
	t.list.metrics.commits.WithLabelValues("ok").Inc()
	t.list.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	t.apply()
	t.list.fleet.tell(t.told)
	ids := make([]string, 0, len(t.add)+len(t.remove))
	for _, e := range t.remove {
		ids = append(ids, e.pin.ID)
	}
	for _, e := range t.add {
		ids = append(ids, e.pin.ID)
	}
	t.list.addNews(ids)
	return nil
}

// ctxForDisk does not end with Close, because a change that was taken is finished.
func (l *List) ctxForDisk() context.Context { return context.WithoutCancel(l.ctx) }

func (t *transaction) persist(ctx context.Context) error {
	b, err := t.list.cfg.Datastore.Batch(ctx)
	if err != nil {
		return err
	}
	sum := storedSum{t.list.index.sum, t.list.index.byTime.Len() + len(t.add) - len(t.remove)}
	for d := range t.remove {
		sum.Pins -= digest(d.digest())
		if err := b.Delete(ctx, keyOf(d)); err != nil {
			return err
		}
	}
	for d := range t.add {
		sum.Pins += digest(d.digest())
		if err := b.Put(ctx, keyOf(d), t.raw[d]); err != nil {
			return err
		}
	}
	for a, r := range t.known {
		sum.Known += digest(r.digest(a) - t.list.index.known[a].digest(a))
		if err := putKnown(ctx, b, a, r); err != nil {
			return err
		}
	}
	if err := putSum(ctx, b, sum); err != nil {
		return err
	}
	return b.Commit(ctx)
}

func (t *transaction) apply() {
	t.list.mu.Lock()
	defer t.list.mu.Unlock()
	for _, e := range t.remove {
		t.list.index.remove(e)
	}
	for _, e := range t.add {
		t.list.index.add(e)
	}
	for a, r := range t.known {
		t.list.index.learn(a, r)
	}
	t.list.index.given = dot{t.list.writer.author, t.list.writer.seq}
}
