package members

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
)

// swimProtocol is for what SWIM does not trust to packets: the exchange of all that two
// edges know, and probes where no packets pass.
const swimProtocol protocol.ID = "/shoal/swim/1"

// maxPacket is the largest packet that is read; memberlist makes none above 1400 bytes.
const maxPacket = 2048

// transport carries memberlist's packets over UDP, encrypted by memberlist, and its
// streams over the swarm's connections. Members are addressed by name.
type transport struct {
	f       *Fleet
	conn    net.PacketConn
	port    uint16
	packets chan *memberlist.Packet
	streams chan net.Conn
	once    sync.Once
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

func newTransport(f *Fleet) (*transport, error) {
	conn := f.cfg.Packets
	if conn == nil {
		var err error
		if conn, err = f.listenPackets(f.host); err != nil {
			return nil, err
		}
	}
	addr, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("swarm: address of packets: %w", err)
	}
	return &transport{f: f, conn: conn, port: addr.Port(), packets: make(chan *memberlist.Packet, 64), streams: make(chan net.Conn)}, nil
}

// listenPackets opens a UDP socket beside the host's first TCP port, or if that number is
// taken, anywhere.
func (f *Fleet) listenPackets(h host.Host) (net.PacketConn, error) {
	at := ":0"
	for _, a := range h.Network().ListenAddresses() {
		port, err := a.ValueForProtocol(ma.P_TCP)
		if err != nil {
			continue
		}
		if at = ":" + port; !manet.IsIPUnspecified(a) {
			ip, err := manet.ToIP(a)
			if err != nil {
				continue
			}
			at = net.JoinHostPort(ip.String(), port)
		}
		break
	}
	conn, err := net.ListenPacket("udp", at)
	if errors.Is(err, syscall.EADDRINUSE) {
		where, port, _ := net.SplitHostPort(at)
		if conn, err = net.ListenPacket("udp", net.JoinHostPort(where, "0")); err == nil {
			f.log.Warn("swarm: the UDP port is taken; another one carries SWIM's packets and has to be open between edges",
				"port", port, "instead", conn.LocalAddr())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("swarm: listen for SWIM's packets on udp %s: %w", at, err)
	}
	return conn, nil
}

// read hands on what arrives until the socket is closed.
func (t *transport) read() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.conn.ReadFrom(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if t.f.ctx.Err() != nil {
				return
			}
			continue // such as an answer that nobody listens where a packet was sent
		case n == 0:
			continue
		}
		packet := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- packet:
		case <-t.f.ctx.Done():
			return
		}
	}
}

// FinalAdvertiseAddr is the same for all edges: where they are is in their metadata,
// which can name several addresses and change without a conflict.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, port, err := net.SplitHostPort(joinAddr)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(port)
	return net.ParseIP(host), n, err
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

// WriteTo is for transports that know no names.
func (t *transport) WriteTo(_ []byte, addr string) (time.Time, error) {
	return time.Time{}, fmt.Errorf("packet to %s: no member is named", addr)
}

// WriteToAddress sends a packet to a member. memberlist goes on to the other ways of
// probing when the error is one of writing to a socket.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	t.f.mu.Lock()
	var to netip.AddrPort
	if m := t.f.byName[a.Name]; m != nil {
		to = m.packets
	}
	t.f.mu.Unlock()
	var err error = &net.OpError{Op: "write", Net: "udp", Err: fmt.Errorf("no address of %.64q is known", a.Name)}
	if to.IsValid() {
		_, err = t.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return time.Now(), err
}

// DialTimeout is for transports that know no names.
func (t *transport) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	return nil, fmt.Errorf("stream to %s: no member is named", addr)
}

// DialAddressTimeout opens a stream to a member.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	id, ok := t.f.ID(a.Name)
	if !ok {
		return nil, fmt.Errorf("stream to %.64q: no such member", a.Name)
	}
	ctx, cancel := context.WithTimeoutCause(t.f.ctx, timeout, os.ErrDeadlineExceeded)
	defer cancel()
	if err := t.f.Connect(ctx, id); err != nil {
		return nil, err
	}
	s, err := t.f.host.Network().NewStream(network.WithNoDial(ctx, "swim"), id)
	if err != nil {
		return nil, err
	}
	if err := s.SetProtocol(swimProtocol); err != nil {
		s.Reset()
		return nil, err
	}
	return &streamConn{multistream.NewMSSelect(s, swimProtocol), s}, nil
}

// handle takes a stream that a member has opened.
func (t *transport) handle(s network.Stream) {
	if !t.f.IsMember(s.Conn().RemotePeer()) {
		s.Reset()
		return
	}
	select {
	case t.streams <- &streamConn{s, s}:
	case <-t.f.ctx.Done():
		s.Reset()
	}
}

func (s *swim) handle(stream network.Stream) { s.transport.handle(stream) }

// Shutdown closes the socket.
func (t *transport) Shutdown() error {
	var err error
	t.once.Do(func() { err = t.conn.Close() })
	return err
}

// streamConn is a stream as memberlist knows it.
type streamConn struct {
	readWriter interface {
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}
	network.Stream
}

func (c *streamConn) Read(b []byte) (int, error)  { return c.readWriter.Read(b) }
func (c *streamConn) Write(b []byte) (int, error) { return c.readWriter.Write(b) }
func (c *streamConn) LocalAddr() net.Addr         { return streamAddr{c.Conn().LocalMultiaddr()} }
func (c *streamConn) RemoteAddr() net.Addr        { return streamAddr{c.Conn().RemoteMultiaddr()} }

type streamAddr struct{ ma.Multiaddr }

func (streamAddr) Network() string { return "libp2p" }
