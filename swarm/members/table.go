package members

import (
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// member is one other edge. Its fields are guarded by Fleet.mu.
type member struct {
	name    string
	id      peer.ID
	static  []ma.Multiaddr
	learned []ma.Multiaddr
	info    Info

	instance instance
	heard    time.Time
	pinged   time.Time     // when the ping was sent that is not answered; zero if all are
	srtt     time.Duration // smoothed round trip and its mean deviation
	rttvar   time.Duration
	conn     network.Conn // that the stream to it runs on

	kick     chan struct{} // try now
	probe    chan struct{} // ping now
	announce chan struct{} // send what is new
	told     chan struct{} // closed when it knows that this edge is leaving
	toldOnce sync.Once
}

// add puts a name into the table. f.mu is held, or f is not shared yet.
func (f *Fleet) add(name string) (*member, error) {
	if m := f.byName[name]; m != nil {
		return m, nil
	}
	if len(f.byName) >= f.opts.Max {
		return nil, fmt.Errorf("member %s: the fleet has %d members already", name, len(f.byName))
	}
	id, err := PeerID(f.opts.Secret, name)
	if err != nil {
		return nil, err
	}
	m := &member{
		name: name, id: id,
		info: Info{Name: name, ID: id, State: Connecting, Since: time.Now()},
		kick: make(chan struct{}, 1), probe: make(chan struct{}, 1), announce: make(chan struct{}, 1),
		told: make(chan struct{}),
	}
	f.byName[name], f.byID[id] = m, m
	return m, nil
}

// setState notes what became of a member. detail says why, for an operator.
func (f *Fleet) setState(m *member, s State, detail string) {
	f.mu.Lock()
	old := m.info.State
	m.info.Detail = detail
	if old == s {
		f.mu.Unlock()
		return
	}
	m.info.State, m.info.Since = s, time.Now()
	// Going in or out of the list is news for the others.
	if (old == Alive || old == Suspect) != (s == Alive || s == Suspect) {
		f.version++
		for _, other := range f.byName {
			signal(other.announce)
		}
	}
	f.mu.Unlock()
	switch {
	case s == Alive && old != Suspect:
		f.log.Info("swarm: member joined", "member", m.name, "peer", m.id)
	case s == Lost, s == Leaving, s == Left:
		f.log.Info("swarm: member gone", "member", m.name, "state", s, "reason", detail)
	}
	f.touch()
}

// hello introduces this edge. f.mu is not held.
func (f *Fleet) hello() *hello {
	h := &hello{Version: protocolVersion, Name: f.opts.Name, Zone: f.opts.Zone, Weight: f.opts.Weight, Instance: f.me}
	for _, a := range f.host.Addrs() {
		h.Addrs = append(h.Addrs, a.String())
	}
	f.mu.Lock()
	h.Leaving = f.leaving
	f.mu.Unlock()
	return h
}

// news returns the members to tell somebody who has seen the list of version
// since, and the version of what is returned; nil if there is nothing new.
func (f *Fleet) news(since uint64) ([]known, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since == f.version {
		return nil, since
	}
	var list []known
	for _, m := range f.byName {
		if !m.info.InRing() {
			continue
		}
		k := known{Name: m.name}
		for _, a := range m.learned {
			k.Addrs = append(k.Addrs, a.String())
		}
		list = append(list, k)
	}
	return list, f.version
}

// learn takes up members that another one knows of.
func (f *Fleet) learn(list []known) {
	for _, k := range list {
		if k.Name == f.opts.Name || CheckName(k.Name) != nil {
			continue
		}
		f.mu.Lock()
		m := f.byName[k.Name]
		isNew := m == nil
		if isNew {
			var err error
			if m, err = f.add(k.Name); err != nil {
				f.mu.Unlock()
				f.warn("full", "swarm: member ignored", "member", k.Name, "err", err)
				continue
			}
		}
		// What a member says of itself counts for more.
		if !m.info.InRing() {
			m.setLearned(parseAddrs(k.Addrs))
		}
		f.mu.Unlock()
		if isNew {
			f.run(func() { f.keep(m) })
		}
	}
}

func (m *member) setLearned(addrs []ma.Multiaddr) {
	if len(addrs) == 0 {
		return
	}
	m.learned = addrs
	if len(m.static) == 0 {
		m.info.Addr = addrs[0].String()
	}
}

// maxAddrs is how many addresses of a member are kept.
const maxAddrs = 16

func parseAddrs(list []string) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, s := range list[:min(len(list), maxAddrs)] {
		if a, err := ma.NewMultiaddr(s); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

const (
	// forgetAfter is how long a lost member is dialed that nobody configured.
	forgetAfter = 10 * time.Minute
	// leaveWithin is how long a member may be about to stop. One that has not stopped
	// by then counts as having left.
	leaveWithin = 10 * time.Minute
)

// sweep forgets what has had its time.
func (f *Fleet) sweep() {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case now := <-tick.C:
			f.sweepAt(now)
		}
	}
}

func (f *Fleet) sweepAt(now time.Time) {
	f.mu.Lock()
	var overstayed []*member
	for name, m := range f.byName {
		if m.info.State == Leaving && now.Sub(m.info.Since) > leaveWithin {
			overstayed = append(overstayed, m)
		} else if len(m.static) == 0 && !m.info.InRing() && now.Sub(m.info.Since) > forgetAfter {
			delete(f.byName, name)
			delete(f.byID, m.id)
			signal(m.kick)
		}
	}
	forgetOld(f.blocked, now, refuseFor)
	forgetOld(f.warned, now, warnEvery)
	f.mu.Unlock()
	for _, m := range overstayed {
		f.setState(m, Left, "it did not stop in time")
	}
}

func forgetOld[K comparable](m map[K]time.Time, now time.Time, age time.Duration) {
	for k, t := range m {
		if now.Sub(t) > age {
			delete(m, k)
		}
	}
}
