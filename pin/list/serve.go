package list

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	ds "github.com/ipfs/go-datastore"
)

// Handlers returns what answers the siblings' calls, by method. They may be called
// before Start.
func (l *List) Handlers() map[string]Handler {
	return map[string]Handler{
		methodTell:    handle(l, l.told),
		methodCompare: handle(l, l.compared),
		methodOutline: handle(l, l.outline),
		methodPull:    handle(l, l.pulled),
	}
}

// handle bounds and parses a request.
func handle[T any](l *List, f func(ctx context.Context, from string, request *T) (any, error)) Handler {
	return func(ctx context.Context, from string, raw json.RawMessage) (any, error) {
		if l.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if len(raw) > maxMessage {
			return nil, fmt.Errorf("request of %d bytes, at most %d are allowed", len(raw), maxMessage)
		}
		request := new(T)
		if err := json.Unmarshal(raw, request); err != nil {
			return nil, fmt.Errorf("malformed request: %w", err)
		}
		return f(ctx, from, request)
	}
}

// told takes in what a sibling says has changed. It is stored when it returns.
func (l *List) told(ctx context.Context, from string, request *tellRequest) (any, error) {
	entries := make([]*entry, len(request.Items))
	for i, it := range request.Items {
		switch {
		case it.Author == 0 || it.Seq == 0 || it.Seq == math.MaxUint64:
			return nil, fmt.Errorf("item %d has no valid number", i+1)
		case len(it.ID) > maxID:
			return nil, fmt.Errorf("item %d has an ID of %d bytes, at most %d are allowed", i+1, len(it.ID), maxID)
		case it.Pin != nil:
			entries[i] = l.understand(from, it)
		}
	}
	numbers := request.numbers()
	var answer tellAnswer
	err := l.heed(ctx, from, nil, func(t *transaction, said *removal) error {
		if err := t.affords(numbers); err != nil {
			return err
		}
		for a, said := range numbers {
			t.suspect(from, a, said)
		}
		for i, it := range request.Items {
			switch e := t.live(it.dot); {
			case it.Pin != nil && entries[i] == nil: // not understood
			case it.Pin != nil && !t.knows(it.Author).has(it.Seq):
				t.put(entries[i], it.Pin)
			case it.Pin != nil && e == nil && t.list.writer.removed[it.dot] != entries[i].pin.ID:
				answer.Removed = append(answer.Removed, it.dot)
			case it.Pin == nil && e != nil:
				said.take(t, e)
			case it.Pin == nil: // whoever brings it later is late
				said.late(t, it)
			}
		}
		return nil
	})
	return answer, err
}

// compared tells a sibling the state of this list. If its own is another one, it may
// have news.
func (l *List) compared(_ context.Context, from string, request *compareRequest) (any, error) {
	mine := l.summary()
	s := l.fleet.get(from)
	if s == nil {
		l.fleet.look.Give()
		return compareAnswer{Run: l.run, Sum: mine}, nil
	}
	s.mu.Lock()
	if s.news(mine, request.Sum) {
		s.pull.Give()
	}
	s.mu.Unlock()
	return compareAnswer{Run: l.run, Sum: mine}, nil
}

func (l *List) checkRun(run string) error {
	if run != l.run {
		return errors.New("this edge was started again meanwhile")
	}
	return nil
}

// Sizes of parts of an outline in JSON, in bytes, at most.
const (
	partSize   = 160
	spanSize   = 44
	bucketCost = 60
)

