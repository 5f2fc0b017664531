package gateway

import (
	"context"
	"runtime"
	runtimemetrics "runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/gateway/answer"
)

const (
	// paceTick is how often those who wait for their turn may begin; the pace is set anew
	// every adjustEvery ticks, and after quietTicks without anybody the looking ends.
	paceTick    = 2 * time.Millisecond
	adjustEvery = 5
	quietTicks  = 250

	// Processors are short when more than crowdedShare of the goroutines that could run
	// waited for one for longer than runnableLate (seconds, a bound of the runtime's buckets).
	runnableLate = 128e-6
	crowdedShare = 0.25

	// hitsPerLong is how many answers from memory there are to each one that takes the long
	// way while processors are short. That one costs as much as a dozen of the former, and
	// as much again at its visitor's and the origin, if they share the machine.
	hitsPerLong = 32
	// leastPace is how many answers a second take the long way in any case, for each
	// processor: a tenth of it or so. With fewer answers from memory than leastHits a second,
	// there is nothing to protect.
	leastPace = 250
	leastHits = 100
)

// pacer has answers that take the long way wait while answers from memory need the
// processors: a visitor whose content is here does not pay for one whose content is not.
// While the processors have time to spare, nobody waits. When they have not, the pace falls
// by a tenth at each look, down to one answer for hitsPerLong from memory, and it rises by a
// tenth as soon as there is time again. It costs nothing while nobody takes the long way.
// It is safe for concurrent use.
type pacer struct {
	hits    atomic.Int64   // answers from memory, since the start
	crowded func() float64 // see schedLoad.late
	ctx     context.Context

	mu     sync.Mutex
	open   bool            // nobody waits
	pace   float64         // answers per second while somebody does
	credit float64         // answers that may begin now
	queue  []chan struct{} // who waits, the first first
	ticks  int             // since somebody came; -1 while nobody looks

	// Since the pace was set:
	at      time.Time
	begun   int
	counted int64   // of hits, until then
	rate    float64 // of hits, per second, smoothed
}

// newPacer returns a pacer that has nobody wait once ctx has ended.
func newPacer(ctx context.Context) *pacer {
	return &pacer{ctx: ctx, open: true, ticks: -1, crowded: (&schedLoad{}).late}
}

// hit counts an answer from memory.
func (p *pacer) hit() { p.hits.Add(1) }

// wait returns when an answer may take the long way, or an error when ctx ends before. When
// as many wait as may, it fails at once.
func (p *pacer) wait(ctx context.Context, most int) error {
	turn, err := p.enter(most)
	if turn == nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, turn); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return context.Cause(ctx)
	}
	return nil // it was its turn
}

// enter returns nil, or what is closed when it is one's turn.
func (p *pacer) enter(most int) (turn chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ticks < 0 {
		p.at, p.counted, p.rate = time.Now(), p.hits.Load(), 0
		p.crowded()
		go p.look()
	}
	p.ticks = 0
	switch {
	case p.open || len(p.queue) == 0 && p.credit >= 1:
		p.credit--
		p.begun++
		return nil, nil
	case len(p.queue) >= most:
		return nil, answer.Busy(most)
	}
	turn = make(chan struct{})
	p.queue = append(p.queue, turn)
	return turn, nil
}

// look ticks for as long as there is something to pace.
func (p *pacer) look() {
	ticker := time.NewTicker(paceTick)
	defer ticker.Stop()
	for n := 1; p.tick(n%adjustEvery == 0); n++ {
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
		}
	}
}

// tick lets those begin whose turn it is. It reports false when nothing is left to pace.
func (p *pacer) tick(adjust bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	ended := p.ctx.Err() != nil
	if adjust {
		p.adjust(time.Now())
	}
	p.open = p.open || ended
	p.credit = min(p.credit, 1) + p.pace*paceTick.Seconds()
	n := 0
	for ; n < len(p.queue) && (p.open || p.credit >= 1); n++ {
		close(p.queue[n])
		p.credit--
	}
	p.queue, p.begun = slices.Delete(p.queue, 0, n), p.begun+n
	if p.ticks++; !ended && (p.ticks < quietTicks || len(p.queue) > 0) {
		return true
	}
	p.open, p.ticks = true, -1
	return false
}

// adjust sets the pace.
func (p *pacer) adjust(now time.Time) {
	elapsed, hits := now.Sub(p.at).Seconds(), p.hits.Load()
	if elapsed <= 0 {
		return
	}
	p.rate = (p.rate + float64(hits-p.counted)/elapsed) / 2
	least := max(leastPace*float64(runtime.GOMAXPROCS(0)), p.rate/hitsPerLong)
	switch crowded := p.crowded() > crowdedShare; {
	case p.rate < leastHits:
		p.open = true
	case crowded && p.open:
		p.open, p.credit, p.pace = false, 0, max(0.9*float64(p.begun)/elapsed, least)
	case crowded:
		p.pace = max(0.9*p.pace, least)
	case len(p.queue) == 0 && p.credit > 1:
		p.open = true // it is not the pace that holds anybody up
	default:
		p.pace = max(1.1*p.pace, least)
	}
	p.at, p.begun, p.counted = now, 0, hits
}

// schedLoad tells how long goroutines that could run waited for a processor.
type schedLoad struct {
	sample []runtimemetrics.Sample
	counts []uint64 // at the last look
}

// late returns which share of them waited for longer than runnableLate since the last look.
func (s *schedLoad) late() float64 {
	if s.sample == nil {
		s.sample = []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}
	}
	runtimemetrics.Read(s.sample)
	if s.sample[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
		return 0 // this Go has another name for it
	}
	h := s.sample[0].Value.Float64Histogram()
	if s.counts == nil {
		s.counts = make([]uint64, len(h.Counts))
	}
	var late, all uint64
	for i, n := range h.Counts {
		all += n - s.counts[i]
		if h.Buckets[i] >= runnableLate {
			late += n - s.counts[i]
		}
		s.counts[i] = n
	}
	return float64(late) / float64(max(all, 1))
}
