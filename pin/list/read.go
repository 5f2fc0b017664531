package list

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoal-cdn/shoal/work"
)

// readFrom reads a sibling's list whenever it may hold news.
func (l *List) readFrom(ctx context.Context, s *sibling) {
	for {
		select {
		case <-s.pull:
		case <-ctx.Done():
			return
		}
		done, ok := l.takeTurn(ctx)
		if !ok {
			return
		}
		err := l.read(ctx, s)
		done()
		if ctx.Err() != nil {
			return
		}
		l.metrics.syncs.WithLabelValues(outcome(err)).Inc()
		if err != nil {
			l.log.Warn("list of pins: a sibling's list could not be read; it will be tried again", "sibling", s.name, "err", err)
			l.failed(ctx, s, err)
		}
		// What changes all the time is told. There is no need to read it all the time.
		if work.Pause(ctx, l.options.Interval/4) != nil {
			return
		}
	}
}

// takeTurn waits until nobody else's list is being read, or until that does not get on.
func (l *List) takeTurn(ctx context.Context) (done func(), ok bool) {
	for {
		select {
		case l.fleet.turn <- struct{}{}:
			return func() { <-l.fleet.turn }, true
		default:
		}
		l.fleet.mu.Lock()
		stuck := time.Since(l.fleet.progress) > 2*l.options.Interval
		l.fleet.mu.Unlock()
		if stuck {
			return func() {}, true
		}
		if work.Pause(ctx, l.options.Interval/20) != nil {
			return nil, false
		}
	}
}

func (l *List) gotOn() {
	l.fleet.mu.Lock()
	l.fleet.progress = time.Now()
	l.fleet.mu.Unlock()
}

// read brings in all that a sibling's list says. It goes page by page, and each page is
// durable before the next one is asked for, so that nothing is lost when it is
// interrupted.
func (l *List) read(ctx context.Context, s *sibling) error {
	l.gotOn()
	start, news, err := l.compareWith(ctx, s)
	if err != nil || !news {
		return err
	}
	for page := (&outlineRequest{Run: start.Run}); page != nil; {
		if l.summary() == start.Sum {
			break // another sibling had it all
		}
		doubt := l.newDoubt()
		var answer outlineAnswer
		if err := l.call(ctx, s, methodOutline, budget, page, &answer); err != nil {
			return err
		}
		if err := answer.check(page); err != nil {
			return fmt.Errorf("outline from %s: %w", s.name, err)
		}
		if err := l.readPage(ctx, &reading{sibling: s, run: start.Run, doubt: doubt}, answer.Parts); err != nil {
			return err
		}
		page = answer.Next
		l.gotOn()
	}
	s.mu.Lock()
	s.merged, s.read = start.Sum, true
	s.mu.Unlock()
	s.compare() // for whoever looks at the state
	return nil
}

// check holds an answer to what the reader relies upon: windows in order, at or after
// what was asked for, and before what comes next.
func (a *outlineAnswer) check(page *outlineRequest) error {
	at := dot{page.Author, page.Bucket * bucketSize}
	for i, p := range a.Parts {
		from := dot{p.Author, p.Window[0]}
		if p.Author == 0 || p.Window[0] > p.Window[1] || from.less(at) ||
			p.Window[0]%bucketSize != 0 || (p.Window[1]+1)%bucketSize != 0 {
			return fmt.Errorf("part %d is out of order", i+1)
		}
		if err := p.Known.check(); err != nil {
			return err
		}
		if len(p.Known) > 0 && (p.Known[0][0] < p.Window[0] || p.Known[len(p.Known)-1][1] > p.Window[1]) {
			return fmt.Errorf("part %d knows numbers that are outside of its window", i+1)
		}
		for j, b := range p.Buckets {
			if b.N > p.Window[1]/bucketSize || b.N < p.Window[0]/bucketSize || j > 0 && b.N <= p.Buckets[j-1].N {
				return fmt.Errorf("part %d: bucket %d is out of order", i+1, b.N)
			}
		}
		at = dot{p.Author, p.Window[1]}
	}
	if a.Next != nil && !(dot{page.Author, page.Bucket * bucketSize}).less(dot{a.Next.Author, a.Next.Bucket * bucketSize}) {
		return errors.New("the next page does not lie ahead")
	}
	return nil
}

// maxWants bounds what is asked for in one call.
const maxWants = 1024

// reading is a page of a sibling's list that is being read.
type reading struct {
	*sibling
	run    string
	doubt  doubt
	theirs map[author]ranges
	skip   map[dot]bool // what is not understood
}

