package names

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/ipfs/boxo/path"
)

// answer is what a name points to. It does not change.
type answer struct {
	path    path.Path
	pathErr error         // why path is nil (IPNS records may hold anything)
	record  []byte        // the signed record, for IPNS
	eol     time.Time     // when the record ends; zero for DNSLink
	ttl     time.Duration // for how long it is used without asking again
	outrun  bool          // the gateway had an older record, which was not taken
}

// lookupError is a lookup that brought no answer.
type lookupError struct {
	err    *Error
	wait   time.Duration // before asking again; 0: as long as failures in a row ask for
	denied bool          // the owner of the name says that it has no record
}

func (e *lookupError) Error() string { return e.err.Error() }
func (e *lookupError) Unwrap() error { return e.err }

// entry is what is known of one name. [Names].mu guards it.
type entry struct {
	name    name
	held    *answer   // the last good answer; nil if there is none
	expires time.Time // of held
	stale   bool      // held was served after it had expired

	err     *Error    // how the last lookup failed; nil if it did not
	retry   time.Time // not before this time again
	fails   int       // failures in a row
	pending *lookup   // the lookup under way; nil if there is none
}

// lookup is one lookup of a name, and everyone who waits for it. What follows
// done is written before done is closed.
type lookup struct {
	done    chan struct{}
	got     *answer
	expires time.Time
	err     *Error
}

func (e *entry) fresh(now time.Time) bool { return e.held != nil && now.Before(e.expires) }

// servable says whether the last good answer may stand in for one that cannot be had.
func (e *entry) servable(now time.Time, maxStale time.Duration) bool {
	return e.held != nil && now.Before(e.expires.Add(maxStale)) && (e.held.eol.IsZero() || now.Before(e.held.eol))
}

// refreshing is the part of an answer's life in which it is looked up again on
// the side.
const refreshing = 10 // the last tenth

// staleTTL is for how long others may rely on an expired answer (RFC 8767,
// section 4).
const staleTTL = 30 * time.Second

// find returns the answer for a name and for how long it holds.
func (n *Names) find(ctx context.Context, nm name) (*answer, time.Duration, error) {
	a, ttl, o, err := n.answer(ctx, nm)
	n.metrics.resolved(nm.kind, o)
	return a, ttl, err
}

