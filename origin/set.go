package origin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// source is one origin. get returns a verified block, an error that
// [ipld.IsNotFound] recognises, or a *failure; when ctx ends, any error.
type source interface {
	get(ctx context.Context, c cid.Cid) (*block.Verified, error)
	close() error
}

type named struct {
	spec Spec
	name string // short, stable, without secrets: the metric label
	source
}

// Set asks the configured origins in order. It is a [block.Getter] and safe for
// concurrent use. [Set.Prepare] exchanges the origins while it is in use.
type Set struct {
	opts       Options
	peers      PeerFunc
	log        *slog.Logger
	metrics    *metrics
	unregister func() // takes the metrics back

	mu      sync.RWMutex // guards what follows
	current *roster
	closed  bool

	life     context.Context // ends with Close
	end      context.CancelFunc
	retiring sync.WaitGroup // origins that were removed and not closed yet

	close    sync.Once
	closeErr error
}

var _ block.Getter = (*Set)(nil)

// A PeerFunc returns the peer at a multiaddr as something that blocks can be asked
// of; it connects to nobody yet.
type PeerFunc func(addr string) (block.Getter, error)

// New opens the origins: archives are indexed now, gateways and peers are not
// contacted. Origins of type bitswap are asked through peers, which may be nil when
// there are none. An error names the origin and what is wrong with it, and leaves
// nothing open.
func New(o Options, peers PeerFunc, log *slog.Logger, reg prometheus.Registerer) (*Set, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Set{opts: o, peers: peers, log: log, metrics: newMetrics(), current: newRoster(0)}
	s.life, s.end = context.WithCancel(context.Background())
	var err error
	if s.unregister, err = s.metrics.register(reg); err != nil {
		return nil, fmt.Errorf("origins: %w", err)
	}
	first, err := s.Prepare(o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.current = first.next
	return s, nil
}

// open opens one origin, to be asked after others.
func (s *Set) open(spec Spec, o Options, others []named) (named, error) {
	name := uniqueName(shortName(spec), others)
	log := s.log.With("origin", name)
	var src source
	switch spec.Type {
	case TypeGateway:
		g, err := newGateway(spec, o, log, s.metrics.meter(name, true))
		if err != nil {
			return named{}, err
		}
		src = g
	case TypeCAR:
		a, err := openCAR(spec.Path, log, s.metrics.meter(name, false))
		if err != nil {
			return named{}, err
		}
		src = a
	case TypeBitswap:
		if s.peers == nil {
			return named{}, errors.New("there is nothing to reach peers with")
		}
		p, err := s.peers(spec.Addr)
		if err != nil {
			return named{}, err
		}
		src = &remote{peer: p, meter: s.metrics.meter(name, false)}
	}
	return named{spec, name, src}, nil
}

// shortName is the host of a URL, the last part of a path, or a peer ID.
func shortName(spec Spec) string {
	if spec.Type == TypeBitswap {
		return spec.Addr[strings.LastIndexByte(spec.Addr, '/')+1:]
	}
	if spec.Type == TypeCAR {
		if abs, err := filepath.Abs(spec.Path); err == nil {
			return filepath.Base(abs)
		}
		return filepath.Base(spec.Path)
	}
	if u, err := url.Parse(spec.URL); err == nil {
		return u.Host
	}
	return spec.Type
}

func uniqueName(name string, others []named) string {
	taken := func(n string) bool {
		return slices.ContainsFunc(others, func(o named) bool { return o.name == n })
	}
	name = strings.ToValidUTF8(name, "_") // what Prometheus demands of a label
	unique := name
	for i := 2; taken(unique); i++ {
		unique = fmt.Sprintf("%s#%d", name, i)
	}
	return unique
}

// Len returns how many origins there are.
func (s *Set) Len() int { return len(s.origins()) }

// Roots returns the roots that the headers of the archives name, each once, in
// the order of the origins and their files. Nobody promises that the archives
// hold the blocks.
func (s *Set) Roots() []cid.Cid {
	var roots []cid.Cid
	seen := make(map[cid.Cid]bool)
	for _, o := range s.origins() {
		a, ok := o.source.(*archives)
		if !ok {
			continue
		}
		for _, root := range a.roots {
			if !seen[root] {
				seen[root] = true
				roots = append(roots, root)
			}
		}
	}
	return roots
}

// Get asks the origins in order and returns the first verified block, with
// [block.Origin]. The error is one that [ipld.IsNotFound] recognises when every
// origin says that it lacks the block; a [*block.UnavailableError] when one or
// more failed and none had it; one that wraps [block.ErrUnsupported] for a CID
// that nothing can be verified with; and the cause of ctx when ctx ends first.
func (s *Set) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	if err := block.CheckCID(c); err != nil {
		return nil, 0, err
	}
	if b, ok, err := inline(c); ok {
		if err != nil {
			return nil, 0, err
		}
		return b, block.Origin, nil
	}
	asked := s.enter()
	defer asked.leave()
	var failed []failedOrigin
	for _, o := range asked.origins {
		if ctx.Err() != nil {
			break
		}
		b, err := o.get(ctx, c)
		if err == nil {
			return b, block.Origin, nil
		}
		if !ipld.IsNotFound(err) {
			failed = append(failed, failedOrigin{o.name, err})
		}
	}
	if ctx.Err() != nil {
		return nil, 0, fmt.Errorf("block %s: asking the origins: %w", c, context.Cause(ctx))
	}
	if len(failed) == 0 {
		return nil, 0, block.NotFound(c)
	}
	return nil, 0, unavailable(c, failed)
}

// inline returns the block that an identity CID carries in itself.
func inline(c cid.Cid) (b *block.Verified, ok bool, err error) {
	if c.Prefix().MhType != multihash.IDENTITY {
		return nil, false, nil
	}
	mh, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, true, fmt.Errorf("%w: %s: %w", block.ErrUnsupported, c, err)
	}
	b, err = block.New(c, mh.Digest)
	return b, true, err
}

type failedOrigin struct {
	name string
	err  error
}

// unavailable turns the failures of one or more origins into one error.
func unavailable(c cid.Cid, failed []failedOrigin) error {
	if len(failed) == 1 {
		return &block.UnavailableError{
			Cid: c, From: "origin " + failed[0].name, RetryAfter: waitOf(failed[0].err), Err: failed[0].err,
		}
	}
	e := &block.UnavailableError{Cid: c}
	names := make([]string, len(failed))
	var errs manyErrors
	for i, f := range failed {
		names[i] = f.name
		errs = append(errs, fmt.Errorf("%s: %w", f.name, f.err))
		// The first origin to be asked again decides when asking again makes sense.
		if w := waitOf(f.err); w > 0 && (e.RetryAfter == 0 || w < e.RetryAfter) {
			e.RetryAfter = w
		}
	}
	e.From, e.Err = "origins "+strings.Join(names, ", "), errs
	return e
}

func waitOf(err error) time.Duration {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.wait
	}
	return 0
}

// manyErrors is errors.Join on one line.
type manyErrors []error

func (m manyErrors) Error() string {
	s := make([]string, len(m))
	for i, err := range m {
		s[i] = err.Error()
	}
	return strings.Join(s, "; ")
}

func (m manyErrors) Unwrap() []error { return m }

// Close ends the requests under way, waits for them, and closes all connections
// and files. Get fails afterwards. Closing again does nothing.
func (s *Set) Close() error {
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.end()
		var errs []error
		for _, o := range s.origins() {
			errs = append(errs, o.close())
		}
		s.retiring.Wait()
		s.unregister()
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
