package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/miekg/dns"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/printable"
)

// ServePolicy says which content a stranger may ask for by CID.
type ServePolicy string

// The policies, from the narrowest to the widest.
const (
	// ServePinned serves by CID only what is pinned here. Sites are served under
	// their host names.
	ServePinned ServePolicy = "pinned"
	// ServeSites serves by CID, in addition, the trees of the sites.
	ServeSites ServePolicy = "sites"
	// ServeAny is an open gateway: every CID, every IPNS name, and every other
	// Host as a DNSLink name.
	ServeAny ServePolicy = "any"
)

// ContentDNSLink is the value of [Site.Content] for a site whose content the DNS
// names: the TXT record of _dnslink.<host>.
const ContentDNSLink = "dnslink"

// Host is a name under which this edge is a gateway: it serves /ipfs/... and
// /ipns/... paths there.
type Host struct {
	// Host is a DNS name in lower case, without a port.
	Host string
	// Subdomains gives each CID an origin of its own, <cid>.ipfs.<host>, and
	// redirects paths there. See https://specs.ipfs.tech/http-gateways/subdomain-gateway/.
	Subdomains bool
}

// Site is a website that this edge fronts.
type Site struct {
	// Host is the site's DNS name, in any case, without a port.
	Host string
	// Content is /ipfs/CID[/path], /ipns/NAME[/path], or "dnslink".
	Content string
}

// Options are the settings of the public door. Start from [DefaultOptions].
type Options struct {
	Serve ServePolicy
	Hosts []Host
	Sites []Site
	// TrustedProxies are the networks (CIDR) or addresses whose X-Forwarded-*
	// and Forwarded headers are believed. Everyone else's are removed.
	TrustedProxies []string

	// Connect answers CONNECT with 200, and requests in absolute form whatever host
	// they name. Nothing is passed on: what follows is answered from here. Without it,
	// who takes this edge for a proxy gets 405.
	Connect bool

	// MaxRequests bounds the requests that wait for content this edge does not
	// hold. A request takes a place before its first such block and keeps it
	// until it ends; one that finds no place gets 503 with Retry-After. Requests
	// for content that is held here need no place and are never refused.
	MaxRequests int
	// RetrievalTimeout bounds the wait for content: until the first byte, and
	// then for each block. Exceeding it gives 504, or cuts the response short.
	RetrievalTimeout time.Duration
	// RequestTimeout bounds a request from beginning to end.
	RequestTimeout time.Duration
	// WriteTimeout bounds how long a client may take for the next 64 KiB before
	// its connection is closed. It is not a bound on the whole response: a slow
	// client that keeps reading is served.
	WriteTimeout time.Duration
	// ReadHeaderTimeout bounds how long a client may take to send its request.
	ReadHeaderTimeout time.Duration
	// IdleTimeout is how long a connection is kept open between requests.
	IdleTimeout time.Duration
	// DrainTimeout is how long Serve waits for requests in flight once its
	// context ends. What is still running then is cut off.
	DrainTimeout time.Duration
	// MaxHeaderBytes bounds a request's header, in bytes.
	MaxHeaderBytes int
	// MaxResponseSize refuses files and folders whose DAG is larger, in bytes,
	// with 410, in every format. 0 means no bound.
	MaxResponseSize int64
	// FetchParallel is how many blocks one request may fetch at once.
	FetchParallel int
	// HotBytes bounds the memory, in bytes, that is used to answer what was asked
	// before without looking at its blocks again: finished answers of small files,
	// and where the parts of large ones lie. 0 turns this off.
	HotBytes int64
	// HotBodies says whether the bytes of small files are kept too. Without them,
	// all content is read from [Blocks].
	HotBodies bool
	// Compression says whether text and other content that gets smaller by it is sent
	// in brotli, Zstandard or gzip to clients that take it.
	Compression bool
	// SiteTTL is how long browsers may keep a page of a site whose content is
	// configured as a CID before they ask whether it changed.
	SiteTTL time.Duration
}

// DefaultOptions returns the settings of an edge that serves localhost and no
// sites yet.
func DefaultOptions() Options {
	return Options{
		Serve:             ServeSites,
		Hosts:             []Host{{Host: "localhost", Subdomains: true}},
		MaxRequests:       4096,
		RetrievalTimeout:  30 * time.Second,
		RequestTimeout:    time.Hour,
		WriteTimeout:      30 * time.Second,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		DrainTimeout:      30 * time.Second,
		MaxHeaderBytes:    32 << 10,
		FetchParallel:     8,
		HotBytes:          128 << 20,
		HotBodies:         true,
		Compression:       true,
		SiteTTL:           time.Minute,
	}
}

