package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Answers that are made rather than passed on take many times the memory of the block
// that they are made from: the page of a folder of 40 000 files takes 16 MiB, and a dag-cbor
// value of 2 MiB could take a gigabyte. Exports remember what they sent. All of them
// together get as many bytes as this; exports have their own part, so that a crowd of pages
// cuts none of them off. Who finds no place waits for one; who would need more than there
// are gets an answer without it, or none.
const (
	maxPages   = 20 << 20
	maxExports = 12 << 20
	// placePatience is how long a request waits for a place, and maxPlaceWaiters how
	// many requests may.
	placePatience   = 10 * time.Second
	maxPlaceWaiters = 256
)

// places divides so many bytes among requests.
type places struct {
	most    int64
	free    *semaphore.Weighted
	taken   atomic.Int64
	waiting atomic.Int64
}

func newPlaces(most int64) *places { return &places{most: most, free: semaphore.NewWeighted(most)} }

// Generating returns the bytes of memory that are taken for answers that are being made,
// such as pages of folders.
func (g *Gateway) Generating() int64 {
	return g.service.pages.taken.Load() + g.service.exports.taken.Load()
}

// errCrowded is the failure of a request that finds no place.
var errCrowded = &failure{
	status: http.StatusServiceUnavailable, retryAfter: retryBusy,
	text:  "this edge is making too many answers of this kind at once; try again soon",
	cause: errors.New("no place is free for answers that are made in memory"),
}

// take waits for a place of so many bytes.
func (p *places) take(ctx context.Context, bytes int64) *failure {
	if bytes > p.most {
		return &failure{
			status: http.StatusUnprocessableEntity,
			text:   "the content is too large to be shown here: ask for its blocks with ?format=raw or ?format=car",
			cause:  fmt.Errorf("it would take %d bytes of memory, and all answers that are made have %d", bytes, p.most),
		}
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxPlaceWaiters {
		return errCrowded
	}
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	if p.free.Acquire(ctx, bytes) != nil {
		return errCrowded
	}
	p.taken.Add(bytes)
	return nil
}

// try takes a place if one is free now.
func (p *places) try(bytes int64) bool {
	ok := p.free.TryAcquire(bytes)
	if ok {
		p.taken.Add(bytes)
	}
	return ok
}

// give frees a place.
func (p *places) give(bytes int64) {
	if bytes > 0 {
		p.free.Release(bytes)
		p.taken.Add(-bytes)
	}
}

// hold gives the request a place of so many bytes, until it ends.
func (p *places) hold(ctx context.Context, bytes int64) *failure {
	rec := recordOf(ctx)
	if rec.placed[p] > 0 {
		// Who has one and waits for another would wait for others who do.
		return p.extend(rec, bytes)
	}
	f := p.take(ctx, bytes)
	if f == nil {
		p.note(rec, bytes)
	}
	return f
}

// extend gives the request a place of so many bytes more, or with a negative number takes
// some back. It does not wait.
func (p *places) extend(rec *requestRecord, bytes int64) *failure {
	if bytes > 0 && !p.try(bytes) {
		return errCrowded
	}
	p.give(-bytes)
	p.note(rec, bytes)
	return nil
}

func (p *places) note(rec *requestRecord, bytes int64) {
	if rec.placed == nil {
		rec.placed = map[*places]int64{}
	}
	rec.placed[p] += bytes
}

// leavePlaces takes back what places a request has.
func leavePlaces(rec *requestRecord) {
	for p, bytes := range rec.placed {
		p.give(bytes)
	}
	rec.placed = nil
}

const (
	// freeExport is what an export may take without a place, in bytes.
	freeExport = 256 << 10
	// exportStep is what an export takes of the places at once, in bytes.
	exportStep = 64 << 10
)

// exportMemory is what one export remembers, in bytes. But for the first freeExport, it
// has a place: the first of it is waited for, and with none for more the export ends.
type exportMemory struct{ used, placed int64 }

// add notes that an export remembers so many bytes more, or with a negative number less.
// With an error, nothing is noted.
func (m *exportMemory) add(ctx context.Context, p *places, bytes int64) error {
	need := max(m.used+bytes-freeExport, 0)
	more := (need+exportStep-1)/exportStep*exportStep - m.placed
	switch {
	case more > 0:
		if f := p.hold(ctx, more); f != nil {
			return f.forBoxo()
		}
	case more < 0:
		_ = p.extend(recordOf(ctx), more) // fails for more bytes only
	}
	m.used += bytes
	m.placed += more
	return nil
}