func (n *Names) answer(ctx context.Context, nm name) (*answer, time.Duration, outcome, error) {
	n.mu.Lock()
	now := time.Now()
	e := n.entry(nm)
	switch {
	case e.fresh(now):
		defer n.mu.Unlock()
		left := e.expires.Sub(now)
		if left < e.held.ttl/refreshing && !now.Before(e.retry) {
			n.launch(e)
		}
		return e.held, left, outcomeHit, nil
	case now.Before(e.retry): // it failed a moment ago
		defer n.mu.Unlock()
		return n.insteadOf(e, now, e.err)
	}
	l, err := n.launch(e)
	servable := e.servable(now, maxStale)
	failing := e.fails > 0 && now.Sub(e.retry) < 2*retryMax // and not hours ago
	if err != nil || failing && servable {
		// What is known is served while it is tried again.
		defer n.mu.Unlock()
		return n.insteadOf(e, now, err)
	}
	n.mu.Unlock()
	var late <-chan time.Time // never, if there is nothing to serve instead
	if servable {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	return n.wait(ctx, e, l, late)
}

// wait waits for a lookup until it is late, and takes the last good answer when it
// did not succeed by then.
func (n *Names) wait(ctx context.Context, e *entry, l *lookup, late <-chan time.Time) (*answer, time.Duration, outcome, error) {
	select {
	case <-l.done:
		if l.err == nil {
			return l.got, max(0, time.Until(l.expires)), outcomeResolved, nil
		}
	case <-late:
	case <-ctx.Done():
		return nil, 0, outcomeCancelled, ended(ctx, e.name.text)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-l.done:
		if l.err == nil { // just now
			return l.got, max(0, time.Until(l.expires)), outcomeResolved, nil
		}
		return n.insteadOf(e, time.Now(), l.err)
	default:
		return n.insteadOf(e, time.Now(), &Error{Name: e.name.text, Reason: ErrUnavailable, Detail: "the lookup takes long"})
	}
}

// insteadOf returns the last good answer in place of err, or else err. The caller
// holds mu.
func (n *Names) insteadOf(e *entry, now time.Time, err *Error) (*answer, time.Duration, outcome, error) {
	if !e.servable(now, maxStale) {
		return nil, 0, outcomeOf(err), err
	}
	if e.fresh(now) { // another lookup has succeeded in between
		return e.held, e.expires.Sub(now), outcomeHit, nil
	}
	if !e.stale {
		e.stale = true
		n.log.Warn("name cannot be looked up; its last good answer is served",
			"name", e.name.text, "expired", now.Sub(e.expires).Round(time.Second), "error", logged(err))
	}
	ttl := min(staleTTL, max(e.held.ttl, time.Second))
	if !e.held.eol.IsZero() {
		ttl = min(ttl, e.held.eol.Sub(now))
	}
	return e.held, ttl, outcomeStale, nil
}

// logged is err with the cause that is kept from visitors.
func logged(err *Error) string {
	if err == nil {
		return "lookup under way"
	}
	if err.Cause == nil {
		return err.Error()
	}
	return fmt.Sprintf("%v: %s", err, oneLine(err.Cause))
}

// entry returns what is known of the name, and remembers that it was asked for.
// The caller holds mu.
func (n *Names) entry(nm name) *entry {
	e, ok := n.table.Get(nm.text) // a DNS name has a dot in it, a key has none
	if !ok {
		e = &entry{name: nm}
		n.table.Add(nm.text, e)
	}
	return e
}

// launch starts a lookup of the name, unless one is under way, which it then
// returns. The caller holds mu.
func (n *Names) launch(e *entry) (*lookup, *Error) {
	switch {
	case e.pending != nil:
		return e.pending, nil
	case n.closed:
		return nil, &Error{Name: e.name.text, Reason: ErrUnavailable, Cause: ErrClosed}
	case n.busy[e.name.kind] >= n.opts.Lookups:
		return nil, &Error{Name: e.name.text, Reason: ErrUnavailable, Detail: "too many names are being looked up"}
	}
	l := &lookup{done: make(chan struct{})}
	e.pending = l
	n.busy[e.name.kind]++
	n.lookups.Add(1)
	go n.run(e, l, e.held)
	return l, nil
}

// run looks the name up and lands what comes of it. It runs on the context of
// Names, so that no visitor's end is another's failure.
func (n *Names) run(e *entry, l *lookup, held *answer) {
	defer n.lookups.Done()
	got, err := n.lookUp(e.name, held)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy[e.name.kind]--
	e.pending = nil
	if err == nil {
		n.succeeded(e, got)
	} else {
		n.failed(e, err)
	}
	l.got, l.expires, l.err = e.held, e.expires, e.err
	close(l.done)
}

// lookUp asks whoever knows names of this kind. What comes from outside is parsed
// on the way: a parser that panics costs one lookup and not the process.
func (n *Names) lookUp(nm name, held *answer) (got *answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			n.log.Error("panic while looking up a name", "name", nm.text, "panic", v, "stack", string(debug.Stack()))
			err = invalid(nm, fmt.Errorf("it cannot be read"))
		}
	}()
	if nm.kind == kindIPNS {
		return n.record(n.life, nm, held)
	}
	return n.dnslink(n.life, nm, held)
}

// succeeded notes an answer. The caller holds mu.
func (n *Names) succeeded(e *entry, got *answer) {
	now := time.Now()
	n.metrics.lookedUp(e.name.kind, outcomeResolved)
	if e.stale {
		n.log.Info("name can be looked up again", "name", e.name.text)
	}
	if got.outrun && !e.held.outrun {
		n.log.Warn("source of IPNS records has an older record than is known here; the newer one is served", "name", e.name.text)
	}
	e.held, e.expires, e.stale = got, now.Add(got.ttl), false
	e.err, e.retry, e.fails = nil, time.Time{}, 0
}

// failed notes a lookup without an answer. The caller holds mu.
func (n *Names) failed(e *entry, err error) {
	le, ok := err.(*lookupError)
	if !ok {
		le = &lookupError{err: &Error{Name: e.name.text, Reason: ErrUnavailable, Cause: err}}
	}
	n.metrics.lookedUp(e.name.kind, outcomeOf(le.err))
	n.log.Debug("name was not resolved", "name", e.name.text, "error", logged(le.err))
	if le.denied {
		e.held, e.stale = nil, false
	}
	pause := retryMax
	if e.fails < 16 {
		pause = min(pause, retry<<e.fails)
	}
	e.fails++
	e.err, e.retry = le.err, time.Now().Add(max(pause, le.wait))
	if le.denied {
		e.retry, e.fails = time.Now().Add(le.wait), 0
	}
}

// clamp brings a TTL into the configured bounds. A negative one is unknown.
func (n *Names) clamp(ttl time.Duration) time.Duration {
	if ttl < 0 {
		ttl = defaultTTL
	}
	return min(max(ttl, minTTL), maxTTL)
}
