package swarm

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/sony/gobreaker/v2"

	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

const (
	// A sibling's breaker opens when, of the wants in the last judgedOver, so many and
	// a tenth of all were left unanswered.
	maxUnanswered = 3
	judgedOver    = 30 * time.Second
	// restFor is how long such a sibling is asked last before it is tried again.
	restFor = 10 * time.Second
	// maxInquiries is how many wants a sibling is asked about at the same time: what is
	// said about some tells enough about the others.
	maxInquiries = 2
)

// sibling is what this edge has seen of another one: how long it takes to answer a
// want, and whether it does. Pings say that it is there, wants whether it is of use.
type sibling struct {
	// Mean and mean deviation of that time, smoothed. Guarded by Swarm.mu.
	mean, deviation time.Duration

	inquiries atomic.Int32
	breaker   *gobreaker.TwoStepCircuitBreaker[struct{}]
	lied      atomic.Bool // sent wrong bytes, and the breaker has not opened yet
}

// sibling returns what is known of a member.
func (s *Swarm) sibling(id peer.ID) *sibling {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.siblings[id]
	if b == nil {
		name, _ := s.fleet.Name(id)
		b = newSibling(func(lied bool) {
			s.log.Warn("swarm: a sibling answers pings and delivers no blocks, or wrong ones: it is asked last",
				"member", name, "wrong_bytes", lied, "retry_in", restFor)
		}, func() { s.log.Info("swarm: a sibling delivers again", "member", name) })
		s.siblings[id] = b
	}
	return b
}

// newSibling returns one of which nothing is known. opened and closed are called when
// it turns out that it does not deliver, and that it does again.
func newSibling(opened func(lied bool), closed func()) *sibling {
	b := &sibling{}
	b.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Interval: judgedOver, BucketPeriod: judgedOver / 10, MaxRequests: 1, Timeout: restFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return b.lied.Load() || c.TotalFailures >= maxUnanswered && 10*c.TotalFailures >= c.Requests
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch lied := b.lied.Swap(false); {
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				opened(lied)
			case to == gobreaker.StateClosed:
				closed()
			}
		},
	})
	return b
}

// delivers reports whether a sibling has answered wants lately, or was not asked.
func (s *Swarm) delivers(id peer.ID) bool {
	return s.sibling(id).breaker.State() == gobreaker.StateClosed
}

// judge takes into account whether a sibling has answered a want as it should.
func (s *Swarm) judge(id peer.ID, well bool) {
	if done, err := s.sibling(id).breaker.Allow(); err == nil {
		done(well)
	}
}

// failed notes that a sibling has left a want unanswered. One that does not answer
// pings either is dealt with by the members' table.
func (s *Swarm) failed(id peer.ID) {
	if s.fleet.State(id) == members.Alive {
		if name, ok := s.fleet.Name(id); ok {
			s.metrics.unanswered.WithLabelValues(name).Inc()
		}
		s.judge(id, false)
	}
}

// liar notes that a sibling has sent wrong bytes, which needs no second time.
func (s *Swarm) liar(id peer.ID) {
	s.sibling(id).lied.Store(true)
	s.judge(id, false)
}

// answered notes how long a sibling took to send a block.
func (s *Swarm) answered(id peer.ID, name string, took time.Duration) {
	s.metrics.latency.WithLabelValues(name).Observe(took.Seconds())
	b := s.sibling(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.mean == 0 {
		b.mean, b.deviation = took, took/2
		return
	}
	b.deviation += ((b.mean - took).Abs() - b.deviation) / 8
	b.mean += (took - b.mean) / 16
}

// hedgeAfter is how long a sibling may be silent before somebody else is asked:
// longer than it is in some 19 of 20 cases.
func (s *Swarm) hedgeAfter(id peer.ID) time.Duration {
	b := s.sibling(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(max(2*s.opts.ProbeAfter, b.mean+2*b.deviation), s.opts.HedgeMax)
}

// inquireAfter is how long a want may be unanswered before its sibling is asked what it
// is doing about it. A call costs more than a want, so not before somebody else was
// asked what they have, and later when this process is held up.
func (s *Swarm) inquireAfter(id peer.ID) time.Duration {
	return max(s.hedgeAfter(id), s.opts.HedgeMax/2) + s.fleet.Slack()
}

// inquire asks a sibling whether it is working on a want that it has not answered, and
// has tell called with that unless ctx ends first. A home that waits for its origin
// says so. One that knows nothing of the want, that has the block and does not send it,
// or that does not answer in time either, is not working. Blocks that come from it say
// more than its word: then it is the line that is slow. It reports false, and tell is
// not called, if the sibling is being asked about enough others, and while this process
// is held up itself: then it blames nobody, and has enough to do.
func (s *Swarm) inquire(ctx context.Context, id peer.ID, c cid.Cid, asked time.Time, tell func(working bool)) bool {
	heldUp := func() bool { return s.fleet.Slack() >= s.opts.HedgeMax }
	b := s.sibling(id)
	if heldUp() {
		return false
	}
	if b.inquiries.Add(1) > maxInquiries {
		b.inquiries.Add(-1)
		return false
	}
	return s.run(func() {
		defer b.inquiries.Add(-1)
		working := s.isWorking(ctx, id, c, asked)
		if !working {
			// Its answer to the want may have been on its way for as long as it takes
			// to be read here, which is what the sibling may take to be heard of at all.
			select {
			case <-time.After(s.fleet.Patience(id)):
				working = s.isWorking(ctx, id, c, asked)
			case <-ctx.Done():
			}
		}
		if ctx.Err() == nil {
			tell(working || heldUp())
		}
	})
}

func (s *Swarm) isWorking(ctx context.Context, id peer.ID, c cid.Cid, asked time.Time) bool {
	patience := s.opts.HedgeMax + min(s.fleet.Slack(), s.opts.HedgeMax)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var r reason
	err := s.callPeer(ctx, id, "why", c.String(), &r)
	if came := s.exchange.Received(id); came.After(asked) && time.Since(came) < patience {
		return true
	}
	return err == nil && (r.Working == nil || *r.Working) // nil: an edge of an earlier version
}

// tryAgain asks a sibling that has rested for a block, to see whether it delivers
// again. No visitor waits for that.
func (s *Swarm) tryAgain(id peer.ID, c cid.Cid) {
	breaker := s.sibling(id).breaker
	if breaker.State() != gobreaker.StateHalfOpen {
		return
	}
	done, err := breaker.Allow()
	if err != nil {
		return // somebody else tries it
	}
	if !s.run(func() { done(s.trial(id, c)) }) {
		done(false)
	}
}

func (s *Swarm) trial(id peer.ID, c cid.Cid) (well bool) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.PendingMax)
	defer cancel()
	asked := time.Now()
	heard, working := make(chan bitswap.Reply, 1), make(chan bool, 1)
	ask := s.exchange.Ask(id, c, bitswap.WantBlock, func(r bitswap.Reply) { heard <- r })
	defer ask.Cancel()
	late := time.NewTimer(s.opts.HedgeMax)
	defer late.Stop()
	for {
		select {
		case r := <-heard:
			return r.Err == nil || errors.Is(r.Err, bitswap.ErrDontHave)
		case <-late.C:
			if !s.inquire(ctx, id, c, asked, func(yes bool) { working <- yes }) {
				late.Reset(s.opts.HedgeMax)
			}
		case yes := <-working:
			if !yes {
				return false
			}
		case <-ctx.Done():
			return true // it has said that it is at it
		}
	}
}
