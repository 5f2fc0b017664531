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
	srv, err := g.newServer()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer g.forget(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(wires{ln, g.opts.WriteTimeout}) }()
	select {
	case err := <-served:
		if errors.Is(err, http.ErrServerClosed) {
			return nil // Shutdown or Close, whose caller waits for the rest
		}
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	g.draining.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.sites.Load().opts.DrainTimeout)
	defer cancel()
	err = stop(drain, srv)
	<-served
	return err
}

// Shutdown drains every server that Serve started: no new connections, requests
// in flight finish, until ctx ends. Then the rest is cut off, and the error says
// so. Serve returns as soon as draining begins.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.draining.Store(true)
	g.mu.Lock()
	g.down = true
	stopped := make(chan error, len(g.servers))
	n := len(g.servers)
	for srv := range g.servers {
		go func() { stopped <- stop(ctx, srv) }()
	}
	g.mu.Unlock()
	var errs []error
	for range n {
		errs = append(errs, <-stopped)
	}
	return errors.Join(errs...)
}

func stop(ctx context.Context, srv *http.Server) error {
	if err := srv.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("drain HTTP: cut off the requests still in flight: %w", err), srv.Close())
	}
	return nil
}

// newServer sets every limit of net/http that is off by default.
func (g *Gateway) newServer() (*http.Server, error) {
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
			MaxConcurrentStreams: 250,
			WriteByteTimeout:     g.opts.WriteTimeout,
			SendPingTimeout:      g.opts.IdleTimeout,
			PingTimeout:          g.opts.WriteTimeout,
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
	g.servers[srv] = struct{}{}
	return srv, nil
}

func (g *Gateway) forget(srv *http.Server) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.servers, srv)
}
