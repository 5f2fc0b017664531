package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/metric"
	"github.com/shoal-cdn/shoal/pin/record"
)

// Names says what names lead to; see the gateway's interface of the same name.
type Names interface {
	Resolve(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error)
	Record(ctx context.Context, name ipns.Name) ([]byte, error)
	DNSLink(ctx context.Context, fqdn string) (path.Path, time.Duration, error)
}

// Pins has the fleet hold what the sites of this edge show and are about to show.
type Pins interface {
	SetSites(roots []cid.Cid)
	// Standing is how far the fleet is with a root: that of the edge that is farthest.
	Standing(root cid.Cid) record.Report
}

// Site is a website and where its content is: /ipfs/CID, /ipns/NAME, each with a path
// or without.
type Site struct {
	Host    string
	Content string
}

const (
	// least and most bound the time between two looks at a name, whatever its TTL.
	least, most = time.Second, 5 * time.Minute
	// poll is how often it is looked whether a new release is whole.
	poll = 250 * time.Millisecond
	// patience is after how long the log says that a release is not live yet, and
	// remind how often it does so again.
	patience, remind = time.Minute, 15 * time.Minute
)

// Config is what a [Follower] works with.
type Config struct {
	Names     Names
	Pins      Pins
	Datastore ds.Datastore // remembers releases
	Log       *slog.Logger
	Metrics   prometheus.Registerer // may be nil
}

// Follower follows the names of sites. It is safe for concurrent use.
type Follower struct {
	Names // whatever is not about a site is asked there
	cfg   Config

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	// unregister takes the metrics back.
	unregister func()

	// table has the names that are followed, by their canonical spelling. It is
	// replaced as a whole.
	table atomic.Pointer[map[string]*name]

	mu      sync.Mutex // guards what follows
	static  []cid.Cid  // roots of sites that are given by a CID
	started bool
	closed  bool
}

// name is one that is followed.
type name struct {
	text  string // canonical
	path  path.Path
	hosts []string // of the sites that it leads to
	stop  context.CancelFunc

	mu   sync.Mutex // guards what follows
	live atomic.Pointer[release]
	next *release // what is to go live; nil if nothing waits
	// until is when the name is looked at again.
	until time.Time
}

// release is what a name leads to at one time. It does not change.
type release struct {
	path  path.ImmutablePath
	since time.Time // when it was first seen here
	whole bool      // it was pinned whole
}

func (r *release) root() cid.Cid { return r.path.RootCid() }

// New returns a follower of no sites.
func New(cfg Config) (*Follower, error) {
	if cfg.Names == nil || cfg.Pins == nil || cfg.Datastore == nil {
		return nil, errors.New("releases: Names, Pins and Datastore are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Follower{Names: cfg.Names, cfg: cfg}
	f.table.Store(&map[string]*name{})
	f.ctx, f.cancel = context.WithCancel(context.Background())
	var err error
	if f.unregister, err = metric.Register(cfg.Metrics, newWaitingMetric(f)); err != nil {
		return nil, fmt.Errorf("releases: %w", err)
	}
	return f, nil
}

// Prepare checks the sites that are to replace those of before, and returns what has
// them be followed: that cannot fail. Names that stay are followed on. Calls must not
// overlap.
func (f *Follower) Prepare(sites []Site) (follow func(), err error) {
	wanted := map[string]*name{}
	var static []cid.Cid
	for _, s := range sites {
		p, err := path.NewPath(s.Content)
		if err != nil {
			return nil, fmt.Errorf("site %s: content %q: %w", s.Host, s.Content, err)
		}
		if !p.Mutable() {
			ip, err := path.NewImmutablePath(p)
			if err != nil {
				return nil, fmt.Errorf("site %s: content %q: %w", s.Host, s.Content, err)
			}
			static = append(static, ip.RootCid())
			continue
		}
		text := canonical(p.Segments()[1])
		if wanted[text] == nil {
			top, err := path.NewPath("/ipns/" + p.Segments()[1])
			if err != nil {
				return nil, fmt.Errorf("site %s: content %q: %w", s.Host, s.Content, err)
			}
			wanted[text] = &name{text: text, path: top}
		}
		wanted[text].hosts = append(wanted[text].hosts, s.Host)
	}
	for text, n := range wanted {
		if (*f.table.Load())[text] != nil {
			continue
		}
		if err := f.recall(n); err != nil {
			return nil, err
		}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.closed {
			f.static = static
			f.follow(wanted)
			f.want()
		}
	}, nil
}

// follow takes up the wanted names, and drops the others. f.mu is held.
func (f *Follower) follow(wanted map[string]*name) {
	old := *f.table.Load()
	for text, n := range wanted {
		kept := old[text]
		switch {
		case kept == nil:
		case slices.Equal(kept.hosts, n.hosts):
			wanted[text] = kept
		default:
			kept.mu.Lock()
			n.next = kept.next
			kept.mu.Unlock()
			n.live.Store(kept.live.Load())
		}
	}
	f.table.Store(&wanted)
	for text, n := range old {
		if wanted[text] != n && n.stop != nil {
			n.stop()
		}
	}
	if f.started {
		f.startAll()
	}
}

// Start begins to follow.
func (f *Follower) Start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.started {
		return
	}
	f.started = true
	f.startAll()
}

func (f *Follower) startAll() {
	for _, n := range *f.table.Load() {
		if n.stop == nil {
			var ctx context.Context
			ctx, n.stop = context.WithCancel(f.ctx)
			f.running.Go(func() { f.keepUp(ctx, n) })
		}
	}
}

// Close ends the following. What is live is still answered.
func (f *Follower) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.running.Wait()
	f.unregister()
	return nil
}

