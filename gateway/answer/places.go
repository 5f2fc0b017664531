package answer

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Exports remember what they sent. All of them together get as many bytes as this; who
// finds none free waits, and after a while is told to come back.
const (
	maxExports = 12 << 20
	// placePatience is how long a request waits for a place, and maxPlaceWaiters how
	// many requests may.
	placePatience   = 10 * time.Second
	maxPlaceWaiters = 256

	// freeExport is what an export may take without a place, in bytes.
	freeExport = 256 << 10
	// exportStep is what an export takes of the places at once, in bytes.
	exportStep = 64 << 10
)

// places divides so many bytes, or seats, among requests.
type places struct {
	free    *semaphore.Weighted
	taken   atomic.Int64
	waiting atomic.Int64
}

func newPlaces(most int64) *places { return &places{free: semaphore.NewWeighted(most)} }

// errCrowded is the failure of a request that finds no place.
func errCrowded() *Failure {
	return &Failure{
		Status: http.StatusServiceUnavailable, RetryAfter: retryBusy,
		Text:  "this edge is making too many answers of this kind at once; try again soon",
		Cause: errors.New("no place is free for answers that are made in memory"),
	}
}

// take waits for a place of so many.
func (p *places) take(ctx context.Context, n int64) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxPlaceWaiters {
		return errCrowded()
	}
	ctx, cancel := context.WithTimeout(ctx, placePatience)
	defer cancel()
	if p.free.Acquire(ctx, n) != nil {
		return errCrowded()
	}
	p.taken.Add(n)
	return nil
}

// give frees a place.
func (p *places) give(n int64) {
	if n > 0 {
		p.free.Release(n)
		p.taken.Add(-n)
	}
}

// exportMemory is what one export remembers, in bytes. But for the first freeExport, it
// has a place: the first of it is waited for, and with none for more the export ends.
type exportMemory struct {
	reads *Reads
	used  int64
}

// add notes that an export remembers so many bytes more, or with a negative number less.
// With an error, nothing is noted.
func (m *exportMemory) add(ctx context.Context, bytes int64) error {
	r := m.reads
	need := max(m.used+bytes-freeExport, 0)
	more := (need+exportStep-1)/exportStep*exportStep - r.exporting
	switch {
	case more > 0 && r.exporting == 0:
		if err := r.src.exports.take(ctx, more); err != nil {
			return err
		}
	case more > 0:
		// Who has a place and waits for another would wait for others who do.
		if !r.src.exports.free.TryAcquire(more) {
			return errCrowded()
		}
		r.src.exports.taken.Add(more)
	default:
		r.src.exports.give(-more)
	}
	m.used += bytes
	r.exporting += more
	return nil
}
