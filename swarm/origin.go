package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// A home has two ways to a block that nobody was expected to have: its own origin, and
// its siblings. Those may hold it all the same, and the other homes can fetch it their
// own way. While the own origin does well it goes first, and the siblings are asked when
// it fails, denies, or is silent. While it does not, it is the other way round.

const (
	// originSilence is how long the first of the two ways may be silent before the
	// other one is tried as well.
	originSilence = 500 * time.Millisecond
	// maxOriginSilence is how long the origin may be silent, if it usually is slow,
	// before other homes are asked to fetch the block. It bounds what an origin that is
	// slow for all costs: each block as many requests as it has homes.
	maxOriginSilence = 2 * time.Second
	// sickAfter is after how many failures in a row, without a block in between, an
	// origin goes second.
	sickAfter = 3
	// An origin that goes second is tried by one request in each probeEvery, which is
	// not cancelled when a sibling is faster, but after probeFor.
	probeEvery = time.Second
	probeFor   = 10 * time.Second
)

// found is what came of one of the two ways.
type found struct {
	block   *block.Verified
	fetched bool // by another home, for this one
	err     error
}

// seek gets the block from the origin, or from whoever of the siblings has it or can
// get it. It is not found if all of them say so.
func (s *Swarm) seek(ctx context.Context, f *fill, rest []peer.ID) (*block.Verified, block.Source, error) {
	if s.fleet == nil {
		r := s.tryOrigin(ctx, f.cid)
		return r.block, block.Origin, r.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.twoWays(ctx, f, rest).run(ctx)
}

// search is one seek: the two ways, and what begins each of them, once.
type search struct {
	s           *Swarm
	fill        *fill
	sick        bool // the siblings go first
	own, others chan found

	askOwn, askOthers func()
	mayFetch          func() // lets other homes be asked to fetch
}

func (s *Swarm) twoWays(ctx context.Context, f *fill, rest []peer.ID) *search {
	w := &search{s: s, fill: f, own: make(chan found, 1), others: make(chan found, 1)}
	fetch := make(chan struct{})
	w.mayFetch = sync.OnceFunc(func() { close(fetch) })
	w.askOthers = sync.OnceFunc(func() {
		s.letGo(f)
		s.launch(w.others, func() found { return s.askOthers(ctx, f.cid, rest, fetch) })
	})
	var probe bool
	w.sick, probe = s.originIsSick()
	w.askOwn = sync.OnceFunc(func() {
		s.launch(w.own, func() found {
			if probe {
				return s.probeOrigin(f.cid)
			}
			return s.tryOrigin(ctx, f.cid)
		})
	})
	if w.sick {
		w.mayFetch()
		w.askOthers()
	}
	if !w.sick || probe {
		w.askOwn()
	}
	return w
}

func (w *search) run(ctx context.Context) (*block.Verified, block.Source, error) {
	begun, patience := time.Now(), w.s.health.patience()
	silent, late := time.NewTimer(originSilence), time.NewTimer(patience)
	defer silent.Stop()
	defer late.Stop()
	var ownErr, othersErr error
	for ownErr == nil || othersErr == nil {
		select {
		case r := <-w.own:
			if ownErr = r.err; ownErr == nil {
				return r.block, block.Origin, nil
			}
			w.mayFetch()
			w.askOthers()
		case r := <-w.others:
			if othersErr = r.err; othersErr == nil {
				w.s.detoured(r.fetched && ipld.IsNotFound(ownErr))
				return r.block, block.Sibling, nil
			}
			w.askOwn()
		case <-silent.C:
			if !w.s.isEarly(silent, begun.Add(originSilence)) {
				w.askOwn()
				w.askOthers()
			}
		case <-late.C:
			if w.s.isEarly(late, begun.Add(patience)) {
				continue
			}
			if !w.sick && ownErr == nil {
				w.s.health.trouble()
			}
			w.mayFetch()
		case <-ctx.Done():
			return nil, block.Origin, ended(ctx, w.fill.cid, "wait for the origin and the siblings")
		}
	}
	if ipld.IsNotFound(ownErr) {
		return nil, block.Origin, othersErr
	}
	return nil, block.Origin, ownErr
}

// isEarly reports whether it is too early to draw a conclusion from a silence that would
// be long enough at due, because this process gets its turn late, and sets the timer
// anew if so.
func (s *Swarm) isEarly(t *time.Timer, due time.Time) bool {
	left := time.Until(due.Add(min(s.fleet.Slack(), s.opts.PendingMax)))
	if left > 0 {
		t.Reset(left)
	}
	return left > 0
}

// launch has f tell what it finds.
func (s *Swarm) launch(tell chan<- found, f func() found) {
	if !s.run(func() { tell <- f() }) {
		tell <- found{err: ErrClosed}
	}
}

// letGo tells those who only wait along that they need not, before this edge begins to
// wait for others: so nobody waits in a circle (see "Who waits for whom" in doc.go).
func (s *Swarm) letGo(f *fill) {
	s.mu.Lock()
	f.searching = true
	for id, kind := range f.remote {
		if kind == bitswap.WantHave {
			s.denials.add(f.mh, id)
			f.leave(id)
		}
	}
	s.mu.Unlock()
	s.exchange.Release(f.cid)
}

// askOthers asks all siblings that were not asked yet what they have, and once fetch is
// closed the homes that rank behind this edge to fetch the block.
func (s *Swarm) askOthers(ctx context.Context, c cid.Cid, rest []peer.ID, fetch <-chan struct{}) found {
	r, end := s.newRound(ctx, c, rest, s.fleet.Absent)
	defer end()
	r.homes = s.homesBehind(c)
	if b := r.run(fetch); b != nil {
		return found{block: b, fetched: r.fetched}
	}
	if ctx.Err() != nil {
		return found{err: ended(ctx, c, "wait for the siblings")}
	}
	// Homes that were asked to fetch it may have failed, which is not the same as that
	// nobody has it.
	if err := s.reasons(ctx, s.names(r.denied), c); err != nil && !ipld.IsNotFound(err) {
		return found{err: err}
	}
	if missing := append(s.names(r.missing()), s.lost()...); len(missing) > 0 {
		return found{err: unanswered(c, missing)}
	}
	return found{err: block.NotFound(c)}
}

// homesBehind returns the homes of a block that rank behind this edge.
func (s *Swarm) homesBehind(c cid.Cid) []peer.ID {
	v := s.view.Load()
	var buf [homes]int
	var ids []peer.ID
	for _, i := range v.ring.Homes(c.Hash(), homes, buf[:0]) {
		if i != v.self && v.ring.Before(c.Hash(), s.opts.Name, v.ring.Member(i).Name) {
			ids = append(ids, v.ids[i])
		}
	}
	return ids
}

func (s *Swarm) names(ids []peer.ID) []string {
	var names []string
	for _, id := range ids {
		if name, ok := s.fleet.Name(id); ok {
			names = append(names, name)
		}
	}
	return names
}

// lost returns the siblings that were there lately and are lost. What only they have
// is not found without them.
func (s *Swarm) lost() []string {
	var names []string
	for _, m := range s.Members() {
		if m.State == members.Lost && time.Since(m.Since) < missing {
			names = append(names, m.Name)
		}
	}
	return names
}

// missingError says who may have a block and does not answer.
type missingError struct{ names []string }

// maxNamed is how many of them are named.
const maxNamed = 8

func (e *missingError) Error() string {
	if more := len(e.names) - maxNamed; more > 0 {
		return fmt.Sprintf("no answer from %s and %d more", strings.Join(e.names[:maxNamed], ", "), more)
	}
	return "no answer from " + strings.Join(e.names, ", ")
}

// unanswered is the error for a block that somebody may have who was not heard.
func unanswered(c cid.Cid, names []string) error {
	slices.Sort(names)
	return &block.UnavailableError{Cid: c, From: "siblings", Err: &missingError{slices.Compact(names)}}
}

// tryOrigin asks the origin and notes how it does.
func (s *Swarm) tryOrigin(ctx context.Context, c cid.Cid) found {
	begun := time.Now()
	b, err := s.askOrigin(ctx, c)
	switch {
	case err == nil:
		s.health.came(time.Since(begun))
	case !ipld.IsNotFound(err) && ctx.Err() == nil:
		s.health.trouble()
	}
	return found{block: b, err: err}
}

// probeOrigin does that whoever else is faster.
func (s *Swarm) probeOrigin(c cid.Cid) found {
	ctx, cancel := context.WithTimeoutCause(s.ctx, probeFor, errors.New("no answer within "+probeFor.String()))
	defer cancel()
	return s.tryOrigin(ctx, c)
}

func (s *Swarm) askOrigin(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	s.mu.Lock()
	origin := s.origin
	s.mu.Unlock()
	if origin == nil {
		return nil, block.NotFound(c)
	}
	b, _, err := origin.Get(ctx, c)
	if err == nil && string(b.Cid().Hash()) != string(c.Hash()) {
		return nil, &block.UnavailableError{Cid: c, From: "origin", Err: block.ErrMismatch}
	}
	return b, err
}

// originIsSick reports whether the own origin goes second, and whether it is time to
// try it nevertheless.
func (s *Swarm) originIsSick() (sick, probe bool) {
	s.mu.Lock()
	none := s.origin == nil
	s.mu.Unlock()
	if none {
		return true, false
	}
	return s.health.sick()
}

// detoured notes that a sibling gave what the own origin did not. missed says that
// another home's origin has what this edge's denies.
func (s *Swarm) detoured(missed bool) {
	s.metrics.detours.Inc()
	if missed {
		s.health.trouble()
	}
}

// OriginTrouble says in an operator's words that this edge's own origins do not deliver,
// so that what it lacks comes by way of its siblings; "" while all is well.
func (s *Swarm) OriginTrouble() string {
	since, failures := s.health.state()
	if failures < sickAfter {
		return ""
	}
	// They may have failed, been silent, denied what siblings have, or not exist.
	text := fmt.Sprintf("this edge's own origins, if it has any, gave none of the last %d blocks that it lacked, since %s",
		failures, since.UTC().Format(time.RFC3339))
	if s.fleet != nil {
		text += ": it asks its siblings first, and lives off their origins"
	}
	return text
}

// health is how this edge's own way to the origin has done lately.
type health struct {
	mu              sync.Mutex
	mean, deviation time.Duration // of the time until a block came, smoothed
	failures        int           // since a block came
	since           time.Time     // of the first of them
	probed          time.Time
}

// came notes that a block came.
func (h *health) came(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = 0
	if h.mean == 0 {
		h.mean, h.deviation = took, took/2
		return
	}
	h.deviation += ((h.mean - took).Abs() - h.deviation) / 4
	h.mean += (took - h.mean) / 8
}

// trouble notes a failure, or a silence that lasts too long.
func (h *health) trouble() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures++; h.failures == 1 {
		h.since = time.Now()
	}
}

// reset forgets the failures: there is another origin.
func (h *health) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures, h.mean, h.deviation = 0, 0, 0
}

func (h *health) state() (since time.Time, failures int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since, h.failures
}

// sick reports whether the origin has only failed lately, and if so whether it is time
// for another probe, which the caller then makes.
func (h *health) sick() (sick, probe bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures < sickAfter {
		return false, false
	}
	if probe = time.Since(h.probed) >= probeEvery; probe {
		h.probed = time.Now()
	}
	return true, probe
}

// patience is how long the origin may be silent before other homes are asked to fetch
// a block: longer than it is as a rule (the way of RFC 6298, section 2).
func (h *health) patience() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(max(originSilence, h.mean+4*h.deviation), maxOriginSilence)
}