// canonical makes the spellings of a name comparable: a key may be written in several
// bases, a domain in any case.
func canonical(text string) string {
	if n, err := ipns.NameFromString(text); err == nil {
		return n.String()
	}
	return strings.TrimSuffix(strings.ToLower(text), ".")
}

// answerFor bounds how long an answer holds while a new release waits.
const answerFor = 5 * time.Second

// Resolve answers for the names of sites with what is live, and asks the names for all
// else.
func (f *Follower) Resolve(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error) {
	if !p.Mutable() {
		return f.Names.Resolve(ctx, p)
	}
	segments := p.Segments()
	n := f.find(segments[1])
	if n == nil {
		return f.Names.Resolve(ctx, p)
	}
	live := n.live.Load()
	if live == nil {
		return f.Names.Resolve(ctx, p)
	}
	ip, err := join(live.path, p, segments)
	if err != nil {
		return path.ImmutablePath{}, 0, err
	}
	return ip, n.holds(time.Now()), nil
}

// find returns a name that is followed. Most are asked for as they are configured.
func (f *Follower) find(text string) *name {
	table := *f.table.Load()
	if len(table) == 0 {
		return nil
	}
	if n := table[text]; n != nil {
		return n
	}
	return table[canonical(text)]
}

// holds returns how long an answer holds.
func (n *name) holds(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	ttl := max(n.until.Sub(now), 0)
	if n.next != nil {
		ttl = min(ttl, answerFor)
	}
	return ttl
}

// join puts what stood behind the name behind what it leads to.
func join(to path.ImmutablePath, p path.Path, segments []string) (path.ImmutablePath, error) {
	slash := strings.HasSuffix(p.String(), "/")
	if len(segments) == 2 && !slash {
		return to, nil
	}
	text := strings.TrimSuffix(to.String(), "/") + path.SegmentsToString(segments[2:]...)
	if slash {
		text += "/"
	}
	joined, err := path.NewPath(text)
	if err != nil {
		return path.ImmutablePath{}, fmt.Errorf("resolve %s: %w", p, err)
	}
	return path.NewImmutablePath(joined)
}

// Waiting returns the sites whose newest release is not live yet, by host.
func (f *Follower) Waiting() []record.WaitingSite {
	var list []record.WaitingSite
	for _, n := range *f.table.Load() {
		n.mu.Lock()
		next := n.next
		n.mu.Unlock()
		live := n.live.Load()
		if next == nil || live == nil || next == live {
			continue
		}
		s := f.cfg.Pins.Standing(next.root())
		for _, host := range n.hosts {
			list = append(list, record.WaitingSite{
				Site: host, Live: live.path.String(), Release: next.path.String(), Since: next.since,
				Status: s.Status, Blocks: s.Blocks, Bytes: s.Bytes, Reason: s.Reason,
			})
		}
	}
	slices.SortFunc(list, func(a, b record.WaitingSite) int { return strings.Compare(a.Site, b.Site) })
	return list
}
