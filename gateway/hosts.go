package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/shoal-cdn/shoal/gateway/answer"
)

// identify finds out what the Host header names and sets the request's site
// label. A host that names nothing here is answered with 404, unless the edge
// is an open gateway, where it may be a DNSLink name.
func (g *Gateway) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		host, port := splitHost(r.Host)
		if !isPort(port) {
			g.fail(w, x, answer.Refuse(http.StatusBadRequest, "the port of the Host header is no number"))
			return
		}
		x.opens, x.label = x.sites.door(&host)
		r.Host = joinHost(host, port)
		if x.opens == doorUnknown && x.sites.opts.Serve != ServeAny {
			g.fail(w, x, answer.Refuse(http.StatusNotFound, "nothing is served here for host %q: it is neither a site nor one of gateway.hosts", answer.Abbreviate(host)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isPort reports whether s is what may stand behind a host's colon (RFC 3986, section
// 3.2.3). A Host that is not well-formed is answered with 400 (RFC 9112, section 3.2).
func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

// door is one of the ways in that a host name opens.
type door int

const (
	doorUnknown   door = iota // a host that is not configured
	doorAddress               // an IP address, or no Host at all: paths
	doorGateway               // one of gateway.hosts: paths, or redirects to subdomains
	doorSubdomain             // <root>.<ipfs|ipns>.<one of gateway.hosts>
	doorSite                  // one of the sites
)

// door classifies a host and brings it into the spelling that is configured. The
// label of a subdomain is left as it is: a CIDv0 is case-sensitive, and is
// redirected to a form that is not.
func (t *siteTable) door(host *string) (door, string) {
	lower := strings.TrimSuffix(strings.ToLower(*host), ".")
	if lower == "" {
		return doorAddress, labelAddress
	}
	if _, err := netip.ParseAddr(lower); err == nil {
		return doorAddress, labelAddress
	}
	if s, ok := t.lookup(lower); ok {
		*host = lower
		return doorSite, s.host
	}
	if _, ok := t.hosts[lower]; ok {
		*host = lower
		return doorGateway, lower
	}
	for _, h := range t.opts.Hosts {
		name := strings.ToLower(h.Host)
		for _, ns := range []string{".ipfs.", ".ipns."} {
			if strings.HasSuffix(lower, ns+name) && len(*host) >= len(ns+name) {
				trimmed := strings.TrimSuffix(*host, ".")
				*host = trimmed[:len(trimmed)-len(ns+name)] + ns + name
				return doorSubdomain, "*." + name
			}
		}
	}
	return doorUnknown, labelOther
}

// Labels of requests that belong to no configured host. A visitor can send any
// host name, so the name itself must not become a metric.
const (
	labelAddress = "address"
	labelOther   = "other"
)

// splitHost takes the port and an IPv6 address's brackets off a Host header.
func splitHost(hostport string) (host, port string) {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]"), ""
}

func joinHost(host, port string) string {
	if port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

// isFQDN reports whether a name can have a DNSLink record worth asking for.
func isFQDN(name string) bool {
	labels, ok := dns.IsDomainName(name)
	return ok && labels > 1 && !strings.ContainsAny(name, "/:[]@ ")
}

// isGateway reports whether /ipfs/ and /ipns/ are the gateway's own under a host, and
// not a website's.
func (t *siteTable) isGateway(d door, host string) bool {
	_, listed := t.hosts[host]
	return listed || d == doorAddress || d == doorUnknown
}