// outline returns a page of what is known, with the digests of what is on the list.
func (l *List) outline(_ context.Context, _ string, request *outlineRequest) (any, error) {
	if err := l.checkRun(request.Run); err != nil {
		return nil, err
	}
	if request.Bucket > maxBucket {
		return nil, fmt.Errorf("bucket %d, at most %d is allowed", request.Bucket, uint64(maxBucket))
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	answer := &outlineAnswer{Parts: []part{}}
	left, from := budget, request.Bucket
	for _, a := range l.index.authors(request.Author) {
		if a != request.Author {
			from = 0
		}
		if left < 4*bucketSize*(spanSize+bucketCost)/2 {
			answer.Next = &outlineRequest{Run: l.run, Author: a, Bucket: from}
			break
		}
		p, next := l.index.part(a, from, left)
		left -= partSize + spanSize*len(p.Known) + bucketCost*len(p.Buckets)
		answer.Parts = append(answer.Parts, p)
		if next > 0 {
			answer.Next = &outlineRequest{Run: l.run, Author: a, Bucket: next}
			break
		}
	}
	return answer, nil
}

// part returns what there is of an author from a bucket on, in at most so many bytes,
// and the bucket with which to go on; 0 if that is all. There must be room for two
// buckets.
func (x *index) part(a author, from uint64, room int) (p part, next uint64) {
	window := span{from * bucketSize, math.MaxUint64}
	known := x.known[a].within(window)
	most := room / (spanSize + bucketCost)
	end := uint64(math.MaxUint64) // the first bucket that is left out
	if len(known) > most {
		end = known[most][0] / bucketSize
	}
	var buckets []bucketInfo
	x.buckets.Ascend(&bucket{place: place{a, from}}, func(b *bucket) bool {
		if b.author != a || b.n >= end {
			return false
		}
		if len(buckets) == most {
			end = b.n
			return false
		}
		buckets = append(buckets, bucketInfo{b.n, b.digest})
		return true
	})
	if end != math.MaxUint64 {
		window[1] = end*bucketSize - 1
		known = known.within(window)
		next = end
	}
	return part{a, window, known, buckets}, next
}

// pulled answers which pins in some windows are on the list, with the records of those
// that the sibling does not know, as far as a message goes.
func (l *List) pulled(ctx context.Context, _ string, request *pullRequest) (any, error) {
	if err := l.checkRun(request.Run); err != nil {
		return nil, err
	}
	answer := &pullAnswer{Windows: []pullWindow{}}
	left := budget
	for i, want := range request.Wants {
		err := want.Known.check()
		if err == nil && (want.Window[0] > want.Window[1] || want.Window[0]/bucketSize != want.Window[1]/bucketSize) {
			err = errors.New("it is not within a bucket")
		}
		if err != nil {
			return nil, fmt.Errorf("window %d: %w", i+1, err)
		}
		w, err := l.window(ctx, want, &left)
		if err != nil {
			return nil, err
		}
		answer.Windows = append(answer.Windows, w)
		if left <= 0 {
			break
		}
	}
	return answer, nil
}

// window may end early, when there is no room left.
func (l *List) window(ctx context.Context, want pullWant, left *int) (pullWindow, error) {
	var dots []dot
	l.mu.RLock()
	l.index.between(want.Author, want.Window, func(e *entry) { dots = append(dots, e.dot) })
	l.mu.RUnlock()
	w := pullWindow{Author: want.Author, Window: want.Window}
	*left -= partSize
	for _, d := range dots {
		if *left <= 0 && d.Seq > want.Window[0] {
			w.Window[1] = d.Seq - 1
			break
		}
		if !want.Known.has(d.Seq) {
			raw, err := l.cfg.Datastore.Get(ctx, keyOf(d))
			if errors.Is(err, ds.ErrNotFound) {
				continue // removed meanwhile
			}
			if err != nil {
				return w, fmt.Errorf("read pin %s: %w", d, err)
			}
			it := item{dot: d, Pin: raw}
			*left -= it.size()
			w.Pins = append(w.Pins, it)
		}
		if last := len(w.Live) - 1; last >= 0 && w.Live[last][1]+1 == d.Seq {
			w.Live[last][1]++
		} else {
			w.Live = append(w.Live, span{d.Seq, d.Seq})
			*left -= spanSize
		}
	}
	return w, nil
}
