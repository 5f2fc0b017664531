package members

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
)

// errSilent is why a member that does not answer counts as lost.
var errSilent = errors.New("no answer")

const (
	// maxSuspectAfter bounds how slow a member may be used to be.
	maxSuspectAfter = 500 * time.Millisecond
	// reconnectTimeout is how long the instance of a member that another one wants to
	// replace may take to answer.
	reconnectTimeout = 300 * time.Millisecond
	// hangUpAfter is how many times LostAfter a lost member keeps its connection,
	// which may come back to life.
	hangUpAfter = 2
	// handshake is how many times longer an answer takes from a member that is not
	// connected.
	handshake = 5
	// lagWeight is how much longer members may take for each bit that this process
	// runs late: both sides wait for the processor several times in a round trip.
	lagWeight = 4
	// maxSlack bounds what a busy machine adds to the time after which a member is lost.
	maxSlack = 5 * time.Second
	// stall is how late a timer may fire before this process itself counts as
	// held up.
	stall = 40 * time.Millisecond
	// fresh is how long a sign of life makes another one superfluous.
	fresh = 20 * time.Millisecond
)

// Probe asks a member for a sign of life at once, if there was none just now. The outcome
// shows in its state.
func (f *Fleet) Probe(id peer.ID) {
	f.mu.Lock()
	m := f.byID[id]
	f.mu.Unlock()
	if m != nil && time.Since(f.heardAt(m)) > fresh {
		f.check(m)
	}
}

// Connect returns when there is a connection with a member on which both sides know each
// other, or an error if there is none to be had.
func (f *Fleet) Connect(ctx context.Context, id peer.ID) error {
	f.mu.Lock()
	m := f.byID[id]
	met := m != nil && m.met
	if m != nil {
		m.used, m.idle = time.Now(), false
	}
	f.mu.Unlock()
	if m == nil {
		return fmt.Errorf("peer %s is not a member", id)
	}
	if met && f.host.Network().Connectedness(id) == network.Connected {
		return nil
	}
	select {
	case <-f.check(m):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !m.met {
		return fmt.Errorf("member %s cannot be reached: %s", m.name, m.info.Detail)
	}
	return nil
}

// check finds out whether a member is there. It returns a channel that is closed when
// that is known. There is one check of a member at a time.
func (f *Fleet) check(m *member) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.checked != nil {
		return m.checked
	}
	done := make(chan struct{})
	if f.closed {
		close(done)
		return done
	}
	m.checked, m.pinged = done, time.Now()
	f.runLocked(func() {
		f.inspect(m)
		f.mu.Lock()
		m.checked, m.pinged = nil, time.Time{}
		f.mu.Unlock()
		close(done)
	})
	return done
}

// inspect says hello to a member and judges it by how long it takes to answer.
func (f *Fleet) inspect(m *member) {
	ctx, cancel := context.WithTimeout(f.ctx, dialTimeout+f.slack())
	defer cancel()
	answered := make(chan error, 1)
	if !f.run(func() { answered <- f.meet(ctx, m) }) {
		return
	}
	patience := f.patience(m, f.opts.SuspectAfter, maxSuspectAfter)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for due := time.Now().Add(patience); ; {
		select {
		case err := <-answered:
			if err != nil && f.ctx.Err() == nil {
				f.missed(m, err)
			}
			return
		case <-timer.C:
			again := f.overdue(m, time.Since(due))
			due = time.Now().Add(again)
			timer.Reset(again)
		}
	}
}

// meet introduces this edge to a member, and makes it known to SWIM there if it is not.
func (f *Fleet) meet(ctx context.Context, m *member) error {
	i, err := f.introduce(ctx, peer.AddrInfo{ID: m.id, Addrs: f.addrs(m)})
	if err != nil {
		return err
	}
	if i.hello.Name != m.name {
		return &refused{Reason: fmt.Sprintf("it calls itself %.64q", i.hello.Name)}
	}
	f.measured(m, i.rtt)
	f.mu.Lock()
	m.heard = time.Now() // whatever follows, it has answered
	f.mu.Unlock()
	if !f.admit(m, i) {
		i.conn.Close()
		return errors.New("another edge has its name")
	}
	f.mu.Lock()
	together := m.swim || i.hello.Leaving
	f.mu.Unlock()
	if together {
		return nil
	}
	return f.swim.join(m.name)
}

// overdue judges a member that has not answered in time, and returns when to look again.
func (f *Fleet) overdue(m *member, late time.Duration) time.Duration {
	if late > stall {
		// Nothing was read in the meantime either: it may have answered long ago.
		f.late(late)
		return f.opts.SuspectAfter
	}
	silent, patience := f.silence(m), f.patience(m, f.opts.SuspectAfter, maxSuspectAfter)
	lost := f.lostAfter(m)
	state := f.State(m.id)
	switch {
	case silent < patience:
		return patience - silent
	case silent < lost:
		if state == Alive {
			f.setState(m, Suspect, errSilent.Error())
		}
		return lost - silent
	case state == Leaving || state == Left:
		// It may hang on its way out, and would keep its connections.
		f.host.Network().ClosePeer(m.id)
	case state == Alive || state == Suspect:
		f.setState(m, Lost, errSilent.Error())
	case silent > hangUpAfter*lost:
		// All connections, since it was silent on all of them. The two sides may
		// have made one each, and what is left of a network that was cut does
		// not carry anything again before TCP's next attempt, which may be half
		// a minute away.
		f.host.Network().ClosePeer(m.id)
	}
	return f.opts.LostAfter
}

