package members

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// swim is the fleet's SWIM engine, hashicorp/memberlist, and what it tells this package.
// memberlist holds a lock of its own while it calls back, so nothing here calls it while
// Fleet.mu is held.
type swim struct {
	f         *Fleet
	transport *transport
	config    *memberlist.Config
	news      *memberlist.TransmitLimitedQueue // about members that are gone
	engine    *memberlist.Memberlist
	contested int // how often this edge's name was claimed by an older instance
}

const (
	// swimTimeout bounds what is exchanged on a stream.
	swimTimeout = 5 * time.Second
	// joinAddr stands for every address in what memberlist is told: it finds members by
	// name, and this package knows where they are.
	joinAddr = "127.0.0.1:1"
	// maxContest is how often an older instance's claim to this edge's name is taken for
	// what others remember of a process that is no more.
	maxContest = 3
)

func newSWIM(f *Fleet) (*swim, error) {
	key, err := hkdf.Key(sha256.New, []byte(f.opts.Secret), []byte("shoal swarm packets 1"), "", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the fleet's packets: %w", err)
	}
	s := &swim{f: f}
	if s.transport, err = newTransport(f); err != nil {
		return nil, err
	}
	s.news = &memberlist.TransmitLimitedQueue{RetransmitMult: 3, NumNodes: f.size}
	c := tuned()
	c.Name, c.Transport, c.SecretKey = f.opts.Name, s.transport, key
	c.Delegate, c.Events, c.Alive, c.Ping = s, s, s, s
	c.Logger = log.New(swimLog{f}, "", 0)
	s.config = c
	return s, nil
}

// tuned is memberlist as it runs in a fleet. One member is probed a second, gossip goes
// to three, five times a second when there is news, and all is exchanged with one every
// five seconds, more seldom above 32 members.
func tuned() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.RequireNodeNames = true
	c.TCPTimeout, c.PushPullInterval = swimTimeout, 5*time.Second
	c.EnableCompression = false // it takes 64 KiB for each packet
	return c
}

// create makes the engine, which hears nothing before the transport listens.
func (s *swim) create() (err error) {
	if s.engine, err = memberlist.Create(s.config); err != nil {
		return fmt.Errorf("swarm: start SWIM: %w", err)
	}
	return nil
}

func (s *swim) stop() {
	if s.engine != nil {
		s.engine.Shutdown()
	}
	s.transport.Shutdown()
}

// port returns the UDP port of this edge.
func (s *swim) port() uint16 { return s.transport.port }

// join has this edge and a member exchange all that they know of the fleet.
func (s *swim) join(name string) error {
	if _, err := s.engine.Join([]string{name + "/" + joinAddr}); err != nil {
		return fmt.Errorf("exchange members: %w", err)
	}
	return nil
}

// updateWithin is how long SWIM takes to send something to enough members.
const updateWithin = 2 * time.Second

// update spreads what this edge now says of itself, and if asked to waits until SWIM has
// sent it to enough members.
func (s *swim) update(wait bool) {
	within := time.Nanosecond
	if wait {
		within = updateWithin
	}
	s.engine.UpdateNode(within) // the error is that it takes longer
}

// answers reports whether a member answers a packet at an address.
func (s *swim) answers(name string, at netip.AddrPort) bool {
	if !at.IsValid() {
		return false
	}
	_, err := s.engine.Ping(name, net.UDPAddrFromAddrPort(at))
	return err == nil
}

// gone tells others that a member's process does not answer. They believe nobody: each
// looks for itself, at once instead of when SWIM has come round to it.
type gone struct {
	Name     string   `json:"gone"`
	Instance instance `json:"i"`
}

func (s *swim) tellGone(m *member) {
	s.f.mu.Lock()
	first := m.swim && !m.told
	m.told = m.told || first
	g := gone{m.name, m.instance}
	s.f.mu.Unlock()
	if !first {
		return
	}
	if text, err := json.Marshal(g); err == nil {
		s.news.QueueBroadcast(&announcement{g.Name, text})
	}
}

// announcement is a message for everyone; a newer one about the same member replaces it.
type announcement struct {
	about string
	text  []byte
}

func (a *announcement) Invalidates(b memberlist.Broadcast) bool {
	old, ok := b.(*announcement)
	return ok && old.about == a.about
}

func (a *announcement) Name() string    { return a.about }
func (a *announcement) Message() []byte { return a.text }
func (a *announcement) Finished()       {}

// NotifyMsg takes in what another edge announces.
func (s *swim) NotifyMsg(text []byte) {
	var g gone
	if len(text) > memberlist.MetaMaxSize || json.Unmarshal(text, &g) != nil {
		return
	}
	s.f.mu.Lock()
	m := s.f.byName[g.Name]
	look := m != nil && m.info.InRing() && m.instance == g.Instance
	s.f.mu.Unlock()
	if look {
		s.f.check(m)
	}
}

// GetBroadcasts returns what there is to announce.
func (s *swim) GetBroadcasts(overhead, limit int) [][]byte {
	return s.news.GetBroadcasts(overhead, limit)
}

// NodeMeta returns what this edge says of itself.
func (s *swim) NodeMeta(int) []byte {
	meta, err := s.f.meta()
	if err != nil {
		s.f.warn("meta", "swarm: this edge cannot say where it is", "err", err)
	}
	return meta
}

// LocalState and MergeRemoteState carry nothing: what a fleet agrees to is not SWIM's.
func (s *swim) LocalState(bool) []byte        { return nil }
func (s *swim) MergeRemoteState([]byte, bool) {}

