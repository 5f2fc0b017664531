package members

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

// Protocol is the member protocol's ID.
const Protocol protocol.ID = "/shoal/member/1"

const (
	dialTimeout  = 3 * time.Second
	helloTimeout = 3 * time.Second
	// reconnectTimeout is how long a member whose stream broke may take to be
	// reached again before it counts as lost.
	reconnectTimeout = 300 * time.Millisecond
	// refuseFor is how long somebody who does not belong here is left alone.
	refuseFor  = 30 * time.Second
	firstPause = 50 * time.Millisecond
)

// keep stays in touch with a member until the fleet closes or forgets it.
func (f *Fleet) keep(m *member) {
	timeout, pause := dialTimeout, firstPause
	for {
		s, err := f.reach(m, timeout)
		timeout = dialTimeout
		switch {
		case err == nil:
			err = s.follow()
			s.stream.Reset()
			pause = firstPause
			if f.ctx.Err() == nil && f.broke(m, err) {
				timeout = reconnectTimeout
				continue
			}
		case f.ctx.Err() == nil:
			pause = f.missed(m, err, pause)
		}
		select {
		case <-f.ctx.Done():
			return
		case <-m.kick:
		case <-time.After(pause):
		}
		f.mu.Lock()
		forgotten := f.byName[m.name] != m
		f.mu.Unlock()
		if forgotten {
			return
		}
	}
}

// broke notes that the stream to a member has ended, and reports whether it is
// worth while to open another at once.
func (f *Fleet) broke(m *member, err error) bool {
	if s := f.State(m.id); s == Leaving || s == Left {
		if f.host.Network().Connectedness(m.id) != network.Connected {
			f.setState(m, Left, err.Error())
		}
		return false
	}
	if errors.Is(err, errSilent) || f.host.Network().Connectedness(m.id) != network.Connected {
		f.setState(m, Lost, err.Error())
		return !errors.Is(err, errSilent)
	}
	f.setState(m, Suspect, err.Error())
	return true
}

// missed notes that a member could not be reached, and returns how long to wait
// before the next attempt.
func (f *Fleet) missed(m *member, err error, pause time.Duration) time.Duration {
	var mismatch sec.ErrPeerIDMismatch
	var no *refused
	switch state := f.State(m.id); {
	case errors.As(err, &no) && no.Taken:
		f.standAside(m.name, no.Reason)
		return f.opts.RedialAfter
	case errors.As(err, &no):
		f.setState(m, Refused, no.Error())
		f.warn("refused "+m.name, "swarm: a member refuses this edge", "member", m.name, "reason", no.Reason)
		return refuseFor
	case errors.As(err, &mismatch):
		f.setState(m, Refused, "somebody else is at its address")
		f.warn("mismatch "+m.name, "swarm: somebody else is at a member's address: it has another name or another swarm.secret",
			"member", m.name, "addrs", f.addrs(m), "want", mismatch.Expected, "got", mismatch.Actual)
		return refuseFor
	case state == Connecting:
		f.setState(m, Connecting, err.Error())
	case state == Leaving:
		f.setState(m, Left, err.Error())
	case state == Left:
	default:
		f.setState(m, Lost, err.Error())
	}
	return min(2*pause, f.opts.RedialAfter)
}

func (f *Fleet) addrs(m *member) []ma.Multiaddr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(append([]ma.Multiaddr(nil), m.static...), m.learned...)
}

// session is the stream that this edge has opened to a member.
type session struct {
	f      *Fleet
	m      *member
	stream network.Stream
	in     *bufio.Reader
	hello  *hello // what the member said
}

// reach connects to a member and introduces this edge. If the member accepts, it
// is noted as alive.
func (f *Fleet) reach(m *member, timeout time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(f.ctx, timeout)
	defer cancel()
	stream, in, h, err := f.introduce(ctx, peer.AddrInfo{ID: m.id, Addrs: f.addrs(m)})
	if err != nil {
		return nil, err
	}
	if h.Name != m.name {
		stream.Reset()
		return nil, &refused{Reason: fmt.Sprintf("it calls itself %.64q", h.Name)}
	}
	if !f.admit(m, h, stream.Conn()) {
		stream.Reset()
		stream.Conn().Close()
		return nil, errors.New("another edge has its name")
	}
	return &session{f: f, m: m, stream: stream, in: in, hello: h}, nil
}

