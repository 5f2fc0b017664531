package gateway

import (
	"net/http"
	"net/netip"
	"strings"
)

// believeProxies applies X-Forwarded-For, -Host and -Proto, or Forwarded
// (RFC 7239), when the peer is a trusted proxy, and removes them all before
// anything else sees them.
func believeProxies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		fwd, client := x.sites.believe(r)
		for name := range r.Header {
			if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
				delete(r.Header, name)
			}
		}
		x.client = client
		if fwd.host != "" {
			r.Host = fwd.host
		}
		x.host, x.https = r.Host, fwd.proto == "https"
		next.ServeHTTP(w, r)
	})
}

// believe reads what a trusted proxy says, and finds out who asks.
func (t *rules) believe(r *http.Request) (forwarded, netip.Addr) {
	peer := peerAddr(r.RemoteAddr)
	fwd := forwarded{}
	if t.trusts(peer) {
		fwd = readForwarded(r.Header)
	}
	return fwd, t.client(peer, fwd.chain)
}

func (t *rules) trusts(addr netip.Addr) bool {
	for _, p := range t.proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// client returns the right-most address of the chain that is not a trusted
// proxy: what stands left of it, anyone may have written.
func (t *rules) client(peer netip.Addr, chain []string) netip.Addr {
	addr := peer
	for i := len(chain) - 1; i >= 0 && t.trusts(addr); i-- {
		next := peerAddr(chain[i])
		if !next.IsValid() {
			break
		}
		addr = next
	}
	return addr
}

// peerAddr reads an address with or without a port; the zero Addr when it is none.
func peerAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap()
	}
	addr, _ := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap()
}

// forwarded is what a chain of proxies says about a request.
type forwarded struct {
	chain []string // client first
	host  string
	proto string
}

// readForwarded reads the headers. X-Forwarded-* wins over Forwarded, and of
// several hosts the last, which the nearest proxy wrote.
func readForwarded(h http.Header) forwarded {
	f := forwarded{
		chain: listValues(h, "X-Forwarded-For"),
		host:  last(listValues(h, "X-Forwarded-Host")),
		proto: strings.ToLower(last(listValues(h, "X-Forwarded-Proto"))),
	}
	std := standardForwarded(listValues(h, "Forwarded"))
	if len(f.chain) == 0 {
		f.chain = std.chain
	}
	if f.host == "" {
		f.host = std.host
	}
	if f.proto == "" {
		f.proto = std.proto
	}
	if strings.ContainsAny(f.host, "/@\\ \t\"") {
		f.host = ""
	}
	return f
}

// standardForwarded reads the elements of Forwarded: for=1.2.3.4;proto=https;host=x.
func standardForwarded(elements []string) forwarded {
	var f forwarded
	for _, e := range elements {
		for pair := range strings.SplitSeq(e, ";") {
			key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(key) {
			case "for":
				f.chain = append(f.chain, value)
			case "host":
				f.host = value
			case "proto":
				f.proto = strings.ToLower(value)
			}
		}
	}
	return f
}

func listValues(h http.Header, name string) []string {
	var out []string
	for _, line := range h.Values(name) {
		for v := range strings.SplitSeq(line, ",") {
			if v = strings.TrimSpace(v); v != "" {
				out = append(out, v)
			}
		}
	}
	return out
}

func last(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[len(s)-1]
}
