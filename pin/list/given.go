package list

import (
	"context"
	"fmt"
	"time"
)

// What this edge gave out, only this edge knows. A sibling that speaks of more (a bug,
// malice, or a machine that was set back to a snapshot while it ran) counts pins as
// removed before they are there. So a number is checked to be free before it is used, and
// a pin that nobody can have removed yet gets another one.

// writer is the state of the goroutine that alone changes the list.
type writer struct {
	author author            // of what is added next; 0 until then
	seq    uint64            // the last number that was given
	gave   map[author]uint64 // the same, of all authors of this run
	// removed are the IDs of pins that were removed lately, by their numbers.
	removed map[dot]string
}

// maxRemoved bounds what is remembered for messages that come late.
const maxRemoved = 1 << 14

// saw notes that a pin was removed by somebody who had seen it.
func (w *writer) saw(d dot, id string) {
	if len(w.removed) >= maxRemoved {
		clear(w.removed)
	}
	w.removed[d] = id
}

// next gives a number that nobody has spoken of.
func (w *writer) next(t *transaction) dot {
	for w.author == 0 || t.knows(w.author).beyond(w.seq) {
		w.author, w.seq = author(random()), 0
	}
	w.seq++
	w.gave[w.author] = w.seq
	return dot{w.author, w.seq}
}

// suspect reports whether somebody speaks of numbers that this edge never gave to a pin,
// although it could have. New pins get those of another author then.
func (t *transaction) suspect(from string, a author, said ranges) bool {
	w := &t.list.writer
	given, mine := w.gave[a]
	if !mine || t.knows(a).includes(said) {
		return false
	}
	if a == w.author {
		w.author, w.seq = 0, 0
		t.list.log.Warn("list of pins: a sibling speaks of numbers that this edge never gave to a pin; new pins get numbers of another author",
			"sibling", from, "author", a, "given", given, "highest", said[len(said)-1][1])
	}
	return true
}

// maxSpans bounds what siblings can have an edge remember of authors: 26 MB. A fleet of ten
// edges, restarted every day, gets there in 70 years.
const maxSpans = 1 << 18

// affords refuses numbers that come from elsewhere if there would be too many ranges.
func (t *transaction) affords(said map[author]ranges) error {
	more := 0
	for a, r := range said {
		if !t.knows(a).includes(r) {
			more += len(r)
		}
	}
	if have := t.list.index.spans; more > 0 && have+more > maxSpans {
		return fmt.Errorf("%d ranges of numbers are known, %d more would be too many (at most %d): an edge of this fleet makes them up", have, more, maxSpans)
	}
	return nil
}

// maxStrikes is how often the word of a sibling is doubted while it is there. One that goes
// on has the fleet's secret and could remove pins in a plainer way; contradicting it for
// ever would cost writes and numbers without end.
const maxStrikes = 16

// strike counts a doubt, and reports whether there may be one.
func (s *sibling) strike() bool { return s.strikes.Add(1) <= maxStrikes }

// doubt has the last number of an author of this run that somebody can be right to count
// as removed: what was given later, nobody can have heard of and removed yet.
type doubt map[author]uint64

func (l *List) newDoubt() doubt {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return doubt{l.index.given.Author: l.index.given.Seq}
}

func (d doubt) has(n dot) bool {
	last, mine := d[n.Author]
	return mine && n.Seq > last
}

// all reports whether nothing is believed about the pins of an author.
func (d doubt) all(a author) bool { return d.has(dot{a, 1}) }

// removal is what a sibling says has been removed, and what became of it.
type removal struct {
	doubt         doubt
	dropped, kept []string // IDs
}

// heed makes a change on the word of a sibling, and says what it removed.
func (l *List) heed(ctx context.Context, from string, doubt doubt, stage func(*transaction, *removal) error) error {
	r := &removal{doubt: doubt}
	if err := l.change(ctx, func(t *transaction) error { return stage(t, r) }); err != nil {
		return err
	}
	const most = 10 // IDs in a line
	if n := len(r.dropped); n > 0 {
		l.log.Info("list of pins: removed by a sibling", "sibling", from, "pins", n, "ids", r.dropped[:min(n, most)])
	}
	if n := len(r.kept); n > 0 {
		l.metrics.renumbered.Add(float64(n))
		l.log.Warn("list of pins: a sibling counts pins as removed that were only just added here; they stay, under other numbers",
			"sibling", from, "pins", n, "ids", r.kept[:min(n, most)])
	}
	return nil
}

// take drops a pin, or gives it another number, if nobody can have removed it.
func (r *removal) take(t *transaction, e *entry) {
	if r.doubt.has(e.dot) {
		r.keep(t, e)
		return
	}
	r.dropped = append(r.dropped, e.pin.ID)
	t.drop(e)
}

// keep gives a pin of this edge another number, so that it is news for everybody. The old
// one is told as removed without the ID, for that would mean the pin, whatever its number.
func (r *removal) keep(t *transaction, e *entry) {
	r.renumber(t, e)
	t.drop(e)
	t.told = append(t.told, item{dot: e.dot})
}

func (r *removal) renumber(t *transaction, e *entry) {
	w := &t.list.writer
	if e.dot.Author == w.author {
		w.author, w.seq = 0, 0
	}
	raw, _ := encode(&e.pin) // as when it was added
	t.enter(&entry{pin: e.pin, dot: w.next(t)}, raw)
	r.kept = append(r.kept, e.pin.ID)
}

// late takes in the removal of a number that is not on the list. The pin may be there
// under another one, which whoever removed it had not heard of. Or it is still to come.
func (r *removal) late(t *transaction, it item) {
	t.learn(it.Author, ranges{{it.Seq, it.Seq}})
	w := &t.list.writer
	if it.ID == "" {
		return
	}
	if w.removed[it.dot] == it.ID {
		for _, e := range t.find(it.ID) {
			r.dropped = append(r.dropped, e.pin.ID)
			t.retract(e)
		}
	}
	w.saw(it.dot, it.ID)
}

// insist gives other numbers to pins that were told to a sibling which counted them as
// removed already, although it has seen no removal. One that was told late may have read of
// the removal in another's list: it is believed.
func (l *List) insist(ctx context.Context, s *sibling, told []item, since time.Time, removed []dot) error {
	if time.Since(since) > l.options.Interval/2 || !s.strike() {
		return nil
	}
	added := map[dot]bool{}
	for _, it := range told {
		added[it.dot] = it.Pin != nil
	}
	return l.heed(ctx, s.name, nil, func(t *transaction, said *removal) error {
		for _, d := range removed {
			if e := t.live(d); e != nil && added[d] {
				said.keep(t, e)
			}
		}
		return nil
	})
}

// cede gives other numbers to pins of this edge under whose numbers a sibling has other
// pins: both stay.
func (l *List) cede(ctx context.Context, r *reading, theirs map[dot]*entry) error {
	return l.heed(ctx, r.name, nil, func(t *transaction, said *removal) error {
		for d, e := range theirs {
			mine := t.live(d)
			if mine == nil || mine.pin.ID == e.pin.ID || !r.doubt.has(d) {
				continue
			}
			said.renumber(t, mine)
			t.remove[d] = mine
			t.known[d.Author] = t.knows(d.Author).without(d.Seq)
		}
		return nil
	})
}
