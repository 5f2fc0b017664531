package members

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"
)

// probe is what was found at an address.
type probe struct {
	id peer.ID
	at time.Time
}

const (
	// probeAgain is how long the outcome of a probe holds.
	probeAgain = time.Minute
	// maxProbes is how many addresses are tried at once, and maxFound how many
	// records of one DNS answer are looked at.
	maxProbes = 8
	maxFound  = 1000
)

// discover looks up the fleet's DNS name again and again.
func (f *Fleet) discover() {
	tick := time.NewTicker(f.opts.ResolveEvery)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(f.ctx, f.opts.ResolveEvery)
		found, err := f.lookup(ctx)
		cancel()
		if err != nil && f.ctx.Err() == nil {
			f.warn("dns", "swarm: cannot look up the fleet's members", "dns", f.opts.DNS, "err", err)
		}
		f.probeAll(found)
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookup returns the addresses behind the fleet's DNS name: of its SRV records, of
// the SRV records of its service "swarm" over TCP (as Kubernetes makes them for a
// port of that name), or of its A and AAAA records.
func (f *Fleet) lookup(ctx context.Context) ([]ma.Multiaddr, error) {
	var found []ma.Multiaddr
	for _, service := range [][2]string{{"", ""}, {"swarm", "tcp"}} {
		_, records, err := f.cfg.Resolver.LookupSRV(ctx, service[0], service[1], f.opts.DNS)
		if err != nil {
			continue
		}
		for _, r := range records {
			if a, err := hostAddr(r.Target, strconv.Itoa(int(r.Port))); err == nil {
				found = append(found, a)
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	hosts, err := f.cfg.Resolver.LookupHost(ctx, f.opts.DNS)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if a, err := hostAddr(h, strconv.Itoa(f.opts.Port)); err == nil {
			found = append(found, a)
		}
	}
	return found, nil
}

// probeAll finds out who is at the addresses, and returns when all have been tried.
func (f *Fleet) probeAll(found []ma.Multiaddr) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxProbes)
	for _, addr := range found[:min(len(found), maxFound)] {
		if !f.worthProbing(addr) {
			continue
		}
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			if err := f.probeAddr(addr); err != nil && f.ctx.Err() == nil {
				f.log.Debug("swarm: nobody found at an address", "addr", addr, "err", err)
			}
		}()
	}
	wg.Wait()
}

// worthProbing reports whether it is not known who is at an address, or who is
// there should be and is not.
func (f *Fleet) worthProbing(addr ma.Multiaddr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.probed[addr.String()]
	if !ok || time.Since(p.at) > probeAgain {
		return true
	}
	m := f.byID[p.id]
	return m != nil && !m.info.InRing() && m.info.State != Leaving
}

// probeAddr finds out who is at an address and, if it is a member, takes it up.
func (f *Fleet) probeAddr(addr ma.Multiaddr) error {
	ctx, cancel := context.WithTimeout(f.ctx, dialTimeout)
	defer cancel()
	id, err := f.learnID(ctx, addr)
	if err != nil {
		return err
	}
	f.mu.Lock()
	if len(f.probed) >= maxFound {
		clear(f.probed)
	}
	f.probed[addr.String()] = probe{id, time.Now()}
	m := f.byID[id]
	if m != nil && !m.info.InRing() {
		m.setLearned([]ma.Multiaddr{addr})
		m.next = time.Time{}
		signal(f.kick)
	}
	f.mu.Unlock()
	if m != nil || id == f.host.ID() {
		return nil
	}
	return f.learnName(ctx, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{addr}})
}

// learnID returns the peer ID at an address. libp2p does not connect without
// expecting one, so it is given one that nobody has; the handshake fails and the
// error says whose key it was.
func (f *Fleet) learnID(ctx context.Context, addr ma.Multiaddr) (peer.ID, error) {
	nobody, err := madeUpID()
	if err != nil {
		return "", err
	}
	done := f.allowProbe(nobody)
	defer done()
	err = f.host.Connect(ctx, peer.AddrInfo{ID: nobody, Addrs: []ma.Multiaddr{addr}})
	var mismatch sec.ErrPeerIDMismatch
	if errors.As(err, &mismatch) {
		return mismatch.Actual, nil
	}
	if err == nil {
		err = errors.New("connected to nobody")
	}
	return "", err
}

func madeUpID() (peer.ID, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	priv, _, err := crypto.KeyPairFromStdKey(&key)
	if err != nil {
		return "", err
	}
	return peer.IDFromPrivateKey(priv)
}

// allowProbe lets a peer through the gate until the returned function is called.
func (f *Fleet) allowProbe(id peer.ID) (done func()) {
	f.mu.Lock()
	f.probing[id] = true
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		delete(f.probing, id)
		f.mu.Unlock()
		if !f.IsMember(id) {
			f.host.Peerstore().ClearAddrs(id)
			f.host.Peerstore().RemovePeer(id)
		}
	}
}

// learnName asks a peer who it is and takes it up if it is a member.
func (f *Fleet) learnName(ctx context.Context, info peer.AddrInfo) error {
	done := f.allowProbe(info.ID)
	defer done()
	i, err := f.introduce(ctx, info)
	if err != nil {
		var no *refused
		if errors.As(err, &no) {
			f.warn("refused "+string(info.ID), "swarm: an edge found by DNS refuses this one", "addrs", info.Addrs, "reason", no.Reason)
		}
		return err
	}
	h := i.hello
	want, err := PeerID(f.opts.Secret, h.Name)
	if err != nil || want != info.ID || h.Name == f.opts.Name {
		f.host.Network().ClosePeer(info.ID)
		f.warn("stranger "+string(info.ID), "swarm: an edge found by DNS does not belong to this fleet: another swarm.secret?",
			"addrs", info.Addrs, "name", fmt.Sprintf("%.64s", h.Name))
		return fmt.Errorf("%.64q is not a member", h.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.add(h.Name)
	if err == nil {
		m.setLearned(info.Addrs)
	}
	return err
}