// AckPayload adds nothing to the answer to a probe.
func (s *swim) AckPayload() []byte { return nil }

// NotifyPingComplete takes the time of a probe.
func (s *swim) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	s.f.mu.Lock()
	m := s.f.byName[n.Name]
	s.f.mu.Unlock()
	if m != nil {
		s.f.measured(m, rtt)
	}
}

// NotifyAlive decides whether what is said of a member is taken up.
func (s *swim) NotifyAlive(n *memberlist.Node) error {
	f := s.f
	if n.Name == f.opts.Name {
		return s.contest(n.Meta)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byName[n.Name]
	if m != nil && m.meta == string(n.Meta) {
		return nil
	}
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if _, err := parseMeta(n.Meta); err != nil {
		return err
	}
	_, err := f.add(n.Name)
	return err
}

// contest deals with what others say of this edge. An older instance may be what they
// remember of the process before this one; if it goes on claiming the name, it is there.
func (s *swim) contest(meta []byte) error {
	said, err := parseMeta(meta)
	if err != nil || said.Instance == s.f.me || !said.Instance.before(s.f.me) {
		return err
	}
	s.f.mu.Lock()
	s.contested++
	taken := s.contested > maxContest
	s.f.mu.Unlock()
	if taken {
		s.f.standAside("SWIM", "another instance claims the name")
		return errors.New("the name is taken")
	}
	return nil
}

// NotifyJoin takes up a member that is there.
func (s *swim) NotifyJoin(n *memberlist.Node) { s.alive(n, true) }

// NotifyUpdate takes up what a member says of itself.
func (s *swim) NotifyUpdate(n *memberlist.Node) { s.alive(n, false) }

func (s *swim) alive(n *memberlist.Node, joined bool) {
	f := s.f
	said, err := parseMeta(n.Meta)
	if n.Name == f.opts.Name || err != nil {
		return
	}
	f.mu.Lock()
	m := f.byName[n.Name]
	if m == nil {
		f.mu.Unlock()
		return
	}
	m.swim, m.meta = true, string(n.Meta)
	restarted := m.instance != said.Instance
	if restarted && m.met && said.Instance.before(m.instance) {
		f.mu.Unlock()
		return // its present process has said hello, and others have not heard of that yet
	}
	changed := f.take(m, said)
	state := m.info.State
	f.mu.Unlock()
	switch {
	case said.Leaving:
		f.leaves(m)
	case state == Left || state == Leaving:
		if restarted {
			f.setState(m, Alive, "")
		}
	case joined || restarted:
		f.setState(m, Alive, "")
	}
	if changed {
		f.touch()
	}
}

// NotifyLeave takes a member out that does not answer anybody. If it is connected all
// the same, the hello that follows takes it back, here and in SWIM.
func (s *swim) NotifyLeave(n *memberlist.Node) {
	f := s.f
	f.mu.Lock()
	m := f.byName[n.Name]
	if m == nil || n.Name == f.opts.Name {
		f.mu.Unlock()
		return
	}
	m.swim, m.meta = false, ""
	if m.next = time.Now(); !m.met {
		// In time it hears itself what is said of it. Not everybody has to dial it at once.
		m.next = m.next.Add(rand.N(time.Duration(len(f.byName)) * redialSpread))
	}
	state := m.info.State
	f.mu.Unlock()
	switch state {
	case Alive, Suspect:
		f.setState(m, Lost, "it does not answer the fleet's probes")
	case Leaving:
		f.setState(m, Left, "it does not answer any more")
	}
}

// meta is this edge's profile in the size that SWIM has room for.
func (f *Fleet) meta() ([]byte, error) {
	p := f.profile()
	for {
		text, err := json.Marshal(p)
		switch {
		case err != nil:
			return nil, err
		case len(text) <= memberlist.MetaMaxSize:
			return text, nil
		case len(p.Addrs) < 2:
			return nil, fmt.Errorf("swarm: zone and address take %d bytes, the limit is %d: give the zone a shorter name", len(text), memberlist.MetaMaxSize)
		}
		p.Addrs = p.Addrs[:len(p.Addrs)-1]
	}
}

func parseMeta(meta []byte) (*profile, error) {
	if len(meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("profile of %d bytes, the limit is %d", len(meta), memberlist.MetaMaxSize)
	}
	p := &profile{}
	if err := json.Unmarshal(meta, p); err != nil {
		return nil, fmt.Errorf("malformed profile: %w", err)
	}
	return p, nil
}

// size returns how many members there are, this edge included.
func (f *Fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.byName) + 1
}

// swimLog takes memberlist's lines into this edge's log. Strangers can cause most of
// them, and a busy machine the rest, so each kind of trouble is a warning once in a while
// and all else is for who looks for it.
type swimLog struct{ f *Fleet }

func (l swimLog) Write(line []byte) (int, error) {
	level, text, _ := strings.Cut(strings.TrimSpace(string(line)), " memberlist: ")
	kind, _, _ := strings.Cut(text, ":")
	switch {
	case level == "[ERR]" || level == "[ERROR]":
		l.f.warn("swim "+fmt.Sprintf("%.40s", kind), "swarm: SWIM: "+text)
	case strings.Contains(text, "UDP probes failed"):
		l.f.warn("swim udp", "swarm: a member answers over TCP and not over UDP: is UDP open on the swarm's port?", "detail", text)
	default:
		l.f.log.Debug("swarm: SWIM: " + text)
	}
	return len(line), nil
}