// Validate reports the first setting that makes no sense, naming the key, the
// value and what was expected.
func (o Options) Validate() error {
	switch o.Serve {
	case ServePinned, ServeSites, ServeAny:
	default:
		return fmt.Errorf("gateway.serve: %q: want sites, pinned or any", o.Serve)
	}
	if err := validateHosts(o.Hosts); err != nil {
		return err
	}
	if _, err := parseSites(o.Sites); err != nil {
		return err
	}
	if _, err := parseProxies(o.TrustedProxies); err != nil {
		return err
	}
	if o.MaxResponseSize < 0 {
		return fmt.Errorf("gateway.max_response_size: %d: want 0 (no bound) or more bytes", o.MaxResponseSize)
	}
	if o.HotBytes < 0 {
		return fmt.Errorf("gateway.hot_bytes: %d: want 0 (off) or more bytes", o.HotBytes)
	}
	for _, n := range []struct {
		key  string
		v    int
		unit string
	}{
		{"max_requests", o.MaxRequests, "requests"},
		{"max_header_bytes", o.MaxHeaderBytes, "bytes"},
		{"fetch_parallel", o.FetchParallel, "blocks"},
	} {
		if n.v <= 0 {
			return fmt.Errorf("gateway.%s: %d: want a positive number of %s", n.key, n.v, n.unit)
		}
	}
	return o.validateDurations()
}

func (o Options) validateDurations() error {
	for _, d := range []struct {
		key string
		v   time.Duration
	}{
		{"retrieval_timeout", o.RetrievalTimeout},
		{"request_timeout", o.RequestTimeout},
		{"write_timeout", o.WriteTimeout},
		{"read_header_timeout", o.ReadHeaderTimeout},
		{"idle_timeout", o.IdleTimeout},
		{"drain_timeout", o.DrainTimeout},
		{"site_ttl", o.SiteTTL},
	} {
		if d.v <= 0 {
			return fmt.Errorf("gateway.%s: %s: want a positive duration such as 30s", d.key, d.v)
		}
	}
	return nil
}

func validateHosts(hosts []Host) error {
	seen := make(map[string]bool, len(hosts))
	for i, h := range hosts {
		key := fmt.Sprintf("gateway.hosts[%d].host", i)
		if err := checkHostname(h.Host); err != nil {
			return fmt.Errorf("%s: %q: %w", key, h.Host, err)
		}
		name := strings.ToLower(h.Host)
		if seen[name] {
			return fmt.Errorf("%s: %q: listed twice", key, h.Host)
		}
		seen[name] = true
		if _, err := netip.ParseAddr(name); err == nil && h.Subdomains {
			return fmt.Errorf("%s: %q: an IP address has no subdomains; want a DNS name, or subdomains: false", key, h.Host)
		}
	}
	return nil
}

// checkHostname accepts what a Host header can name, without a port.
func checkHostname(host string) error {
	const want = "want a DNS name such as www.example.org, without scheme, port or path"
	if host == "" || strings.ContainsAny(host, "/:*@ \t\\") || strings.HasPrefix(host, ".") {
		return errors.New(want)
	}
	if _, ok := dns.IsDomainName(host); !ok || printable.Check(host) != nil {
		return errors.New(want)
	}
	return nil
}

// parseProxies reads networks and single addresses.
func parseProxies(list []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(list))
	for i, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			addr, addrErr := netip.ParseAddr(s)
			if addrErr != nil {
				return nil, fmt.Errorf("gateway.trusted_proxies[%d]: %q: want a CIDR such as 10.0.0.0/8, or an IP address", i, s)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// parseContent reads a site's content path; nil means "dnslink".
func parseContent(content string) (path.Path, error) {
	const want = "want /ipfs/CID[/path], /ipns/NAME[/path] or dnslink"
	if content == ContentDNSLink {
		return nil, nil
	}
	p, err := path.NewPath(strings.TrimSuffix(content, "/"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", want, err)
	}
	switch p.Namespace() {
	case path.IPFSNamespace:
		ip, err := path.NewImmutablePath(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", want, err)
		}
		if err := block.CheckCID(ip.RootCid()); err != nil {
			return nil, err
		}
	case path.IPNSNamespace:
	default:
		return nil, errors.New(want)
	}
	return p, nil
}