// introduce opens a stream to a peer, says hello and returns the other's.
func (f *Fleet) introduce(ctx context.Context, info peer.AddrInfo) (network.Stream, *bufio.Reader, *hello, error) {
	if n, ok := f.host.Network().(*swarm.Swarm); ok {
		n.Backoff().Clear(info.ID) // the pauses are ours to make
	}
	if err := f.host.Connect(ctx, info); err != nil {
		return nil, nil, nil, err
	}
	stream, err := f.host.Network().NewStream(network.WithNoDial(ctx, "member"), info.ID)
	if err != nil {
		return nil, nil, nil, err
	}
	asked := time.Now()
	forget := context.AfterFunc(ctx, func() { stream.Reset() })
	in := newBuffered(stream)
	answer, err := f.greet(stream, in)
	if !forget() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		stream.Reset()
		if time.Since(asked) > f.opts.LostAfter && f.ctx.Err() == nil {
			// It may be left over from a network that was cut. While it counts as
			// open, everything for the member goes there.
			stream.Conn().Close()
		}
		return nil, nil, nil, err
	}
	return stream, in, answer, nil
}

// greet has the other side agree on the protocol and exchanges hellos.
func (f *Fleet) greet(s network.Stream, in *bufio.Reader) (*hello, error) {
	if err := s.SetProtocol(Protocol); err != nil {
		return nil, err
	}
	if err := multistream.SelectProtoOrFail(Protocol, s); err != nil {
		return nil, fmt.Errorf("agree on %s: %w", Protocol, err)
	}
	if err := writeFrame(s, &frame{Hello: f.hello()}); err != nil {
		return nil, fmt.Errorf("say hello: %w", err)
	}
	answer, err := readFrame(in)
	switch {
	case err != nil:
		return nil, fmt.Errorf("wait for hello: %w", err)
	case answer.Refused != nil:
		return nil, answer.Refused
	case answer.Hello == nil:
		return nil, errors.New("wait for hello: got something else")
	}
	return answer.Hello, nil
}

// admit takes over what a member says of itself. It reports false if another
// instance has the name.
func (f *Fleet) admit(m *member, h *hello, conn network.Conn) bool {
	f.mu.Lock()
	now := time.Now()
	alive := m.info.InRing() && now.Sub(m.heard) < f.opts.LostAfter
	var other network.Conn
	if alive && m.instance != h.Instance {
		if !h.Instance.before(m.instance) {
			f.mu.Unlock()
			return false
		}
		other = m.conn
	}
	m.instance, m.heard, m.conn = h.Instance, now, conn
	addrs := parseAddrs(h.Addrs)
	if seen := observed(conn.RemoteMultiaddr(), addrs); seen != nil {
		addrs = append([]ma.Multiaddr{seen}, addrs...)
	}
	m.setLearned(addrs)
	changed := m.info.Weight != h.Weight || m.info.Zone != h.Zone
	m.info.Weight, m.info.Zone = h.Weight, h.Zone
	if len(addrs) > 0 {
		m.info.Addr = addrs[0].String()
	}
	f.mu.Unlock()
	if other != nil {
		other.Close()
	}
	if changed {
		f.touch()
	}
	if h.Leaving {
		f.leaves(m)
	}
	return true
}

// leaves notes that a member is about to stop. One that has left is not taken back
// before it has started again.
func (f *Fleet) leaves(m *member) {
	if f.State(m.id) != Left {
		f.setState(m, Leaving, "it said so")
	}
}

// observed puts the port that a member listens on behind the address that it was
// seen at, which is the one that works from here.
func observed(remote ma.Multiaddr, announced []ma.Multiaddr) ma.Multiaddr {
	for _, a := range announced {
		port, err := a.ValueForProtocol(ma.P_TCP)
		if err != nil {
			continue
		}
		for _, ip := range []int{ma.P_IP4, ma.P_IP6} {
			if host, err := remote.ValueForProtocol(ip); err == nil {
				seen, err := ma.NewMultiaddr("/" + ma.ProtocolWithCode(ip).Name + "/" + host + "/tcp/" + port)
				if err == nil {
					return seen
				}
			}
		}
	}
	return nil
}

// standAside notes that another edge has this edge's name.
func (f *Fleet) standAside(member, reason string) {
	f.mu.Lock()
	first := f.aside.IsZero()
	f.aside, f.asideWhy = time.Now(), reason
	f.mu.Unlock()
	if first {
		f.log.Error("swarm: another edge of the fleet has this edge's name; standing aside until it is free. Give each edge a name of its own",
			"name", f.opts.Name, "told_by", member, "reason", reason)
		f.touch()
	}
}

// asideFor is for how long nobody may have refused this edge before it takes its
// name again.
const asideFor = 5 * time.Second

// resume ends standing aside when the name is free.
func (f *Fleet) resume() {
	f.mu.Lock()
	free := !f.aside.IsZero() && time.Since(f.aside) > asideFor
	if free {
		f.aside, f.asideWhy = time.Time{}, ""
	}
	f.mu.Unlock()
	if free {
		f.log.Info("swarm: the name is free again", "name", f.opts.Name)
		f.touch()
	}
}
