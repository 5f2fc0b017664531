package members

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// errSilent ends the session with a member that has not answered for long.
var errSilent = errors.New("no answer to pings")

const (
	// maxSuspectAfter bounds how slow a member may be used to be.
	maxSuspectAfter = 500 * time.Millisecond
	// writeTimeout is how long a message of the member protocol may take to be
	// handed to the connection.
	writeTimeout = time.Second
	// hangUpAfter is how many times LostAfter a lost member keeps its connection,
	// which may come back to life.
	hangUpAfter = 2
	// lagWeight is how much longer members may take for each bit that this process
	// runs late: both sides wait for the processor several times in a round trip.
	lagWeight = 4
	// stall is how late a timer may fire before this process itself counts as
	// held up.
	stall = 40 * time.Millisecond
)

// pinger is the state of a session.
type pinger struct {
	*session
	seq     uint64
	due     time.Time // when the timer should fire
	next    time.Time // when the ticker should fire
	timer   *time.Timer
	listed  uint64 // version of the list that was sent last
	leaving uint64 // the ping that said so
}

// follow pings the member until the stream breaks or it has been silent for too
// long. It says why it ended.
func (s *session) follow() error {
	ctx, cancel := context.WithCancel(s.f.ctx)
	defer cancel()
	pongs, broken := make(chan *frame), make(chan error, 1)
	if !s.f.run(func() { broken <- s.readPongs(ctx, pongs) }) {
		return context.Canceled
	}
	// The reader ends with the stream; keep resets it.
	defer context.AfterFunc(ctx, func() { s.stream.Reset() })()

	p := &pinger{session: s, timer: time.NewTimer(time.Hour), next: time.Now().Add(s.f.pingInterval())}
	defer p.timer.Stop()
	// A member must not look silent because the stream that would show otherwise
	// is gone.
	defer s.f.setPinged(s.m, time.Time{})
	tick := time.NewTimer(s.f.pingInterval())
	defer tick.Stop()
	if !s.hello.Leaving {
		s.f.setState(s.m, Alive, "")
	}
	err := p.ping()
	for err == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-broken:
		case <-tick.C:
			s.f.late(time.Since(p.next))
			p.next = time.Now().Add(s.f.pingInterval())
			if tick.Reset(time.Until(p.next)); s.f.pingedAt(s.m).IsZero() {
				err = p.ping()
			}
		case <-s.m.probe:
			if s.f.pingedAt(s.m).IsZero() {
				err = p.ping()
			}
		case <-s.m.announce:
			err = p.ping()
		case answer := <-pongs:
			p.pong(answer)
		case <-p.timer.C:
			err = p.overdue()
		}
	}
	cancel()
	return err
}

func (s *session) readPongs(ctx context.Context, pongs chan<- *frame) error {
	for {
		answer, err := readFrame(s.in)
		if err != nil {
			return fmt.Errorf("connection broke: %w", err)
		}
		select {
		case pongs <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pingInterval grows with the fleet, so that an edge does not send more than some
// 500 pings a second.
func (f *Fleet) pingInterval() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(f.opts.PingInterval, time.Duration(len(f.byName))*2*time.Millisecond)
}

// ping sends a ping with all news.
func (p *pinger) ping() error {
	p.seq++
	msg := &frame{Ping: p.seq}
	msg.Peers, p.listed = p.f.news(p.listed)
	p.f.mu.Lock()
	msg.Leaving = p.f.leaving
	p.f.mu.Unlock()
	if msg.Leaving && p.leaving == 0 {
		p.leaving = p.seq
	}
	if p.f.pingedAt(p.m).IsZero() {
		p.f.setPinged(p.m, time.Now())
		p.arm(p.f.patience(p.m, p.f.opts.SuspectAfter, maxSuspectAfter))
	}
	p.stream.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := writeFrame(p.stream, msg); err != nil {
		return fmt.Errorf("send ping: %w", err)
	}
	return nil
}

// arm sets the timer to look again after d.
func (p *pinger) arm(d time.Duration) {
	p.due = time.Now().Add(d)
	p.timer.Reset(d)
}

// pong takes an answer.
func (p *pinger) pong(answer *frame) {
	if answer.Pong == p.seq {
		p.f.measured(p.m, time.Since(p.f.pingedAt(p.m)))
		p.f.setPinged(p.m, time.Time{})
		p.timer.Stop()
	}
	p.f.heardFrom(p.m)
	if p.leaving != 0 && answer.Pong >= p.leaving {
		p.m.toldOnce.Do(func() { close(p.m.told) })
	}
	p.f.learn(answer.Peers)
	p.f.resume()
	if s := p.f.State(p.m.id); s != Leaving && s != Left && s != Alive {
		p.f.setState(p.m, Alive, "")
	}
}

// overdue judges a member that has not answered in time.
func (p *pinger) overdue() error {
	now := time.Now()
	if late := now.Sub(p.due); late > stall {
		// Nothing was read in the meantime either: it may have answered long ago.
		p.f.late(late)
		p.arm(p.f.opts.SuspectAfter)
		return nil
	}
	silent, patience := p.f.silence(p.m), p.f.patience(p.m, p.f.opts.SuspectAfter, maxSuspectAfter)
	state := p.f.State(p.m.id)
	switch {
	case silent == 0: // answered
	case silent < patience:
		p.arm(patience - silent)
	case silent < p.f.opts.LostAfter:
		if state == Alive {
			p.f.setState(p.m, Suspect, errSilent.Error())
		}
		p.arm(p.f.opts.LostAfter - silent)
	default:
		if state == Leaving || state == Left {
			// It may hang on its way out, and would keep its connections.
			p.f.host.Network().ClosePeer(p.m.id)
			return errSilent
		}
		p.f.setState(p.m, Lost, errSilent.Error())
		if silent > hangUpAfter*p.f.opts.LostAfter {
			// All connections, since it was silent on all of them. The two sides may
			// have made one each, and what is left of a network that was cut does
			// not carry anything again before TCP's next attempt, which may be half
			// a minute away.
			p.f.host.Network().ClosePeer(p.m.id)
			return errSilent
		}
		p.arm(p.f.opts.LostAfter)
	}
	return nil
}

// silence returns for how long a member has given no sign of life although it was
// asked for one; 0 if nothing is due.
func (f *Fleet) silence(m *member) time.Duration {
	f.mu.Lock()
	since, heard := m.pinged, m.heard
	f.mu.Unlock()
	if since.IsZero() {
		return 0
	}
	if f.cfg.Heard != nil {
		if t := f.cfg.Heard(m.id); t.After(heard) {
			heard = t
		}
	}
	if heard.After(since) {
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

// measured takes the round-trip time of a ping into the member's averages, the way
// TCP does (RFC 6298, section 2).
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
// that is less, at most another. It is longer if the member usually takes longer, and longer if this process gets its turn late, which is when
// the others on the same machine do too.
func (f *Fleet) patience(m *member, least, most time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	usual := max(m.srtt+4*m.rttvar, least)
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

func (f *Fleet) pingedAt(m *member) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.pinged
}

func (f *Fleet) setPinged(m *member, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.pinged = t
}

func (f *Fleet) heardFrom(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.heard = time.Now()
}

// tellLeaving waits until a member knows that this edge is leaving.
func (f *Fleet) tellLeaving(ctx context.Context, m *member) {
	signal(m.announce)
	select {
	case <-m.told:
	case <-ctx.Done():
	case <-f.ctx.Done():
	}
}
