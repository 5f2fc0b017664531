package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/gateway/sendqueue"
)

const (
	// lingerStep bytes, or what is left, have to be acknowledged within lingerStall, or
	// else a client whose connection was closed counts as gone. So it is with an open
	// connection, see gateway.Options.WriteTimeout.
	lingerStep  = 64 << 10
	lingerStall = 30 * time.Second
	// finWithin bounds the wait of a client that has everything but the end of the
	// connection: it may have vanished long ago, and nobody loses anything.
	finWithin = time.Second
	// lingerPoll is the longest time between two looks at a connection.
	lingerPoll = 100 * time.Millisecond
)

// lingeringListener closes its connections in stages, as RFC 9112, section 9.6,
// describes: the end is said, what the client still sends is read, and the socket is
// kept until the client has acknowledged everything. Closed at once, what was not sent
// yet would be the kernel's to send; but a container's network ends with its process,
// and a socket with unread bytes is closed by a reset, which discards what was not sent.
// It is safe for concurrent use.
type lingeringListener struct {
	net.Listener

	mu      sync.Mutex
	closing map[*lingeringConn]struct{}
	empty   chan struct{} // closed when closing is empty; nil while nobody waits
	drains  bool          // from now on, the end of a connection is to arrive, too
	ended   bool          // connections are closed at once
}

func linger(l net.Listener) *lingeringListener {
	return &lingeringListener{Listener: l, closing: map[*lingeringConn]struct{}{}}
}

// Accept implements net.Listener.
func (l *lingeringListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	return &lingeringConn{TCPConn: tcp, from: l}, nil
}

// Close stops accepting, as the first step of a drain.
func (l *lingeringListener) Close() error {
	l.mu.Lock()
	l.drains = true
	l.mu.Unlock()
	return l.Listener.Close()
}

// wait returns when the clients of all connections that were closed have acknowledged
// everything. When ctx ends first, it closes what is left, and an error says how many
// clients lack something.
func (l *lingeringListener) wait(ctx context.Context) error {
	l.mu.Lock()
	if len(l.closing) == 0 {
		l.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	l.empty = empty
	l.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	short := l.cut()
	<-empty
	if short > 0 {
		return fmt.Errorf("drain %s: cut off %d connections whose clients had not yet received all that was sent: %w", l.Addr(), short, ctx.Err())
	}
	return nil
}

// cut closes the connections that linger, and from now on every other one at once. It
// returns how many clients lack more than the end of the connection.
func (l *lingeringListener) cut() (short int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for c := range l.closing {
		if sendqueue.Unacknowledged(c.TCPConn) > 1 {
			short++
		}
		_ = c.TCPConn.Close()
	}
	return short
}

// end closes the listener, and every connection that lingers.
func (l *lingeringListener) end() error {
	l.cut()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	err := l.wait(over)
	if closed := l.Close(); !errors.Is(closed, net.ErrClosed) { // a server closes it, too
		err = errors.Join(err, closed)
	}
	return err
}

// keep reports whether a connection has something to wait for, and if so counts it.
func (l *lingeringListener) keep(c *lingeringConn) bool {
	sent := sendqueue.Unacknowledged(c.TCPConn) == 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || sent && !l.drains {
		return false
	}
	l.closing[c] = struct{}{}
	return true
}

func (l *lingeringListener) forget(c *lingeringConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.closing, c)
	if len(l.closing) == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

// lingeringConn is a connection of a lingeringListener.
type lingeringConn struct {
	*net.TCPConn
	from   *lingeringListener
	closed atomic.Bool
	reset  atomic.Bool // nothing lingers, see SetLinger
}

// SetLinger implements the method of net.TCPConn. With 0, Close discards what was not sent
// and resets the connection: for a message that was cut, and whose client would take an
// orderly end for its own.
func (c *lingeringConn) SetLinger(seconds int) error {
	c.reset.Store(seconds == 0)
	return c.TCPConn.SetLinger(seconds)
}

// Close implements net.Conn. It does not wait: net/http closes connections while it
// holds locks.
func (c *lingeringConn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if c.reset.Load() || !c.from.keep(c) {
		return c.TCPConn.Close()
	}
	_ = c.TCPConn.SetDeadline(time.Unix(1, 0)) // for those that read or write now
	_ = c.TCPConn.CloseWrite()
	go func() {
		c.drain()
		_ = c.TCPConn.Close()
		c.from.forget(c)
	}()
	return nil
}

// Read implements net.Conn. What arrives after Close is drain's to read.
func (c *lingeringConn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	return c.TCPConn.Read(p)
}

// drain reads and drops what the client sends until it has acknowledged all that it was
// sent, is gone, or stalls.
func (c *lingeringConn) drain() {
	dropped := make([]byte, 4<<10)
	left := sendqueue.Unacknowledged(c.TCPConn)
	mark, since := left, time.Now() // the last step, and when it was taken
	for pause := time.Millisecond; left > 0; pause = min(2*pause, lingerPoll) {
		begin := time.Now()
		_ = c.SetReadDeadline(begin.Add(pause))
		_, err := c.TCPConn.Read(dropped)
		var timeout net.Error
		switch {
		case err == nil || errors.As(err, &timeout) && timeout.Timeout():
		case errors.Is(err, io.EOF): // the client has said all, and may still receive
			time.Sleep(time.Until(begin.Add(pause)))
		default:
			return
		}
		left = sendqueue.Unacknowledged(c.TCPConn)
		// The end of a connection counts as one byte.
		if left <= mark-lingerStep || left == 1 && mark > 1 {
			mark, since = left, time.Now()
		}
		if idle := time.Since(since); idle > lingerStall || left == 1 && idle > finWithin {
			return
		}
	}
}
