package names

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/prometheus/client_golang/prometheus"
)

// Names resolves names and remembers what they point to. It is safe for
// concurrent use.
type Names struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	client  *http.Client
	dns     txtResolver
	gateway *ipnsGateway // nil: IPNS names are not resolved

	// life ends with Close, and every lookup with it.
	life    context.Context
	end     context.CancelFunc
	lookups sync.WaitGroup

	mu     sync.Mutex // guards what follows; never held while somebody is asked
	table  *simplelru.LRU[string, *entry]
	busy   map[kind]int // lookups under way
	closed bool
}

// New prepares the resolution of names. It asks nobody yet. Metrics go to reg,
// which may be nil.
func New(opts Options, log *slog.Logger, reg prometheus.Registerer) (*Names, error) {
	return newNames(opts, newTransport(opts), log, reg)
}

// newTransport speaks to resolvers and gateway: few places, many questions.
func newTransport(opts Options) http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dnsTimeout}).DialContext,
		TLSHandshakeTimeout:    dnsTimeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func newNames(opts Options, transport http.RoundTripper, log *slog.Logger, reg prometheus.Registerer) (*Names, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	table, err := simplelru.NewLRU[string, *entry](opts.Entries, nil)
	if err != nil {
		return nil, err
	}
	n := &Names{
		opts:   opts,
		log:    log,
		client: &http.Client{Transport: transport},
		table:  table,
		busy:   make(map[kind]int),
	}
	if err := n.connect(); err != nil {
		return nil, err
	}
	if n.metrics, err = newMetrics(n, reg); err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	n.life, n.end = context.WithCancel(context.Background())
	return n, nil
}

// connect sets up who is asked.
func (n *Names) connect() error {
	chain := &failover{}
	for _, r := range n.opts.Resolvers {
		u, err := endpoint(r)
		if err != nil {
			return err
		}
		d := &doh{url: u, client: n.client}
		chain.resolvers = append(chain.resolvers, &upstream{resolver: d, health: health{log: n.log, what: d.String()}})
		chain.timeout = dnsTimeout
	}
	if len(chain.resolvers) == 0 {
		s := newSystem(dnsTimeout)
		chain.timeout = 3 * dnsTimeout // it asks several servers
		chain.resolvers = []*upstream{{resolver: s, health: health{log: n.log, what: s.String()}}}
	}
	n.dns = chain
	if n.opts.IPNSGateway == "" {
		return nil
	}
	u, err := endpoint(n.opts.IPNSGateway)
	if err != nil {
		return err
	}
	n.gateway = &ipnsGateway{
		url:     u,
		client:  n.client,
		timeout: ipnsTimeout,
		health:  health{log: n.log, what: u.Redacted()},
	}
	return nil
}

// Resolve returns the immutable path that p leads to now, through as many names
// as it takes, and for how long that holds. The rest of the path behind a name is
// kept. An immutable path is returned as it is, for no time.
//
// When ctx ends first, the error wraps its cause; all others are an [*Error].
func (n *Names) Resolve(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error) {
	var (
		first = p.Segments()[1]
		way   = make([]string, 0, 4) // the names on it; few are longer
		ttl   = time.Duration(-1)
	)
	for p.Mutable() {
		segments := p.Segments()
		nm, err := parseName(segments[1])
		if err == nil {
			err = n.mayPass(first, way, nm)
		}
		if err != nil {
			return path.ImmutablePath{}, 0, err
		}
		way = append(way, nm.text)
		a, left, err := n.find(ctx, nm)
		if err == nil {
			err = a.pathErr
		}
		if err == nil {
			p, err = join(nm, a.path, segments[2:], strings.HasSuffix(p.String(), "/"))
		}
		if err != nil {
			return path.ImmutablePath{}, 0, err
		}
		ttl = shorter(ttl, left)
	}
	ip, ok := p.(path.ImmutablePath)
	if !ok {
		var err error
		if ip, err = path.NewImmutablePath(p); err != nil {
			return path.ImmutablePath{}, 0, invalid(name{text: first}, err).err
		}
	}
	return ip, max(0, ttl), nil
}

// mayPass refuses circles and long ways.
func (n *Names) mayPass(first string, way []string, next name) error {
	if slices.Contains(way, next.text) {
		return &Error{Name: first, Reason: ErrRecursion, Detail: fmt.Sprintf("%q leads back to itself", next.text)}
	}
	if len(way) == depthLimit {
		return &Error{Name: first, Reason: ErrRecursion, Detail: fmt.Sprintf("the limit is %d", depthLimit)}
	}
	return nil
}

// join appends what stood behind a name to what the name points to.
func join(nm name, target path.Path, rest []string, slash bool) (path.Path, error) {
	if len(rest) == 0 && !slash {
		return target, nil
	}
	s := strings.TrimSuffix(target.String(), "/") + path.SegmentsToString(rest...)
	if slash {
		s += "/"
	}
	if len(s) > 16*maxTarget {
		return nil, invalid(nm, fmt.Errorf("the path has grown to %d bytes", len(s))).err
	}
	joined, err := path.NewPath(s)
	if err != nil {
		return nil, invalid(nm, err).err
	}
	return joined, nil
}

// Record returns the signed record of an IPNS name, verified, in the form in
// which it is published.
//
// When ctx ends first, the error wraps its cause; all others are an [*Error].
func (n *Names) Record(ctx context.Context, in ipns.Name) ([]byte, error) {
	nm, err := ipnsName(in)
	if err != nil {
		return nil, err
	}
	a, _, err := n.find(ctx, nm)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(a.record), nil
}

// DNSLink returns what the DNSLink of a DNS name points to, which may be another
// name, and for how long that holds.
//
// When ctx ends first, the error wraps its cause; all others are an [*Error].
func (n *Names) DNSLink(ctx context.Context, fqdn string) (path.Path, time.Duration, error) {
	nm, err := dnsName(fqdn)
	if err != nil {
		return nil, 0, err
	}
	a, ttl, err := n.find(ctx, nm)
	if err != nil {
		return nil, 0, err
	}
	return a.path, ttl, nil
}

// Close ends the lookups under way and waits until they have ended. What is
// remembered and has not expired is still answered.
func (n *Names) Close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.end()
	n.lookups.Wait()
	n.client.CloseIdleConnections()
	n.metrics.unregister()
	return nil
}