// lostAfter is the silence after which a member that does not answer counts as lost. One
// that has to be connected first gets as long as a connection may take, and all get more
// when this process gets its turn late: a busy machine would get busier by redialing.
func (f *Fleet) lostAfter(m *member) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := f.opts.LostAfter
	if !m.met {
		least = max(least, dialTimeout)
	}
	return least + min(lagWeight*f.decayedLag(), maxSlack)
}

// slack is Slack, for where it must have an end.
func (f *Fleet) slack() time.Duration { return min(f.Slack(), maxSlack) }

// missed notes that a member could not be reached, and when to try again.
func (f *Fleet) missed(m *member, err error) {
	var mismatch sec.ErrPeerIDMismatch
	var no *refused
	pause := f.backoff(m)
	switch state := f.State(m.id); {
	case errors.As(err, &no) && no.Taken:
		f.standAside(m.name, no.Reason)
	case errors.As(err, &no):
		f.setState(m, Refused, no.Error())
		f.warn("refused "+m.name, "swarm: a member refuses this edge", "member", m.name, "reason", no.Reason)
		pause = refuseFor
	case errors.As(err, &mismatch):
		f.setState(m, Refused, "somebody else is at its address")
		f.warn("mismatch "+m.name, "swarm: somebody else is at a member's address: it has another name or another swarm.secret",
			"member", m.name, "addrs", f.addrs(m), "want", mismatch.Expected, "got", mismatch.Actual)
		pause = refuseFor
	case state == Connecting:
		f.setState(m, Connecting, err.Error())
	case state == Leaving:
		f.setState(m, Left, err.Error())
	case state == Left:
	default:
		f.setState(m, Lost, err.Error())
		if errors.Is(err, syscall.ECONNREFUSED) {
			f.swim.tellGone(m) // its machine says that nobody listens there
		}
	}
	f.mu.Lock()
	m.next = time.Now().Add(pause)
	f.mu.Unlock()
}

// heardAt returns when a member was last heard of.
func (f *Fleet) heardAt(m *member) time.Time {
	f.mu.Lock()
	heard := m.heard
	f.mu.Unlock()
	if f.cfg.Heard != nil {
		if t := f.cfg.Heard(m.id); t.After(heard) {
			heard = t
		}
	}
	return heard
}

// silence returns for how long a member has given no sign of life although it was
// asked for one; 0 if nothing is due.
func (f *Fleet) silence(m *member) time.Duration {
	f.mu.Lock()
	since := m.pinged
	f.mu.Unlock()
	if since.IsZero() {
		return 0
	}
	if heard := f.heardAt(m); heard.After(since) {
		since = heard
	}
	return max(time.Since(since), 1)
}

// Doubtful reports whether a member has been silent for so long that it is not worth
// while to wait for what it may have to say, even if being wrong about it is costly.
// It is a stronger suspicion than [Suspect], which only has requests go around.
func (f *Fleet) Doubtful(id peer.ID) bool {
	f.mu.Lock()
	m := f.byID[id]
	f.mu.Unlock()
	if m == nil {
		return true
	}
	switch f.State(id) {
	case Alive, Suspect, Leaving:
		return f.silence(m) > f.patience(m, f.opts.DoubtAfter, f.opts.LostAfter)
	}
	return true
}

// Patience returns how long a member may take until it is heard of, given how busy it
// and this process are: what [Fleet.Doubtful] compares a silence with.
func (f *Fleet) Patience(id peer.ID) time.Duration {
	f.mu.Lock()
	m := f.byID[id]
	f.mu.Unlock()
	if m == nil {
		return f.opts.DoubtAfter
	}
	return f.patience(m, f.opts.DoubtAfter, f.opts.LostAfter)
}

// Slack returns how much longer than usual anything may take because this process gets
// its turn late: then others are not to blame for a silence.
func (f *Fleet) Slack() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return lagWeight * f.decayedLag()
}

// Absent reports whether a member is not there at all.
func (f *Fleet) Absent(id peer.ID) bool {
	switch f.State(id) {
	case Alive, Suspect, Leaving:
		return false
	}
	return true
}

// measured takes a round-trip time into the member's averages, the way TCP does
// (RFC 6298, section 2).
func (f *Fleet) measured(m *member, rtt time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.srtt == 0 {
		m.srtt, m.rttvar = rtt, rtt/2
		return
	}
	m.rttvar += ((m.srtt - rtt).Abs() - m.rttvar) / 4
	m.srtt += (rtt - m.srtt) / 8
}

// patience is how long a member may take to answer: at least one given time and, if
// that is less, at most another. It is longer if the member usually takes longer or has
// no connection, and if this process gets its turn late, which is when the others on the
// same machine do too.
func (f *Fleet) patience(m *member, least, most time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	usual := m.srtt + 4*m.rttvar
	if !m.met {
		usual *= handshake
	}
	usual = max(usual, least)
	return min(usual+lagWeight*f.decayedLag(), max(most, least))
}

// late notes how late a timer of this process has fired.
func (f *Fleet) late(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lag, f.lagAt = max(by, f.decayedLag()), time.Now()
}

// decayedLag is the largest recent lag; it counts half after each second. f.mu is
// held.
func (f *Fleet) decayedLag() time.Duration {
	return time.Duration(float64(f.lag) * math.Exp2(-time.Since(f.lagAt).Seconds()))
}
