package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/miekg/dns"
)

// identify finds out what the Host header names and sets the request's site
// label. A host that names nothing here is answered with 404, unless the edge
// is an open gateway, where it may be a DNSLink name.
func (g *Gateway) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := recordOf(r.Context())
		host, port := splitHost(r.Host)
		if !isPort(port) {
			http.Error(w, "the port of the Host header is no number", http.StatusBadRequest)
			return
		}
		door, label := rec.sites.door(&host)
		rec.label = label
		r.Host = joinHost(host, port)
		if door == doorUnknown && rec.sites.opts.Serve != ServeAny {
			http.Error(w, fmt.Sprintf("nothing is served here for host %q: it is neither a site nor one of gateway.hosts", abbreviate(host)), http.StatusNotFound)
			return
		}
		rec.query = queryOf(r.RequestURI)
		// boxo makes redirects and links of it.
		r.RequestURI = encode(cleanPath(r.URL.Path), inPath) + rec.query
		if takeURIParameter(w, r, rec.sites.isGateway(door, host)) {
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
// label of a subdomain is left as it is: a CIDv0 is case-sensitive, and boxo
// redirects it to a form that is not.
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

// takeURIParameter answers /ipfs/?uri=ipfs://... on a gateway. Everywhere else uri is
// the website's own parameter, and is hidden from boxo, which would answer the page
// with 400. It reports whether the request was answered.
func takeURIParameter(w http.ResponseWriter, r *http.Request, isGateway bool) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	q := r.URL.Query()
	if !q.Has("uri") {
		return false
	}
	switch uri := q.Get("uri"); strings.TrimSuffix(r.URL.Path, "/") {
	case "/ipfs", "/ipns":
		if !isGateway || uri == "" {
			break
		}
		to, err := protocolLocation(uri)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return true
		}
		recordOf(r.Context()).location = to
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
		return true
	}
	q.Del("uri")
	r.URL.RawQuery = q.Encode()
	return false
}

// publicGateways tells boxo about gateway.hosts.
func publicGateways(hosts []Host) map[string]*bgw.PublicGateway {
	m := make(map[string]*bgw.PublicGateway, len(hosts))
	for _, h := range hosts {
		m[strings.ToLower(h.Host)] = &bgw.PublicGateway{
			Paths:         []string{"/ipfs", "/ipns"},
			UseSubdomains: h.Subdomains,
			// my.site.org becomes my-site-org.ipns.<host>: one label, so that a
			// wildcard certificate covers it.
			InlineDNSLink:         true,
			DeserializedResponses: true,
		}
	}
	return m
}

// abbreviate keeps what a visitor sent from filling an answer or a log line.
func abbreviate(s string) string { return truncate(s, 128) }
