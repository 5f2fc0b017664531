package names

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/miekg/dns"
)

const dnsMessage = "application/dns-message"

// doh is one DNS-over-HTTPS resolver (RFC 8484).
type doh struct {
	url    *url.URL
	client *http.Client
}

func (d *doh) String() string { return d.url.Redacted() }

func (d *doh) txt(ctx context.Context, fqdn string) ([]string, time.Duration, error) {
	q := question(fqdn)
	q.Id = 0 // so that HTTP caches on the way see one URL for one question
	wire, err := q.Pack()
	if err != nil {
		return nil, 0, fmt.Errorf("pack DNS question for %s: %w", fqdn, err)
	}
	u := *d.url
	values := u.Query()
	values.Set("dns", base64.RawURLEncoding.EncodeToString(wire))
	u.RawQuery = values.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", dnsMessage)
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, 0, &statusError{code: resp.StatusCode, after: retryAfter(resp)}
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != dnsMessage {
		return nil, 0, fmt.Errorf("answer has the type %.80q; expected %s", t, dnsMessage)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, dns.MaxMsgSize+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read DNS answer: %w", err)
	}
	return parseDoH(q, body, age(resp))
}

// parseDoH reads the body of an answer that has spent age in HTTP caches.
func parseDoH(q *dns.Msg, body []byte, age time.Duration) ([]string, time.Duration, error) {
	if len(body) > dns.MaxMsgSize {
		return nil, 0, fmt.Errorf("DNS answer is larger than %d bytes", dns.MaxMsgSize)
	}
	a := new(dns.Msg)
	if err := a.Unpack(body); err != nil {
		return nil, 0, fmt.Errorf("unpack DNS answer: %w", err)
	}
	records, ttl, err := readAnswer(q, a)
	if ttl > 0 {
		ttl = max(0, ttl-age)
	}
	return records, ttl, err
}

// age is how long an answer has been in HTTP caches (RFC 8484, section 5.1).
func age(resp *http.Response) time.Duration {
	n, err := strconv.ParseUint(resp.Header.Get("Age"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// statusError is an HTTP answer other than the one hoped for.
type statusError struct {
	code  int
	after time.Duration // when to ask again; 0 if it does not say
}

func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.code, http.StatusText(e.code))
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3).
func retryAfter(resp *http.Response) time.Duration {
	h := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(h, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}
