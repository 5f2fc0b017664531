package origin

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// remote is an origin of type bitswap. How the peer is reached, how often it is
// asked again and how long to wait is the business of who made it.
type remote struct {
	peer  block.Getter
	meter *meter
}

func (r *remote) get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	started := time.Now()
	b, err := r.fetch(ctx, c)
	switch {
	case ctx.Err() != nil:
		r.meter.request(outcomeCanceled, started)
	case errors.Is(err, context.DeadlineExceeded):
		r.meter.request(outcomeTimeout, started)
	default:
		r.meter.request(outcomeOf(err), started)
	}
	return b, err
}

func (r *remote) fetch(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	b, _, err := r.peer.Get(ctx, c)
	var unavailable *block.UnavailableError
	switch {
	case err == nil:
	case ipld.IsNotFound(err):
		return nil, err
	case errors.As(err, &unavailable):
		return nil, &failure{outcome: outcomeError, wait: unavailable.RetryAfter, err: unavailable.Err}
	default:
		return nil, &failure{outcome: outcomeError, err: err}
	}
	r.meter.bytes.Add(float64(len(b.RawData())))
	if b, err = b.As(c); err != nil {
		return nil, &failure{outcome: outcomeMismatch, err: err}
	}
	return b, nil
}

func (r *remote) close() error {
	if c, ok := r.peer.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
