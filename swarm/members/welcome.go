package members

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxGuests is how many unknown peers may be connected at once, and guestFor
	// how long each may take to say who it is.
	maxGuests = 64
	guestFor  = 5 * time.Second
	// refuseFor is how long somebody who does not belong here is left alone.
	refuseFor = 30 * time.Second
)

// guest is a connected peer that has not said who it is.
type guest struct{ timer *time.Timer }

// Permit reports whether a connection with a peer may be made or accepted. known
// says that the peer is welcome for other reasons than membership.
func (f *Fleet) Permit(dir network.Direction, id peer.ID, isKnown bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case id == f.host.ID() || f.closed:
		return false
	case isKnown || f.byID[id] != nil || f.probing[id]:
		return true
	case dir == network.DirOutbound:
		return false
	}
	if since, blocked := f.blocked[id]; blocked && time.Since(since) < refuseFor {
		return false
	}
	return len(f.guests) < maxGuests
}

// connected gives a peer that is not known some time to say who it is.
func (f *Fleet) connected(_ network.Network, c network.Conn) {
	id := c.RemotePeer()
	if f.cfg.Known != nil && f.cfg.Known(id) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.byID[id] != nil || f.probing[id] || f.guests[id] != nil {
		return
	}
	f.guests[id] = &guest{time.AfterFunc(guestFor, func() {
		f.mu.Lock()
		_, waiting := f.guests[id]
		delete(f.guests, id)
		f.mu.Unlock()
		if waiting {
			f.host.Network().ClosePeer(id)
		}
	})}
}

// disconnected takes the end of a member's last connection for its end: as a rule it
// was killed. Whether it can be reached after all is found out at once.
func (f *Fleet) disconnected(_ network.Network, c network.Conn) {
	id := c.RemotePeer()
	f.noGuest(id)
	if f.host.Network().Connectedness(id) == network.Connected {
		return
	}
	f.mu.Lock()
	m := f.byID[id]
	if m == nil || f.closed {
		f.mu.Unlock()
		return
	}
	idle := m.idle
	m.met, m.conn, m.idle = false, nil, false
	state := m.info.State
	f.mu.Unlock()
	switch {
	case idle:
	case state == Leaving:
		f.setState(m, Left, "its connections have ended")
	case state == Alive || state == Suspect:
		f.setState(m, Lost, "its connection broke")
		f.check(m)
	}
}

func (f *Fleet) noGuest(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.guests[id]; g != nil {
		g.timer.Stop()
		delete(f.guests, id)
	}
}

// handle answers on a stream that another edge has opened.
func (f *Fleet) handle(s network.Stream) {
	if !f.run(func() {
		defer s.Close()
		defer context.AfterFunc(f.ctx, func() { s.Reset() })()
		if err := f.answer(s); err != nil {
			f.log.Debug("swarm: a hello was not answered", "peer", s.Conn().RemotePeer(), "err", err)
			s.Reset()
		}
	}) {
		s.Reset()
	}
}

func (f *Fleet) answer(s network.Stream) error {
	s.SetDeadline(time.Now().Add(helloTimeout))
	in := newBuffered(s)
	first, err := readFrame(in)
	if err != nil {
		return err
	}
	if first.Hello == nil {
		return fmt.Errorf("said no hello")
	}
	if no := f.welcome(s.Conn(), first.Hello); no != nil {
		writeFrame(s, &frame{Refused: no})
		s.CloseWrite()
		readFrame(in) // until the other side has read it and hangs up
		s.Conn().Close()
		return no
	}
	own := f.hello()
	own.Idle = first.Hello.Idle && f.consents(s.Conn().RemotePeer())
	return writeFrame(s, &frame{Hello: own})
}

// welcome decides about a peer that has introduced itself.
func (f *Fleet) welcome(c network.Conn, h *hello) *refused {
	id := c.RemotePeer()
	if h.Version != protocolVersion {
		f.warn("version "+string(id), "swarm: an edge of another release was turned away: update all edges of the fleet",
			"name", fmt.Sprintf("%.64s", h.Name), "addr", c.RemoteMultiaddr(), "its_protocol", h.Version, "own_protocol", protocolVersion)
		return &refused{Reason: fmt.Sprintf("member protocol version %d here, %d there: all edges of a fleet need the same release", protocolVersion, h.Version)}
	}
	if want, err := PeerID(f.opts.Secret, h.Name); err != nil || want != id || h.Name == f.opts.Name {
		f.mu.Lock()
		if len(f.blocked) < 10*maxGuests {
			f.blocked[id] = time.Now()
		}
		f.mu.Unlock()
		f.warn("stranger "+string(id), "swarm: a peer was turned away: its identity does not go with its name and this fleet's secret",
			"name", fmt.Sprintf("%.64s", h.Name), "peer", id, "addr", c.RemoteMultiaddr())
		return &refused{Reason: "identity does not go with the name: another swarm.secret?"}
	}
	f.noGuest(id)
	f.mu.Lock()
	m, err := f.add(h.Name)
	f.mu.Unlock()
	if err != nil {
		return &refused{Reason: "the fleet is full"}
	}
	if !f.admit(m, &introduction{hello: h, conn: c}) {
		f.warn("twin "+h.Name, "swarm: two edges have the same name; the one that started later was turned away",
			"name", h.Name, "addr", c.RemoteMultiaddr())
		return &refused{Reason: "name " + h.Name + " is taken", Taken: true}
	}
	return nil
}

// admit takes over what a member says of itself in a hello, which also shows that it is
// there. It reports false if another instance has the name.
func (f *Fleet) admit(m *member, i *introduction) bool {
	said := i.hello.profile
	f.mu.Lock()
	rival := m.info.InRing() && m.instance != instance{} && m.instance != said.Instance
	f.mu.Unlock()
	if rival && f.stillThere(m, i) {
		f.mu.Lock()
		other := m.conn
		first := m.instance.before(said.Instance)
		f.mu.Unlock()
		if first {
			return false
		}
		if other != nil && other != i.conn {
			other.Close()
		}
	}
	f.mu.Lock()
	m.conn, m.heard, m.met = i.conn, time.Now(), true
	changed := f.take(m, &said)
	f.mu.Unlock()
	switch {
	case said.Leaving:
		f.leaves(m)
	default:
		f.setState(m, Alive, "")
	}
	if changed {
		f.touch()
	}
	return true
}

// stillThere reports whether the instance of a member that is known goes on answering,
// now that another one has introduced itself: on its own connection, or else to a packet.
func (f *Fleet) stillThere(m *member, other *introduction) bool {
	f.mu.Lock()
	known, conn, packets := m.instance, m.conn, m.packets
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(f.ctx, reconnectTimeout)
	defer cancel()
	if conn == nil || conn == other.conn || conn.IsClosed() {
		// Two processes cannot have one address.
		return packets != f.packetAddr(other.conn, &other.hello.profile) && f.swim.answers(m.name, packets)
	}
	stream, err := conn.NewStream(ctx)
	if err != nil {
		return false
	}
	defer stream.Reset()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	h, err := greet(stream, f.hello())
	return err == nil && h.Instance == known
}

// leaves notes that a member is about to stop. One that has left is not taken back
// before it has started again.
func (f *Fleet) leaves(m *member) {
	if f.State(m.id) != Left {
		f.setState(m, Leaving, "it said so")
	}
}
