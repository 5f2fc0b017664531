// Package member says what is known of an edge of the fleet, in the words that swarm,
// pins and the admin API share.
package member

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// State is how an edge is doing, as far as another one knows.
type State string

// The states of a member.
const (
	Connecting State = "connecting" // never reached yet
	Alive      State = "alive"
	Suspect    State = "suspect" // does not answer; may only be busy
	Lost       State = "lost"    // was there and is not
	Leaving    State = "leaving" // said that it is about to stop, and still answers
	Left       State = "left"    // said so, and is gone: nothing is missing with it
	Refused    State = "refused" // there is somebody else at its address
	// StandingAside is this edge's own state while another edge has its name.
	StandingAside State = "standing aside"
)

// Member is one edge of the fleet, as this edge sees it.
type Member struct {
	Name    string    `json:"name"`
	ID      peer.ID   `json:"-"`
	Peer    string    `json:"peer_id"` // the ID as it is written
	Zone    string    `json:"zone,omitempty"`
	Addr    string    `json:"addr,omitempty"` // a multiaddr: where it was last reached, or is going to be
	State   State     `json:"state"`
	Detail  string    `json:"detail,omitempty"` // why it is not alive, in an operator's words
	Since   time.Time `json:"since"`            // of the state
	Latency float64   `json:"latency_seconds"`  // round trip, in seconds; 0 if it is not known yet
	Weight  uint64    `json:"weight"`           // bytes of disk
	Self    bool      `json:"self,omitempty"`
	// Met says that there is a connection on which both sides know each other.
	Met bool `json:"-"`
	// Listen are this edge's own multiaddrs, each with its peer ID; nil for others.
	Listen []string `json:"-"`
}

// InRing reports whether blocks are at home on the member.
func (m Member) InRing() bool { return m.State == Alive || m.State == Suspect }

// Present reports whether the member can be counted on now.
func (m Member) Present() bool { return m.Self || m.InRing() }

// Addrs returns its multiaddrs, at least one, each with its peer ID at the end. One that
// listens nowhere has the peer ID alone.
func (m Member) Addrs() []string {
	if len(m.Listen) > 0 {
		return m.Listen
	}
	return []string{m.Addr + "/p2p/" + m.Peer}
}

// Whereabouts says where a block belongs and where it is, by names of edges.
type Whereabouts struct {
	CID     string   `json:"cid"`
	Homes   []string `json:"homes"`   // the first home first
	Holders []string `json:"holders"` // who has it now, in memory or on disk
	Silent  []string `json:"silent"`  // who could not be asked
}
