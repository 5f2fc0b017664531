package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// resolvConf lists the system's DNS servers (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// system asks the servers that this machine is set up with. It asks them itself,
// since the standard library's resolver does not tell the TTL; where the file that
// lists them is missing, that resolver is asked after all.
type system struct {
	// config is read for each lookup, so that a changed file is noticed. Lookups
	// are rare: answers are remembered.
	config  func() (*dns.ClientConfig, error)
	resolve func(ctx context.Context, fqdn string) ([]string, error)
	timeout time.Duration // for one question to one server
}

func newSystem(timeout time.Duration) *system {
	return &system{
		config:  func() (*dns.ClientConfig, error) { return dns.ClientConfigFromFile(resolvConf) },
		resolve: net.DefaultResolver.LookupTXT,
		timeout: timeout,
	}
}

func (s *system) String() string { return "the system's DNS servers" }

func (s *system) txt(ctx context.Context, fqdn string) ([]string, time.Duration, error) {
	cfg, err := s.config()
	if err != nil || len(cfg.Servers) == 0 {
		return s.fallback(ctx, fqdn)
	}
	var errs []error
	for range max(1, min(cfg.Attempts, 3)) {
		errs = errs[:0]
		for _, server := range cfg.Servers {
			records, ttl, err := s.ask(ctx, net.JoinHostPort(server, cfg.Port), fqdn)
			if _, denied := errors.AsType[*noRecordError](err); err == nil || denied {
				return records, ttl, err
			}
			errs = append(errs, fmt.Errorf("ask %s: %w", server, err))
			if ctx.Err() != nil {
				return nil, 0, errors.Join(errs...)
			}
		}
	}
	return nil, 0, errors.Join(errs...)
}

// ask puts the question to one server, over UDP, and over TCP if the answer is too
// large for that.
func (s *system) ask(ctx context.Context, server, fqdn string) ([]string, time.Duration, error) {
	q := question(fqdn)
	a, err := s.exchange(ctx, &dns.Client{Net: "udp"}, q, server)
	if a != nil && a.Truncated {
		a, err = s.exchange(ctx, &dns.Client{Net: "tcp"}, q, server)
	}
	if err != nil {
		return nil, 0, err
	}
	return readAnswer(q, a)
}

// exchange sends a question and waits for the answer, until ctx ends: the library
// heeds its deadline only.
func (s *system) exchange(ctx context.Context, c *dns.Client, q *dns.Msg, server string) (*dns.Msg, error) {
	c.Timeout = s.timeout
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	return a, err
}

func (s *system) fallback(ctx context.Context, fqdn string) ([]string, time.Duration, error) {
	records, err := s.resolve(ctx, dns.Fqdn(fqdn)) // the dot keeps search domains out
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && dnsErr.IsNotFound {
		return nil, 0, &noRecordError{ttl: -1}
	}
	return records, -1, err
}
