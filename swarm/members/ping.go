package members

import (
	"context"
	"errors"
	"fmt"
	"time"
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
	// stall is how late a timer may fire before this process itself counts as
	// held up.
	stall = 40 * time.Millisecond
)

// pinger is the state of a session.
type pinger struct {
	*session
	seq     uint64
	sent    time.Time // of the unanswered ping; zero if there is none
	due     time.Time // when the timer should fire
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

	p := &pinger{session: s, timer: time.NewTimer(time.Hour)}
	defer p.timer.Stop()
	tick := time.NewTicker(s.f.pingInterval())
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
			if tick.Reset(s.f.pingInterval()); p.sent.IsZero() {
				err = p.ping()
			}
		case <-s.m.probe:
			if p.sent.IsZero() {
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
	if p.sent.IsZero() {
		p.sent = time.Now()
		p.arm(p.f.patience(p.m))
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
		p.f.measured(p.m, time.Since(p.sent))
		p.sent = time.Time{}
		p.timer.Stop()
	}
	p.f.heardFrom(p.m)
	if p.leaving != 0 && answer.Pong >= p.leaving {
		p.m.toldOnce.Do(func() { close(p.m.told) })
	}
	p.f.learn(answer.Peers)
	p.f.resume()
	if s := p.f.State(p.m.id); s != Leaving && s != Alive {
		p.f.setState(p.m, Alive, "")
	}
}

// overdue judges a member that has not answered in time.
func (p *pinger) overdue() error {
	if p.sent.IsZero() {
		return nil
	}
	now := time.Now()
	if now.Sub(p.due) > stall {
		// Nothing was read in the meantime either: it may have answered long ago.
		p.arm(p.f.opts.SuspectAfter)
		return nil
	}
	p.f.mu.Lock()
	last := p.m.heard
	p.f.mu.Unlock()
	if p.f.cfg.Heard != nil {
		if t := p.f.cfg.Heard(p.m.id); t.After(last) {
			last = t
		}
	}
	if last.Before(p.sent) {
		last = p.sent
	}
	silent, patience := now.Sub(last), p.f.patience(p.m)
	state := p.f.State(p.m.id)
	switch {
	case silent < patience:
		p.arm(patience - silent)
	case silent < p.f.opts.LostAfter:
		if state == Alive {
			p.f.setState(p.m, Suspect, errSilent.Error())
		}
		p.arm(p.f.opts.LostAfter - silent)
	default:
		if state != Leaving {
			p.f.setState(p.m, Lost, errSilent.Error())
		}
		if silent > hangUpAfter*p.f.opts.LostAfter {
			p.stream.Conn().Close()
			return errSilent
		}
		p.arm(p.f.opts.LostAfter)
	}
	return nil
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

// patience is how long a member may take to answer before it is suspect.
func (f *Fleet) patience(m *member) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(max(m.srtt+4*m.rttvar, f.opts.SuspectAfter), maxSuspectAfter)
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
