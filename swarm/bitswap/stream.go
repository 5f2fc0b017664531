package bitswap

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// reader cuts a stream into messages: each has its length in front, as a varint.
type reader struct {
	in *bufio.Reader
	// came, if not nil, is called for each part of a large message.
	came func()
}

// The buffer is small, so that the bytes of blocks are read past it.
func newReader(r io.Reader) *reader { return &reader{in: bufio.NewReaderSize(r, 4<<10)} }

// next returns the size of the next message, or io.EOF at a clean end.
func (r *reader) next() (int64, error) {
	size, err := binary.ReadUvarint(r.in)
	if err != nil {
		return 0, err
	}
	if size > MaxMessageSize {
		return 0, fmt.Errorf("%w: %d bytes announced, the limit is %d", ErrMalformed, size, MaxMessageSize)
	}
	return int64(size), nil
}

// progress is the part of a message, in bytes, that is read at once. Whatever is larger
// carries blocks, as a rule.
const progress = 64 << 10

// read returns a message of the given size.
func (r *reader) read(size int64) ([]byte, error) {
	buf := make([]byte, size)
	for rest := buf; len(rest) > 0; {
		n, err := io.ReadFull(r.in, rest[:min(len(rest), progress)])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if rest = rest[n:]; n == progress && r.came != nil {
			r.came()
		}
	}
	return buf, nil
}

// writeBuffer fits a message's small parts and the beginning of a block into one
// yamux frame (at most 64 KiB with its header). Everything longer goes past it.
const writeBuffer = 64<<10 - 12

// outStream is a stream that messages go out on. It is used by one goroutine.
type outStream struct {
	s      network.Stream
	w      *bufio.Writer
	opened time.Time
	dead   chan struct{} // closed when the other side has closed or reset it
}

// open opens a stream to the peer.
func (r *remote) open(bufferSize int) (*outStream, error) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(r.ctx, "bitswap"), r.x.opts.SendTimeout)
	defer cancel()
	if r.x.connect != nil {
		if err := r.x.connect(ctx, r.id); err != nil {
			return nil, err
		}
	}
	s, err := r.x.host.NewStream(ctx, r.id, protocols...)
	if err != nil {
		return nil, err
	}
	o := &outStream{s: s, w: bufio.NewWriterSize(s, bufferSize), opened: time.Now(), dead: make(chan struct{})}
	// Nothing is ever sent back on this stream. Reading shows when it ends, which
	// a write would show one message too late.
	if !r.x.run(func() {
		defer close(o.dead)
		defer context.AfterFunc(r.ctx, func() { s.Reset() })()
		io.Copy(io.Discard, s)
	}) {
		s.Reset()
		return nil, ErrGone
	}
	return o, nil
}

// died returns the channel that is closed when the stream has ended; nil, which
// never is, for no stream.
func (o *outStream) died() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.dead
}

func (o *outStream) alive() bool {
	select {
	case <-o.dead:
		return false
	default:
		return true
	}
}

// send writes one message, which is the parts put together.
func (o *outStream) send(timeout time.Duration, parts ...[]byte) error {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	o.s.SetWriteDeadline(time.Now().Add(timeout))
	var head [binary.MaxVarintLen64]byte
	o.w.Write(head[:binary.PutUvarint(head[:], uint64(size))])
	for _, p := range parts {
		o.w.Write(p) // an error stays in o.w
	}
	return o.w.Flush()
}