// readPage merges what lies in the windows of a page.
//
// Why this is right: a part says what the sibling knew at one moment. Whatever is asked
// about it later can only have gone on from there. So of the numbers that it knew, those
// that it does not list now have been removed; and once all that it lists is here, this
// edge knows what the sibling knew.
func (l *List) readPage(ctx context.Context, r *reading, parts []part) error {
	var wants []pullWant
	r.theirs, r.skip = map[author]ranges{}, map[dot]bool{}
	for _, p := range parts {
		r.theirs[p.Author] = r.theirs[p.Author].union(p.Known)
	}
	err := l.change(ctx, func(t *transaction) error {
		for a, known := range r.theirs {
			if t.suspect(r.name, a, known) && r.strike() {
				r.doubt[a] = 0
			}
		}
		return t.affords(r.theirs)
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		w, err := l.differences(ctx, r, p)
		if err != nil {
			return err
		}
		wants = append(wants, w...)
	}
	for len(wants) > 0 {
		n, size := 0, 0
		for n < len(wants) && n < maxWants && size < budget {
			size += partSize + spanSize*len(wants[n].Known)
			n++
		}
		var answer pullAnswer
		if err := l.call(ctx, r.sibling, methodPull, budget, pullRequest{Run: r.run, Wants: wants[:n]}, &answer); err != nil {
			return err
		}
		rest, err := l.merge(ctx, r, wants[:n], answer.Windows)
		if err != nil {
			return err
		}
		wants = append(rest, wants[n:]...)
		l.gotOn()
	}
	return l.change(ctx, func(t *transaction) error {
		for d := range r.skip {
			r.theirs[d.Author] = r.theirs[d.Author].without(d.Seq)
		}
		for a, known := range r.theirs {
			t.learn(a, known)
		}
		return nil
	})
}

// differences returns the windows to ask for: the buckets that differ. What lies in
// buckets that are empty over there, and is known there, is removed at once.
//
// Of an author in doubt all is asked for: the sibling may have other pins under the same
// numbers.
func (l *List) differences(ctx context.Context, r *reading, p part) ([]pullWant, error) {
	theirs := map[uint64]digest{}
	for _, b := range p.Buckets {
		theirs[b.N] = b.Digest
	}
	gone := false
	var wants []pullWant
	l.mu.RLock()
	known := l.index.known[p.Author]
	spoilt := r.doubt.all(p.Author)
	if spoilt {
		known = nil
	}
	for _, b := range p.Buckets {
		at := place{p.Author, b.N}
		mine, ok := l.index.buckets.Get(&bucket{place: at})
		if !ok || mine.digest != b.Digest || spoilt {
			wants = append(wants, pullWant{p.Author, at.window(), known.within(at.window())})
		}
	}
	l.index.buckets.Ascend(&bucket{place: place{p.Author, p.Window[0] / bucketSize}}, func(b *bucket) bool {
		if b.author != p.Author || b.n > p.Window[1]/bucketSize {
			return false
		}
		_, there := theirs[b.n]
		gone = gone || !there
		return true
	})
	l.mu.RUnlock()
	if !gone {
		return wants, nil
	}
	return wants, l.heed(ctx, r.name, r.doubt, func(t *transaction, said *removal) error {
		var drop []*entry
		for _, known := range p.Known {
			t.each(p.Author, known, func(e *entry) {
				if _, there := theirs[e.dot.place().n]; !there {
					drop = append(drop, e)
				}
			})
		}
		for _, e := range drop {
			said.take(t, e)
		}
		return nil
	})
}

// each calls f with what would be on the list.
func (t *transaction) each(a author, w span, f func(*entry)) {
	t.list.index.between(a, w, func(e *entry) {
		if t.remove[e.dot] == nil {
			f(e)
		}
	})
	for d, e := range t.add {
		if d.Author == a && d.Seq >= w[0] && d.Seq <= w[1] && t.remove[d] == nil {
			f(e)
		}
	}
}

// merge brings in an answer, and returns what is still to be asked for.
func (l *List) merge(ctx context.Context, r *reading, wants []pullWant, windows []pullWindow) ([]pullWant, error) {
	if len(windows) == 0 || len(windows) > len(wants) {
		return nil, fmt.Errorf("pull from %s: %d windows came for %d", r.name, len(windows), len(wants))
	}
	entries := map[dot]*entry{}
	for i, w := range windows {
		want := wants[i]
		last := i == len(windows)-1
		if w.Author != want.Author || w.Window[0] != want.Window[0] || w.Window[1] > want.Window[1] ||
			w.Window[1] < w.Window[0] || !last && w.Window != want.Window {
			return nil, fmt.Errorf("pull from %s: window %d is not what was asked for", r.name, i+1)
		}
		if err := w.Live.check(); err != nil {
			return nil, fmt.Errorf("pull from %s: %w", r.name, err)
		}
		for _, it := range w.Pins {
			if it.Author != w.Author || !w.Live.has(it.Seq) || it.Seq < w.Window[0] || it.Seq > w.Window[1] {
				return nil, fmt.Errorf("pull from %s: pin %s does not belong there", r.name, it.dot)
			}
			if e := l.understand(r.name, it); e != nil {
				entries[it.dot] = e
			} else {
				r.skip[it.dot] = true
			}
		}
	}
	if err := l.cede(ctx, r, entries); err != nil {
		return nil, err
	}
	err := l.heed(ctx, r.name, r.doubt, func(t *transaction, said *removal) error {
		for _, w := range windows {
			t.merge(w, r.theirs[w.Author], entries, said)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	rest := wants[len(windows):]
	end := windows[len(windows)-1].Window[1]
	if cut := wants[len(windows)-1]; end < cut.Window[1] {
		window := span{end + 1, cut.Window[1]}
		rest = append([]pullWant{{cut.Author, window, cut.Known.within(window)}}, rest...)
	}
	return rest, nil
}

// merge stages what a window of a sibling's list says.
func (t *transaction) merge(w pullWindow, theirs ranges, entries map[dot]*entry, said *removal) {
	var drop []*entry
	t.each(w.Author, w.Window, func(e *entry) {
		if theirs.has(e.dot.Seq) && !w.Live.has(e.dot.Seq) {
			drop = append(drop, e)
		}
	})
	for _, e := range drop {
		said.take(t, e)
	}
	for _, it := range w.Pins {
		if e := entries[it.dot]; e != nil && !t.knows(it.Author).has(it.Seq) {
			t.put(e, it.Pin)
		}
	}
}

// understand returns nil for a pin that makes no sense. The others are not held up by it.
func (l *List) understand(from string, it item) *entry {
	p, err := decode(it.Pin)
	if err != nil {
		l.metrics.refused.Inc()
		l.log.Warn("list of pins: a sibling has a pin that is not understood", "sibling", from, "number", it.dot, "err", err)
		return nil
	}
	return &entry{pin: *p, dot: it.dot}
}
