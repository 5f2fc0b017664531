package members

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// protocolVersion is what both sides of a stream must agree on.
const protocolVersion = 1

// maxFrame bounds a message: the list of a thousand members fits ten times.
const maxFrame = 1 << 20

// frame is one message of the member protocol.
type frame struct {
	Hello   *hello   `json:"hello,omitempty"`
	Refused *refused `json:"refused,omitempty"`
	Ping    uint64   `json:"ping,omitempty"`
	Pong    uint64   `json:"pong,omitempty"`
	Leaving bool     `json:"leaving,omitempty"`
	Peers   []known  `json:"peers,omitempty"`
}

// hello is how an edge introduces itself.
type hello struct {
	Version  int      `json:"version"`
	Name     string   `json:"name"`
	Zone     string   `json:"zone,omitempty"`
	Weight   uint64   `json:"weight"` // disk capacity in bytes
	Addrs    []string `json:"addrs"`
	Instance instance `json:"instance"`
	Leaving  bool     `json:"leaving,omitempty"`
}

// instance tells two processes with one name apart.
type instance struct {
	Started int64  `json:"started"` // Unix time in nanoseconds
	Nonce   uint64 `json:"nonce"`
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

// known is a member that an edge tells others about.
type known struct {
	Name  string   `json:"name"`
	Addrs []string `json:"addrs"`
}

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
