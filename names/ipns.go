package names

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
)

const ipnsRecord = "application/vnd.ipfs.ipns-record"

// ipnsGateway is a trustless gateway that hands out signed IPNS records
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
type ipnsGateway struct {
	url     *url.URL
	client  *http.Client
	timeout time.Duration
	health
}

// fetch returns what the gateway has under the name, not verified, and at most
// one byte longer than a record may be.
func (g *ipnsGateway) fetch(ctx context.Context, n ipns.Name) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	u := g.url.JoinPath("ipns", n.String())
	u.RawQuery = url.Values{"format": {"ipns-record"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", ipnsRecord)
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{code: resp.StatusCode, after: retryAfter(resp)}
	}
	return io.ReadAll(io.LimitReader(resp.Body, int64(ipns.MaxRecordSize)+1))
}

// record looks up an IPNS name. held is the best record seen so far, or nil.
func (n *Names) record(ctx context.Context, nm name, held *answer) (*answer, error) {
	if n.gateway == nil {
		return nil, &lookupError{err: &Error{Name: nm.text, Reason: ErrUnsupported, Detail: "no source of IPNS records is configured"}}
	}
	raw, err := n.gateway.fetch(ctx, nm.ipns)
	if err != nil {
		return nil, n.fetchError(ctx, nm, err)
	}
	n.gateway.answered()
	got, err := n.verify(nm.ipns, raw)
	if err != nil {
		return nil, invalid(nm, err)
	}
	if held == nil {
		return got, nil
	}
	best, err := ipns.Validator{}.Select("", [][]byte{held.record, got.record})
	if err != nil {
		return nil, invalid(nm, err)
	}
	if best == 1 || bytes.Equal(held.record, got.record) {
		return got, nil
	}
	// The record that is known is still the name's newest: keep it for another turn.
	if again, err := n.verify(nm.ipns, held.record); err == nil {
		again.outrun = true
		return again, nil
	}
	return nil, invalid(nm, errors.New("a newer record was seen before, which has expired"))
}

// verify reads a record and checks it against the name.
func (n *Names) verify(nm ipns.Name, raw []byte) (*answer, error) {
	rec, err := ipns.UnmarshalRecord(raw)
	if err != nil {
		return nil, err
	}
	if err := ipns.ValidateWithName(rec, nm); err != nil {
		return nil, err
	}
	eol, err := rec.Validity()
	if err != nil {
		return nil, err
	}
	if _, err := rec.Sequence(); err != nil {
		return nil, fmt.Errorf("%w: no sequence number", ipns.ErrInvalidRecord)
	}
	ttl, err := rec.TTL()
	if err != nil {
		ttl = -1
	}
	a := &answer{record: raw, eol: eol, ttl: min(n.clamp(ttl), time.Until(eol))}
	// A record whose value is no path may still be of use to who asks for the record.
	if a.path, err = rec.Value(); err == nil && len(a.path.String()) > maxTarget {
		a.path, err = nil, fmt.Errorf("it points to a path of more than %d bytes", maxTarget)
	}
	if err != nil {
		a.path, a.pathErr = nil, invalid(name{text: nm.String()}, err).err
	}
	return a, nil
}

// fetchError tells apart that the gateway has no record and that it failed.
func (n *Names) fetchError(ctx context.Context, nm name, err error) error {
	cause := fmt.Errorf("ask %s: %w", n.gateway.url.Redacted(), err)
	status, ok := errors.AsType[*statusError](err)
	switch {
	case ok: // it may be a matter of this one name
		n.gateway.answered()
	case ctx.Err() == nil:
		n.gateway.failed(err)
	}
	if ok && (status.code == http.StatusNotFound || status.code == http.StatusGone) {
		return &lookupError{
			err:  &Error{Name: nm.text, Reason: ErrNotFound, Detail: "the network has no IPNS record for this key", Cause: cause},
			wait: negativeTTL,
		}
	}
	failure := &lookupError{err: &Error{Name: nm.text, Reason: ErrUnavailable, Detail: "the source of IPNS records did not answer", Cause: cause}}
	if ok {
		failure.wait = min(status.after, maxRetryAfter)
	}
	return failure
}

// maxRetryAfter bounds for how long a gateway can put a name off.
const maxRetryAfter = 5 * time.Minute

func invalid(nm name, err error) *lookupError {
	return &lookupError{err: &Error{Name: nm.text, Reason: ErrInvalidRecord, Detail: oneLine(err), Cause: err}}
}

// oneLine flattens joined errors.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", ": ") }
