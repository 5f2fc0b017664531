package origin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

const (
	// rawType is the content type of a block (Trustless Gateway, section 3).
	rawType = "application/vnd.ipld.raw"
	// drainLimit is how much of an error page is read to keep its connection.
	drainLimit   = 16 << 10
	drainTimeout = 200 * time.Millisecond
	// stallBytes must arrive within StallTimeout.
	stallBytes = 4 << 10
)

// exchange makes one request and returns a verified block, not found, or a
// *failure.
func (g *gateway) exchange(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	started := time.Now()
	b, err := g.roundTrip(ctx, c)
	o := outcomeOf(err)
	g.meter.request(o, started)
	if o != outcomeOK && o != outcomeNotFound && o != outcomeCanceled {
		g.log.Debug("origin request failed", "cid", c, "outcome", string(o), "err", err)
	}
	return b, err
}

func (g *gateway) roundTrip(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := time.AfterFunc(headerTimeout, func() { cancel(errNoHeader) })
	defer header.Stop()

	resp, err := g.client.Do(g.request(inner, c))
	if err != nil {
		return nil, transportFailure(ctx, inner, err)
	}
	defer resp.Body.Close()
	header.Stop()
	if err := reserve(ctx, resp); err != nil { // which is not the origin's silence
		return nil, transportFailure(ctx, inner, err)
	}
	w := &watched{body: resp.Body, limit: stallTimeout}
	w.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer func() {
		w.timer.Stop()
		g.meter.bytes.Add(float64(w.total))
	}()

	if resp.StatusCode != http.StatusOK {
		// Errors are often short: reading them to the end saves a new connection, but
		// is worth no wait.
		w.timer.Reset(min(stallTimeout, drainTimeout))
		w.limit = drainTimeout
		_, _ = io.CopyN(io.Discard, w, drainLimit)
		return nil, g.refusal(resp, c)
	}
	if f := unacceptable(resp); f != nil {
		return nil, f
	}
	data, err := readBlock(w, resp.ContentLength)
	if err != nil {
		return nil, transportFailure(ctx, inner, fmt.Errorf("after %d bytes of the body: %w", w.total, err))
	}
	return checked(c, data, resp)
}

// reserve waits until the body of an answer may come in.
func reserve(ctx context.Context, resp *http.Response) error {
	size := resp.ContentLength
	switch {
	case resp.StatusCode != http.StatusOK || size > block.MaxSize:
		return nil // little of it is read
	case size < 0:
		size = block.MaxSize
	}
	if err := block.Reserve(ctx, size); err != nil {
		return fmt.Errorf("waiting for memory for %d bytes: %w", size, err)
	}
	return nil
}

