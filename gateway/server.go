package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// Serve answers connections from ln until ctx ends, then drains: it stops
// accepting, lets requests in flight finish for at most Options.DrainTimeout, and
// returns nil if all did. It closes ln. HTTP/1.1 and unencrypted HTTP/2 are
// spoken; TLS belongs to whatever stands in front.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error {
	conns := newWires(ln, g.opts.WriteTimeout, &g.draining)
	srv, err := g.newServer(conns)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer g.forget(srv)
	accepted, served := make(chan error, 1), make(chan error, 1)
	go func() { accepted <- g.serveLanes(ctx, conns) }()
	go func() { served <- srv.Serve(conns) }()
	select {
	case err := <-accepted:
		conns.stop()
		_ = srv.Close()
		<-served
		// A connection that left the hot lane just now may have come in between.
		if _ = srv.Close(); g.closed() {
			return nil // Close, whose caller waits for the rest
		}
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	g.LameDuck()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.sites.Load().opts.DrainTimeout)
	defer cancel()
	err = ln.Close()
	<-accepted
	conns.finish(drain)
	if cut := conns.stop(); cut > 0 {
		err = errors.Join(err, fmt.Errorf("drain HTTP: cut off %d answers in flight: %w", cut, drain.Err()))
	}
	if stopped := srv.Shutdown(drain); stopped != nil {
		err = errors.Join(err, fmt.Errorf("drain HTTP: cut off the requests still in flight: %w", stopped), srv.Close())
	}
	<-served
	return err
}

func (g *Gateway) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down
}

// LameDuck has everybody be served as before and asked to go elsewhere: from now on every
// answer in HTTP/1 is the last of its connection, and connections in HTTP/2 get a GOAWAY.
func (g *Gateway) LameDuck() {
	g.draining.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conns := range g.servers {
		conns.goAway()
	}
}

// newServer sets every limit of net/http that is off by default.
func (g *Gateway) newServer(conns *wires) (*http.Server, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: g.opts.ReadHeaderTimeout,
		IdleTimeout:       g.opts.IdleTimeout,
		MaxHeaderBytes:    g.opts.MaxHeaderBytes,
		// ReadTimeout and WriteTimeout would bound whole requests and cut off
		// every slow download. The response writer bounds stalls instead.
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			// The least that is recommended (RFC 9113, section 6.5.2): a client can hold
			// each of them open with a closed window.
			MaxConcurrentStreams: 100,
			// Nothing here reads a body. These are the smallest windows that there are.
			MaxReceiveBufferPerConnection: 1<<16 - 1,
			MaxReceiveBufferPerStream:     1 << 12,
			WriteByteTimeout:              g.opts.WriteTimeout,
			SendPingTimeout:               g.opts.IdleTimeout,
			PingTimeout:                   g.opts.WriteTimeout,
		},
		ConnContext: remember,
		ConnState:   nextRequest,
		BaseContext: func(net.Listener) context.Context { return g.ctx },
		ErrorLog:    slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down {
		return nil, fmt.Errorf("serve HTTP: the gateway was shut down: %w", http.ErrServerClosed)
	}
	g.servers[srv] = conns
	return srv, nil
}

func (g *Gateway) forget(srv *http.Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.servers, srv)
}
