package swarm

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cable is loopback with switches: what goes between two edges, or everything of
// one edge, can be held up, as by a cut cable or a frozen process. It works at the
// side that dialed, in both directions.
type cable struct {
	mu           sync.Mutex
	byPort       map[string]string
	byPacketPort map[int]string
	held         func(a, b string) bool
	changed      chan struct{}
}

func newCable() *cable {
	return &cable{byPort: map[string]string{}, byPacketPort: map[int]string{}, changed: make(chan struct{})}
}

// join tells the network where an edge listens.
func (n *cable) join(e *edge) {
	n.mu.Lock()
	defer n.mu.Unlock()
	port, _ := e.host.Addrs()[0].ValueForProtocol(6 /* TCP */)
	n.byPort[port] = e.name
}

// packets returns the socket for one edge's packets, which get lost where the network
// is held up.
func (n *cable) packets(t testing.TB, from string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byPacketPort[c.LocalAddr().(*net.UDPAddr).Port] = from
	return &packetConn{c, n, from}
}

type packetConn struct {
	net.PacketConn
	n    *cable
	from string
}

func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	c.n.mu.Lock()
	lost := c.n.held != nil && c.n.held(c.from, c.n.byPacketPort[addr.(*net.UDPAddr).Port])
	c.n.mu.Unlock()
	if lost {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, addr)
}

// hold holds up what goes between two edges for which f is true; nil holds nothing.
func (n *cable) hold(f func(a, b string) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = f
	close(n.changed)
	n.changed = make(chan struct{})
}

// freeze holds up everything of one edge.
func (n *cable) freeze(name string) {
	n.hold(func(a, b string) bool { return a == name || b == name })
}

// pass returns when nothing is held up between a and b, or an error when ctx ends
// first.
func (n *cable) pass(ctx context.Context, a, b string) error {
	for {
		n.mu.Lock()
		held, changed := n.held != nil && n.held(a, b), n.changed
		n.mu.Unlock()
		if !held {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return os.ErrDeadlineExceeded
			}
			return net.ErrClosed
		case <-changed:
		}
	}
}

func (n *cable) dialer(from string) Dialer { return dialer{n, from} }

type dialer struct {
	n    *cable
	from string
}

func (d dialer) DialContext(ctx context.Context, kind, addr string) (net.Conn, error) {
	_, port, _ := net.SplitHostPort(addr)
	d.n.mu.Lock()
	to := d.n.byPort[port]
	d.n.mu.Unlock()
	if err := d.n.pass(ctx, d.from, to); err != nil {
		return nil, err
	}
	var plain net.Dialer
	c, err := plain.DialContext(ctx, kind, addr)
	if err != nil {
		return nil, err
	}
	open := &conn{Conn: c, n: d.n, from: d.from, to: to}
	open.ctx, open.cancel = context.WithCancel(context.Background())
	return open, nil
}

type conn struct {
	net.Conn
	n        *cable
	from, to string
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	deadline atomic.Pointer[time.Time] // for Write
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if held := c.n.pass(c.ctx, c.from, c.to); held != nil {
		return 0, held
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	ctx := c.ctx
	if d := c.deadline.Load(); d != nil && !d.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, *d)
		defer cancel()
	}
	if err := c.n.pass(ctx, c.from, c.to); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// A deadline ends a Write that is held up, such as the last one of TLS: otherwise a
// connection over a cut cable could not be closed.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) Close() error {
	c.cancel()
	return c.Conn.Close()
}
