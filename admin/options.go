package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Options are the settings of the admin API.
type Options struct {
	// Listen is the address as configured, host:port. [Admin.Serve] is given a
	// listener; this is what Validate judges.
	Listen string
	// Token is the bearer token; empty means that who reaches it may enter.
	Token string
	// MaxImports is how many imports may run at once. Each needs about 16 MiB.
	MaxImports int
	// StallTimeout is how long an import's sender may send nothing, and a reader
	// may read nothing.
	StallTimeout time.Duration
	// ProgressInterval is the time between two progress lines of an import.
	ProgressInterval time.Duration
	// DrainTimeout is how long imports under way may still take when Serve's
	// context ends.
	DrainTimeout time.Duration
}

// DefaultOptions returns the settings of config.yaml: loopback, no token.
func DefaultOptions() Options {
	return Options{
		Listen:           "127.0.0.1:8081",
		MaxImports:       4,
		StallTimeout:     time.Minute,
		ProgressInterval: 500 * time.Millisecond,
		DrainTimeout:     10 * time.Second,
	}
}

// Validate reports the first setting that cannot work or is not safe.
func (o Options) Validate() error {
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %q: expected host:port, such as 127.0.0.1:8081", o.Listen)
	}
	if o.Token == "" && !isLoopbackHost(host) {
		return fmt.Errorf("admin.listen: %q can be reached from other machines, which needs a token: set admin.token, or listen on 127.0.0.1", o.Listen)
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("admin.token: it has a space or a character that is not printable ASCII, which no HTTP header can carry")
	}
	if o.MaxImports < 1 {
		return fmt.Errorf("admin: MaxImports is %d, expected at least 1", o.MaxImports)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"StallTimeout", o.StallTimeout}, {"ProgressInterval", o.ProgressInterval}, {"DrainTimeout", o.DrainTimeout}} {
		if d.value <= 0 {
			return fmt.Errorf("admin: %s is %s, expected more than 0", d.name, d.value)
		}
	}
	return nil
}

// isLoopbackHost reports whether host, a name or address without port, is this
// machine and nothing else. An empty host is every address of it.
func isLoopbackHost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
