package swarm

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-cdn/shoal/printable"
	"github.com/shoal-cdn/shoal/swarm/bitswap"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// Options configures a [Swarm].
type Options struct {
	// Name is this edge's name in the fleet. It must be stable: it decides which
	// blocks are at home here.
	Name string
	// Listen are the addresses to listen on, as multiaddrs. TCP always works; an
	// address that ends in /quic-v1 turns QUIC on.
	Listen []string
	// Announce replaces the addresses that others are told; empty: the listening
	// ones.
	Announce []string
	// Secret is shared by the fleet. Empty: this edge stands alone, and its peer ID
	// comes from KeyFile.
	Secret string
	// KeyFile holds the key of an edge without a secret; it is made if it does not
	// exist. Empty: a new key for each start.
	KeyFile string
	// Peers are other members, each as name@host:port.
	Peers []string
	// DNS is a name whose SRV or A records list the members.
	DNS string
	// Zone is where this edge is. Blocks are looked for in the zone first. Empty: anywhere.
	Zone string
	// Allow are the peer IDs of others that may fetch what is stored here.
	Allow []string
	// DiskBytes is the capacity of this edge's block store. It is this edge's
	// weight: of all blocks, a share is at home here that is its share of all disks.
	DiskBytes int64

	// ProbeAfter is how long a sibling may be silent about a block before it is
	// asked whether it is there at all.
	ProbeAfter time.Duration
	// HedgeMax bounds how long a sibling may be silent, however slow it usually is,
	// before the next home is asked whether it happens to have the block.
	HedgeMax time.Duration
	// PendingMax is how long a sibling that shows signs of life may take before the
	// next home is asked to fetch the block.
	PendingMax time.Duration
	// ResendAfter is when an unanswered want is sent once more.
	ResendAfter time.Duration
	// FetchTimeout is how long a fetch may take altogether.
	FetchTimeout time.Duration
	// ErrorMemory is how long a home that could not get a block says so without
	// trying again.
	ErrorMemory time.Duration
	// Fallbacks is how many blocks that are at home elsewhere this edge fetches from
	// the origin at once when none of their homes can be reached.
	Fallbacks int
	// HandOver is how many bytes of the blocks that were asked for last are handed over
	// to other edges by Drain; 0 for none.
	HandOver int64

	// Members has the times that decide when a sibling counts as gone. Its other
	// fields are set from the ones above.
	Members members.Options
	Bitswap bitswap.Options
}

// DefaultOptions is an edge that stands alone.
func DefaultOptions() Options {
	return Options{
		Listen:       []string{"/ip4/0.0.0.0/tcp/4001"},
		DiskBytes:    10 << 30,
		ProbeAfter:   25 * time.Millisecond,
		HedgeMax:     500 * time.Millisecond,
		PendingMax:   5 * time.Second,
		ResendAfter:  time.Second,
		FetchTimeout: time.Minute,
		ErrorMemory:  2 * time.Second,
		Fallbacks:    16,
		HandOver:     256 << 20,
		Members:      members.DefaultOptions(),
		Bitswap:      bitswap.DefaultOptions(),
	}
}

// Validate reports the first value that cannot be used.
func (o Options) Validate() error {
	_, err := o.parse()
	return err
}

// parsed is what the strings of [Options] mean.
type parsed struct {
	listen, announce []ma.Multiaddr
	peers            []members.Static
	allow            map[peer.ID]bool
}

func (o Options) parse() (*parsed, error) {
	p := &parsed{allow: map[peer.ID]bool{}}
	if err := members.CheckName(o.Name); err != nil {
		return nil, fmt.Errorf("swarm: Name: %w", err)
	}
	if err := printable.Check(o.Zone); err != nil {
		return nil, fmt.Errorf("swarm: Zone: %w", err)
	}
	if o.Secret != "" {
		if _, err := members.Identity(o.Secret, o.Name); err != nil {
			return nil, fmt.Errorf("swarm: Secret: %w", err)
		}
	} else if len(o.Peers) > 0 || o.DNS != "" {
		return nil, errors.New("swarm: Secret: empty, but Peers or DNS name siblings; expected the fleet's secret, as made by `shoal swarm secret`")
	}
	var err error
	if p.listen, err = parseAddrs("Listen", o.Listen); err != nil {
		return nil, err
	}
	if p.announce, err = parseAddrs("Announce", o.Announce); err != nil {
		return nil, err
	}
	for i, s := range o.Peers {
		static, err := members.ParseStatic(s)
		if err != nil {
			return nil, fmt.Errorf("swarm: Peers[%d]: %w", i, err)
		}
		p.peers = append(p.peers, static)
	}
	for i, s := range o.Allow {
		id, err := peer.Decode(s)
		if err != nil {
			return nil, fmt.Errorf("swarm: Allow[%d]: %q: expected a peer ID, such as 12D3KooW...: %w", i, s, err)
		}
		p.allow[id] = true
	}
	return p, o.checkNumbers()
}

func parseAddrs(field string, list []string) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	for i, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("swarm: %s[%d]: %q: expected a multiaddr, such as /ip4/0.0.0.0/tcp/4001: %w", field, i, s, err)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

func (o Options) checkNumbers() error {
	if o.DiskBytes < 0 {
		return fmt.Errorf("swarm: DiskBytes: %d: expected a number of bytes", o.DiskBytes)
	}
	if o.HandOver < 0 {
		return fmt.Errorf("swarm: HandOver: %d: expected a number of bytes, or 0 to hand over nothing", o.HandOver)
	}
	if o.Fallbacks < 1 {
		return fmt.Errorf("swarm: Fallbacks: %d: expected at least 1", o.Fallbacks)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"ProbeAfter", o.ProbeAfter}, {"HedgeMax", o.HedgeMax}, {"PendingMax", o.PendingMax}, {"ResendAfter", o.ResendAfter},
		{"FetchTimeout", o.FetchTimeout}, {"ErrorMemory", o.ErrorMemory},
		{"Members.SuspectAfter", o.Members.SuspectAfter},
		{"Members.DoubtAfter", o.Members.DoubtAfter}, {"Members.LostAfter", o.Members.LostAfter}, {"Members.RedialAfter", o.Members.RedialAfter},
		{"Members.ResolveEvery", o.Members.ResolveEvery},
	} {
		if d.value <= 0 {
			return fmt.Errorf("swarm: %s: %s: expected a positive duration", d.name, d.value)
		}
	}
	return o.Bitswap.Validate()
}

// wantsQUIC reports whether an address asks for QUIC.
func (o Options) wantsQUIC() bool {
	for _, s := range o.Listen {
		if strings.Contains(s, "/quic-v1") {
			return true
		}
	}
	return false
}

// NewSecret returns a new secret for a fleet.
func NewSecret() string { return members.NewSecret() }
