package members

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multistream"
)

// Protocol is the member protocol's ID.
const Protocol protocol.ID = "/shoal/member/1"

// protocolVersion is what both sides of a stream must agree on. Version 1 was that of
// fleets in which every edge pinged every other.
const protocolVersion = 2

// maxFrame bounds a message, in bytes.
const maxFrame = 16 << 10

const (
	dialTimeout  = 3 * time.Second
	helloTimeout = 3 * time.Second
)

// frame is one message of the member protocol.
type frame struct {
	Hello   *hello   `json:"hello,omitempty"`
	Refused *refused `json:"refused,omitempty"`
}

// hello is how an edge introduces itself.
type hello struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	// Idle says that the sender has no use for the connection. An answer that says so,
	// too, is the other side's consent to close it.
	Idle bool `json:"idle,omitempty"`
	profile
}

// profile is what a member says of itself, in a hello and in the metadata that SWIM
// carries. The names are short because those have only 512 bytes.
type profile struct {
	Zone     string   `json:"z,omitempty"`
	Weight   uint64   `json:"w,omitempty"` // disk capacity in bytes
	Addrs    []string `json:"a,omitempty"`
	Packets  uint16   `json:"p,omitempty"` // the UDP port that SWIM's packets go to
	Instance instance `json:"i"`
	Leaving  bool     `json:"l,omitempty"`
}

// instance tells two processes with one name apart.
type instance struct {
	Started int64  `json:"s"` // Unix time in nanoseconds
	Nonce   uint64 `json:"n"`
}

// before reports whether i has the older right to the name.
func (i instance) before(j instance) bool {
	return i.Started < j.Started || i.Started == j.Started && i.Nonce < j.Nonce
}

// refused is why a hello was not accepted.
type refused struct {
	Reason string `json:"reason"`
	// Taken says that another instance has the name.
	Taken bool `json:"taken,omitempty"`
}

func (r *refused) Error() string { return "refused: " + r.Reason }

func writeFrame(w io.Writer, f *frame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	buf := binary.AppendUvarint(make([]byte, 0, len(body)+binary.MaxVarintLen64), uint64(len(body)))
	_, err = w.Write(append(buf, body...))
	return err
}

func newBuffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 512) }

func readFrame(r *bufio.Reader) (*frame, error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size > maxFrame {
		return nil, fmt.Errorf("message of %d bytes, the limit is %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	f := &frame{}
	if err := json.Unmarshal(body, f); err != nil {
		return nil, fmt.Errorf("malformed message: %w", err)
	}
	return f, nil
}

// introduction is the other side's hello, the connection that it came on, and how long
// it took.
type introduction struct {
	hello *hello
	conn  network.Conn
	rtt   time.Duration
}

// introduce says hello to a peer, over a connection that is made if there is none, and
// returns the other's hello.
func (f *Fleet) introduce(ctx context.Context, info peer.AddrInfo) (*introduction, error) {
	return f.introduceAs(ctx, info, f.hello())
}

func (f *Fleet) introduceAs(ctx context.Context, info peer.AddrInfo, self *hello) (*introduction, error) {
	if f.host.Network().Connectedness(info.ID) != network.Connected {
		if n, ok := f.host.Network().(*swarm.Swarm); ok {
			n.Backoff().Clear(info.ID) // the pauses are ours to make
		}
		f.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
		if _, err := f.host.Network().DialPeer(ctx, info.ID); err != nil {
			return nil, err
		}
	}
	stream, err := f.host.Network().NewStream(network.WithNoDial(ctx, "member"), info.ID)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	asked := time.Now()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	answer, err := greet(stream, self)
	if err == nil {
		return &introduction{answer, stream.Conn(), time.Since(asked)}, nil
	}
	if time.Since(asked) > f.opts.LostAfter+f.slack() && f.ctx.Err() == nil {
		// It may be left over from a network that was cut. While it counts as open,
		// everything for the member goes there.
		stream.Conn().Close()
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, err
}

// greet has the other side agree on the protocol and exchanges hellos, in one round
// trip.
func greet(s network.Stream, self *hello) (*hello, error) {
	if err := s.SetProtocol(Protocol); err != nil {
		return nil, err
	}
	agreed := multistream.NewMSSelect(s, Protocol)
	if err := writeFrame(agreed, &frame{Hello: self}); err != nil {
		return nil, fmt.Errorf("say hello: %w", err)
	}
	answer, err := readFrame(newBuffered(agreed))
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

// hello introduces this edge.
func (f *Fleet) hello() *hello {
	return &hello{Version: protocolVersion, Name: f.opts.Name, profile: f.profile()}
}