// request builds the request for a block (Trustless Gateway, sections 1 and 2).
func (g *gateway) request(ctx context.Context, c cid.Cid) *http.Request {
	u := g.base.JoinPath(c.String())
	u.RawQuery = "format=raw"
	req := (&http.Request{
		Method: http.MethodGet, URL: u, Host: u.Host, Header: g.header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	req.Header.Set("Accept", rawType)
	// Without this, a server may choose an encoding (RFC 9110, section 12.5.3).
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", userAgent)
	return req
}

// unacceptable refuses a 200 by its header, before any of the body is read.
func unacceptable(resp *http.Response) error {
	if resp.ContentLength > block.MaxSize {
		return &failure{outcome: outcomeTooLarge, err: fmt.Errorf("%w: it announces %d bytes, the limit is %d",
			block.ErrTooLarge, resp.ContentLength, block.MaxSize)}
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &failure{outcome: outcomeMismatch, blame: true, err: fmt.Errorf(
			"%w: it sent them encoded as %.20q although asked not to", block.ErrMismatch, e)}
	}
	return nil
}

// checked turns the body of a 200 into a verified block.
func checked(c cid.Cid, data []byte, resp *http.Response) (*block.Verified, error) {
	b, err := block.New(c, data)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, block.ErrTooLarge):
		return nil, &failure{outcome: outcomeTooLarge, err: fmt.Errorf("%w: more than %d bytes", block.ErrTooLarge, block.MaxSize)}
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != rawType {
		err = fmt.Errorf("%w (content type %.60q: is this a trustless gateway?)", err, t)
	}
	return nil, &failure{outcome: outcomeMismatch, blame: true, err: err}
}

// refusal reads a status other than 200.
func (g *gateway) refusal(resp *http.Response, c cid.Cid) error {
	f := &failure{outcome: outcomeRefused, err: fmt.Errorf("HTTP status %d", resp.StatusCode)}
	wait, asked := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusUnavailableForLegalReasons:
		return block.NotFound(c)
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && asked && wait > 0:
		if !asked {
			wait = failureTTL
		}
		f.outcome, f.wait = outcomeThrottled, min(wait, maxRetryAfter)
		g.pause.extend(f.wait)
		g.log.Info("origin asks for a pause", "status", code, "pause", f.wait)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		f.err = fmt.Errorf("%w: it refuses to serve this to us (check the origin's token)", f.err)
	case code == http.StatusNotAcceptable, code == http.StatusBadRequest:
		f.err = fmt.Errorf("%w: it does not serve this block with format=raw", f.err)
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		f.retry = true
	case code == http.StatusGatewayTimeout, code == http.StatusNotImplemented:
		// 504: a gateway that looked for this content and did not find it in time.
		f.outcome = outcomeError
	case code >= 500:
		f.outcome, f.retry, f.blame = outcomeError, true, true
	case code < 400:
		f.outcome, f.blame = outcomeError, true // a 204, a 206 nobody asked for, a redirect to nowhere
	}
	return f
}

// retryAfter reads both forms of the header (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) (wait time.Duration, ok bool) {
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now)), true
	}
	return 0, false
}

// transportFailure classifies an exchange that ended without a whole response.
// inner is the exchange's own context, ctx its caller's.
func transportFailure(ctx, inner context.Context, err error) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if inner.Err() != nil {
		return &failure{outcome: outcomeTimeout, retry: true, blame: true, err: context.Cause(inner)}
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var timeout net.Error
	f := &failure{outcome: outcomeError, blame: true, err: withoutURL(err)}
	switch {
	case errors.As(err, &certificate), errors.Is(err, errRedirect):
	case errors.As(err, &dns) && dns.IsNotFound:
	case errors.As(err, &timeout) && timeout.Timeout():
		f.outcome, f.retry = outcomeTimeout, true
	default:
		f.retry = true
	}
	return f
}

// ended is the failure of a request whose context ended: by its caller, by close,
// or because the total time was up.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errTotal) {
		return &failure{outcome: outcomeTimeout, blame: true, err: cause}
	}
	return &failure{outcome: outcomeCanceled, err: cause}
}

// withoutURL takes out net/http's mention of the URL: the origin is named once,
// by whoever reports the error, and redirect targets may be signed URLs.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// readBlock reads a body of the announced length, or of any length when it is
// negative, and at most one byte more than a block may have.
func readBlock(r io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		return readUnknown(r)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	// HTTP/2 may signal the end separately; closing before it resets the stream.
	_, _ = r.Read(make([]byte, 1))
	return data, nil
}

// readUnknown reads at most one byte more than a block may have. What it returns
// has no spare capacity: it may stay in a cache that counts its length.
func readUnknown(r io.Reader) ([]byte, error) {
	data := make([]byte, 0, 64<<10)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return bytes.Clone(data), nil
		}
		if err != nil || len(data) > block.MaxSize {
			return data, err
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, min(cap(data), block.MaxSize+1-len(data)))
		}
	}
}

// watched is a response body that must keep coming: its timer ends the exchange
// unless stallBytes arrive before it fires. Counting bytes, and not reads, keeps a
// sender of one byte a second from holding a turn.
type watched struct {
	body  io.Reader
	timer *time.Timer
	limit time.Duration
	fresh int
	total int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	w.total += int64(n)
	if w.fresh += n; w.fresh >= stallBytes {
		w.fresh = 0
		w.timer.Reset(w.limit)
	}
	return n, err
}
