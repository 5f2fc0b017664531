package names

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Options configures [Names].
type Options struct {
	// Resolvers are the URLs of DNS-over-HTTPS resolvers (RFC 8484), asked in
	// order: the next one when the one before it fails. None: the servers in
	// /etc/resolv.conf, or without that file whatever the system resolves with.
	Resolvers []string
	// IPNSGateway is the URL of a trustless gateway that hands out signed IPNS
	// records. Empty: IPNS names cannot be resolved.
	IPNSGateway string

	// Entries is how many names are remembered; the least recently used go first.
	// A DNSLink takes about 500 bytes, an IPNS name at most 11 KiB.
	Entries int
	// Lookups is how many names of each kind may be looked up at once. More are
	// refused: they come from a flood of names, and what is remembered is served on.
	Lookups int
}

const (
	// minTTL and maxTTL bound for how long an answer is used without asking again.
	minTTL, maxTTL = time.Second, 24 * time.Hour
	// defaultTTL is used where the source tells none.
	defaultTTL = time.Minute
	// negativeTTL bounds for how long it is remembered that a name has no record.
	negativeTTL = 30 * time.Second
	// maxStale is for how long an expired answer is served while the name cannot
	// be looked up.
	maxStale = 24 * time.Hour
	// patience is how long somebody waits for a lookup before getting the expired
	// answer, if there is one: the client response timer of RFC 8767.
	patience = 1800 * time.Millisecond
	// retry is the pause after a failed lookup of a name. It doubles with each
	// failure, up to retryMax.
	retry, retryMax = 2 * time.Second, 30 * time.Second
	// dnsTimeout bounds one question to one resolver, ipnsTimeout one to the gateway.
	dnsTimeout, ipnsTimeout = 5 * time.Second, 20 * time.Second
	// depthLimit is how many names a path may lead through: what the DNSLink gateway
	// specification suggests.
	depthLimit = 32
)

// DefaultOptions resolves DNSLinks with the system's DNS servers, and no IPNS
// names.
func DefaultOptions() Options { return Options{Entries: 4096, Lookups: 256} }

// Validate reports the values that cannot be used.
func (o Options) Validate() error {
	var errs []error
	for i, r := range o.Resolvers {
		if _, err := endpoint(r); err != nil {
			errs = append(errs, fmt.Errorf("names: Resolvers[%d]: %w", i, err))
		}
	}
	if o.IPNSGateway != "" {
		if _, err := endpoint(o.IPNSGateway); err != nil {
			errs = append(errs, fmt.Errorf("names: IPNSGateway: %w", err))
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{{"Entries", o.Entries}, {"Lookups", o.Lookups}} {
		if n.value < 1 {
			errs = append(errs, fmt.Errorf("names: %s: %d: expected 1 or more", n.field, n.value))
		}
	}
	return errors.Join(errs...)
}

// endpoint reads the URL of a resolver or a gateway. RFC 8484 writes a resolver as
// a URI template, whose only variable is accepted and dropped.
func endpoint(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(s, "{?dns}"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: expected a URL: %w", s, err)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, fmt.Errorf("%q: expected a URL such as https://host.example/path", s)
	case u.Fragment != "":
		return nil, fmt.Errorf("%q: expected a URL without #fragment", s)
	}
	return u, nil
}
