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
	// idleTimeout ends a stream on which a member has not pinged.
	idleTimeout = 30 * time.Second
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

func (f *Fleet) disconnected(_ network.Network, c network.Conn) { f.noGuest(c.RemotePeer()) }

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
		defer s.Reset()
		defer context.AfterFunc(f.ctx, func() { s.Reset() })()
		if err := f.answer(s); err != nil {
			f.log.Debug("swarm: member stream ended", "peer", s.Conn().RemotePeer(), "err", err)
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
	m, no := f.welcome(s.Conn(), first.Hello)
	if no != nil {
		writeFrame(s, &frame{Refused: no})
		s.CloseWrite()
		readFrame(in) // until the other side has read it and hangs up
		s.Conn().Close()
		return no
	}
	if err := writeFrame(s, &frame{Hello: f.hello()}); err != nil {
		return err
	}
	var listed uint64
	for {
		s.SetDeadline(time.Now().Add(idleTimeout))
		msg, err := readFrame(in)
		if err != nil {
			return err
		}
		f.heardFrom(m)
		if msg.Leaving {
			f.leaves(m)
		}
		f.learn(msg.Peers)
		reply := &frame{Pong: msg.Ping}
		reply.Peers, listed = f.news(listed)
		if err := writeFrame(s, reply); err != nil {
			return err
		}
	}
}

// welcome decides about a peer that has introduced itself.
func (f *Fleet) welcome(c network.Conn, h *hello) (*member, *refused) {
	id := c.RemotePeer()
	if h.Version != protocolVersion {
		return nil, &refused{Reason: fmt.Sprintf("protocol version %d here, %d there", protocolVersion, h.Version)}
	}
	if want, err := PeerID(f.opts.Secret, h.Name); err != nil || want != id || h.Name == f.opts.Name {
		f.mu.Lock()
		if len(f.blocked) < 10*maxGuests {
			f.blocked[id] = time.Now()
		}
		f.mu.Unlock()
		f.warn("stranger "+string(id), "swarm: a peer was turned away: its identity does not go with its name and this fleet's secret",
			"name", fmt.Sprintf("%.64s", h.Name), "peer", id, "addr", c.RemoteMultiaddr())
		return nil, &refused{Reason: "identity does not go with the name: another swarm.secret?"}
	}
	f.noGuest(id)
	f.mu.Lock()
	isNew := f.byName[h.Name] == nil
	m, err := f.add(h.Name)
	f.mu.Unlock()
	if err != nil {
		return nil, &refused{Reason: "the fleet is full"}
	}
	if !f.admit(m, h, c) {
		f.warn("twin "+h.Name, "swarm: two edges have the same name; the one that started later was turned away",
			"name", h.Name, "addr", c.RemoteMultiaddr())
		return nil, &refused{Reason: "name " + h.Name + " is taken", Taken: true}
	}
	if isNew {
		f.run(func() { f.keep(m) })
	} else if s := f.State(m.id); s != Alive {
		signal(m.kick)
	}
	return m, nil
}
