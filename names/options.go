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

	// MinTTL and MaxTTL bound for how long an answer is used without asking again.
	MinTTL, MaxTTL time.Duration
	// DefaultTTL is used where the source tells none.
	DefaultTTL time.Duration
	// NegativeTTL bounds for how long it is remembered that a name has no record.
	NegativeTTL time.Duration
	// MaxStale is for how long an expired answer is served while the name cannot
	// be looked up. 0 serves none.
	MaxStale time.Duration
	// Patience is how long somebody waits for a lookup before getting the expired
	// answer, if there is one.
	Patience time.Duration
	// Retry is the pause after a failed lookup of a name. It doubles with each
	// failure, up to RetryMax.
	Retry, RetryMax time.Duration
	// DNSTimeout bounds one question to one resolver, IPNSTimeout one to the gateway.
	DNSTimeout, IPNSTimeout time.Duration

	// Entries is how many names are remembered; the least recently used go first.
	// A DNSLink takes about 500 bytes, an IPNS name at most 11 KiB.
	Entries int
	// Lookups is how many names of each kind may be looked up at once. More are
	// refused: they come from a flood of names, and what is remembered is served on.
	Lookups int
	// DepthLimit is how many names a path may lead through.
	DepthLimit int
}

// DefaultOptions resolves DNSLinks with the system's DNS servers, and no IPNS
// names.
func DefaultOptions() Options {
	return Options{
		MinTTL:      time.Second,
		MaxTTL:      24 * time.Hour,
		DefaultTTL:  time.Minute,
		NegativeTTL: 30 * time.Second,
		MaxStale:    24 * time.Hour,
		Patience:    1800 * time.Millisecond, // the client response timer of RFC 8767
		Retry:       2 * time.Second,
		RetryMax:    30 * time.Second,
		DNSTimeout:  5 * time.Second,
		IPNSTimeout: 20 * time.Second,
		Entries:     4096,
		Lookups:     256,
		DepthLimit:  32, // what the DNSLink gateway specification suggests
	}
}

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
	for _, d := range []struct {
		field string
		value time.Duration
		least time.Duration
	}{
		{"MinTTL", o.MinTTL, 0},
		{"MaxTTL", o.MaxTTL, max(o.MinTTL, 1)},
		{"DefaultTTL", o.DefaultTTL, 1},
		{"NegativeTTL", o.NegativeTTL, 0},
		{"MaxStale", o.MaxStale, 0},
		{"Patience", o.Patience, 0},
		{"Retry", o.Retry, 1},
		{"RetryMax", o.RetryMax, max(o.Retry, 1)},
		{"DNSTimeout", o.DNSTimeout, 1},
		{"IPNSTimeout", o.IPNSTimeout, 1},
	} {
		if d.value < d.least {
			errs = append(errs, fmt.Errorf("names: %s: %s: expected %s or more", d.field, d.value, d.least))
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{{"Entries", o.Entries}, {"Lookups", o.Lookups}, {"DepthLimit", o.DepthLimit}} {
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
