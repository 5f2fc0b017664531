package members

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// member is one other edge. Its fields are guarded by Fleet.mu.
type member struct {
	name    string
	id      peer.ID
	static  []ma.Multiaddr
	learned []ma.Multiaddr
	info    Info

	instance instance
	meta     string         // what SWIM says of it
	swim     bool           // SWIM counts it as there
	packets  netip.AddrPort // where SWIM's packets for it go
	told     bool           // that it is gone, see swim.tellGone

	heard   time.Time
	pinged  time.Time     // when the hello was sent that is not answered; zero if all are
	srtt    time.Duration // smoothed round trip and its mean deviation
	rttvar  time.Duration
	conn    network.Conn // that its last hello came on
	met     bool         // it is connected, and both sides know each other
	used    time.Time    // when something else than this package last needed a connection
	offered time.Time    // when it was last offered to close it
	idle    bool         // its connections are closed because nobody needs them

	checked chan struct{} // closed when the check that is going on has ended; nil if there is none
	next    time.Time     // when it may be dialed again
	pause   time.Duration // before the attempt after that
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
		info: Info{Name: name, ID: id, Peer: id.String(), State: Connecting, Since: time.Now()},
	}
	f.byName[name], f.byID[id] = m, m
	signal(f.kick)
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
	if s == Alive {
		m.pause, m.told = 0, false
	}
	signal(f.kick)
	f.mu.Unlock()
	switch {
	case s == Alive && old != Suspect:
		f.log.Info("swarm: member joined", "member", m.name, "peer", m.id)
	case s == Lost, s == Leaving, s == Left:
		f.log.Info("swarm: member gone", "member", m.name, "state", s, "reason", detail)
	}
	f.touch()
}

// profile is what this edge says of itself.
func (f *Fleet) profile() profile {
	p := profile{Zone: f.opts.Zone, Weight: f.opts.Weight, Instance: f.me, Packets: f.swim.port()}
	addrs := f.host.Addrs()
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int {
		return cmp.Compare(btoi(manet.IsIPLoopback(a)), btoi(manet.IsIPLoopback(b)))
	})
	for _, a := range addrs[:min(len(addrs), maxAddrs)] {
		p.Addrs = append(p.Addrs, a.String())
	}
	f.mu.Lock()
	p.Leaving = f.leaving
	f.mu.Unlock()
	return p
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// take notes what a member says of itself, and reports whether others care. f.mu is held.
func (f *Fleet) take(m *member, said *profile) (changed bool) {
	addrs := parseAddrs(said.Addrs)
	if m.conn != nil {
		if seen := observed(m.conn.RemoteMultiaddr(), addrs); seen != nil {
			addrs = append([]ma.Multiaddr{seen}, addrs...)
		}
	}
	before := m.info
	m.setLearned(addrs)
	if len(addrs) > 0 {
		m.info.Addr = addrs[0].String()
	}
	m.packets = f.packetAddr(m.conn, said)
	m.instance, m.info.Weight, m.info.Zone = said.Instance, said.Weight, said.Zone
	return !reflect.DeepEqual(before, m.info)
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

// packetAddr returns where SWIM's packets for a member go: to the host that it is
// connected from, or else to the first one that it announces.
func (f *Fleet) packetAddr(conn network.Conn, said *profile) netip.AddrPort {
	addrs := parseAddrs(said.Addrs)
	if conn != nil {
		addrs = append([]ma.Multiaddr{conn.RemoteMultiaddr()}, addrs...)
	}
	for _, a := range addrs {
		if ip, err := manet.ToIP(a); err == nil {
			if addr, ok := netip.AddrFromSlice(ip); ok {
				return netip.AddrPortFrom(addr.Unmap(), said.Packets)
			}
		}
	}
	return netip.AddrPort{}
}

func (f *Fleet) addrs(m *member) []ma.Multiaddr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Concat(m.static, m.learned)
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
const maxAddrs = 8

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
