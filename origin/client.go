package origin

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// userAgent is how Shoal introduces itself. It has no version: an origin has no
// use for one that a stranger would not have as well.
const userAgent = "shoal"

// maxRedirects is enough for http to https, a path to a subdomain gateway, and
// one storage behind it.
const maxRedirects = 4

// credentials are the headers that only the origin itself may see.
func credentials(s Spec, user *url.Userinfo) http.Header {
	h := make(http.Header, len(s.Headers)+1)
	for name, value := range s.Headers {
		h.Set(name, value)
	}
	if s.Token != "" {
		h.Set("Authorization", "Bearer "+s.Token)
	}
	if user != nil {
		password, _ := user.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		h.Set("Authorization", "Basic "+basic)
	}
	return h
}

func newClient(base *url.URL, secrets http.Header, o Options) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         dialFrom(base.Hostname(), dialTimeout),
			TLSHandshakeTimeout: dialTimeout,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:   true,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
			// Every turn may come back to an open connection.
			MaxIdleConns:        o.Concurrency,
			MaxIdleConnsPerHost: o.Concurrency,
			IdleConnTimeout:     90 * time.Second,
			ReadBufferSize:      64 << 10,
			// Blocks are asked for as they are: nothing is ever decompressed.
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			return checkRedirect(req, via, base, secrets)
		},
	}
}

// dialFrom connects to the origin's own host wherever that is, and to hosts that
// it redirects to only at public addresses: the operator chose the first, the
// origin chooses the others, and must not aim an edge at the network behind it.
func dialFrom(host string, timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	own := &net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}
	other := &net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second, Control: publicOnly}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h, _, err := net.SplitHostPort(addr); err == nil && strings.EqualFold(h, host) {
			return own.DialContext(ctx, network, addr)
		}
		return other.DialContext(ctx, network, addr)
	}
}

// carrierNAT is RFC 6598, which netip does not count as private.
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// publicOnly is called with the resolved address, so that no name gets around it.
func publicOnly(_, address string, _ syscall.RawConn) error {
	if a, err := netip.ParseAddrPort(address); err == nil {
		if ip := a.Addr().Unmap(); ip.IsGlobalUnicast() && !ip.IsPrivate() && !carrierNAT.Contains(ip) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is not a public address", errRedirect, address)
}

var errRedirect = errors.New("redirect refused")

// checkRedirect allows a few redirects, none from https to http, and takes the
// credentials out of a request that goes elsewhere.
func checkRedirect(req *http.Request, via []*http.Request, base *url.URL, secrets http.Header) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d in a row", errRedirect, maxRedirects)
	}
	if req.URL.Scheme != "https" && (req.URL.Scheme != "http" || via[len(via)-1].URL.Scheme == "https") {
		return fmt.Errorf("%w: from %s to %s", errRedirect, via[len(via)-1].URL.Scheme, req.URL.Scheme)
	}
	// net/http adds the previous URL, whose query may be a signed one.
	req.Header.Del("Referer")
	if req.URL.Scheme != base.Scheme || req.URL.Host != base.Host {
		for name := range secrets {
			req.Header.Del(name)
		}
	}
	if req.URL.User != nil {
		return fmt.Errorf("%w: its target holds a user name", errRedirect)
	}
	return nil
}
