package swarm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	p2pswarm "github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
)

// PeerOrigin is a peer outside the fleet that blocks are fetched from over Bitswap,
// such as a Kubo node. It is connected to when it is first needed.
type PeerOrigin struct {
	s      *Swarm
	info   peer.AddrInfo
	closed sync.Once
}

var _ block.Getter = (*PeerOrigin)(nil)

// PeerOrigin returns the peer at a multiaddr that ends in /p2p/ and its peer ID.
func (s *Swarm) PeerOrigin(addr string) (*PeerOrigin, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return nil, fmt.Errorf("swarm: origin %q: expected a multiaddr with a peer ID, such as /ip4/10.0.0.9/tcp/4001/p2p/12D3KooW...: %w", addr, err)
	}
	if len(info.Addrs) == 0 {
		return nil, fmt.Errorf("swarm: origin %q: expected an address before /p2p/, such as /ip4/10.0.0.9/tcp/4001", addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[info.ID]++
	return &PeerOrigin{s: s, info: *info}, nil
}

// Close tells that the peer is no longer an origin. Unless it is something else too,
// it may not connect any more.
func (o *PeerOrigin) Close() error {
	o.closed.Do(func() {
		o.s.mu.Lock()
		defer o.s.mu.Unlock()
		if o.s.sources[o.info.ID]--; o.s.sources[o.info.ID] == 0 {
			delete(o.s.sources, o.info.ID)
		}
	})
	return nil
}

// Get implements [block.Getter]. A peer that says it does not have the block means
// that it is not found.
func (o *PeerOrigin) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.s.opts.FetchTimeout, fmt.Errorf("no answer within %s", o.s.opts.FetchTimeout))
	defer cancel()
	var err error
	for range 2 { // a connection that has been idle for long may turn out to be dead
		var b *block.Verified
		if b, err = o.try(ctx, c); err == nil {
			return b, block.Origin, nil
		}
		switch {
		case errors.Is(err, bitswap.ErrDontHave):
			return nil, block.Origin, block.NotFound(c)
		case ctx.Err() != nil:
			return nil, block.Origin, ended(ctx, c, "wait for "+o.String())
		case !errors.Is(err, bitswap.ErrGone):
			return nil, block.Origin, o.unavailable(c, err)
		}
	}
	return nil, block.Origin, o.unavailable(c, err)
}

func (o *PeerOrigin) unavailable(c cid.Cid, err error) error {
	return &block.UnavailableError{Cid: c, From: o.String(), Err: err}
}

// String names the origin in an operator's words.
func (o *PeerOrigin) String() string { return "peer " + o.info.ID.String() }

func (o *PeerOrigin) try(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	if err := o.connect(ctx); err != nil {
		return nil, err
	}
	heard := make(chan bitswap.Reply, 1)
	ask := o.s.exchange.Ask(o.info.ID, c, bitswap.WantBlock, func(r bitswap.Reply) { heard <- r })
	defer ask.Cancel()
	resend := time.NewTicker(o.s.opts.ResendAfter)
	defer resend.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-resend.C:
			// The stock server forgets what it failed to send.
			ask.Resend()
		case r := <-heard:
			if r.Block == nil {
				return nil, r.Err
			}
			return r.Block, nil
		}
	}
}

func (o *PeerOrigin) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if n, ok := o.s.host.Network().(*p2pswarm.Swarm); ok {
		n.Backoff().Clear(o.info.ID)
	}
	if err := o.s.host.Connect(ctx, o.info); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}
