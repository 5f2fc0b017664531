package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// keepUp follows a name until ctx ends.
func (f *Follower) keepUp(ctx context.Context, n *name) {
	var look time.Time // when to look at the name
	failures := 0
	said := time.Now() // when the log last spoke of the waiting release
	for {
		if now := time.Now(); !now.Before(look) {
			pause, err := f.lookAt(ctx, n)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				pause = min(2*time.Second<<min(failures, 8), most)
				if failures++; failures == 1 {
					f.cfg.Log.Warn("site: where it leads cannot be found out; what was last known goes on", "site", n.hosts, "err", err)
				}
			default:
				failures = 0
			}
			look = now.Add(pause)
		}
		said = f.promote(n, said)
		wait := time.Until(look)
		if n.waits() {
			wait = min(wait, poll)
		}
		if work.Pause(ctx, wait) != nil {
			return
		}
	}
}

// waits reports whether a release is to go live.
func (n *name) waits() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.next != nil
}

// lookAt looks where a name leads, and returns for how long that holds.
func (f *Follower) lookAt(ctx context.Context, n *name) (time.Duration, error) {
	to, ttl, err := f.cfg.Names.Resolve(ctx, n.path)
	if err != nil {
		return 0, err
	}
	ttl = min(max(ttl, least), most)
	now := time.Now()
	live := n.live.Load()
	n.mu.Lock()
	n.until = now.Add(ttl)
	was := n.next
	switch r := (&release{path: to, since: now}); {
	case live == nil:
		// Nothing better is known than what may not be whole yet.
		n.live.Store(r)
		n.next = r
	case live.path.String() == to.String():
		if n.next != live {
			n.next = nil
		}
		if !live.whole {
			n.next = live
		}
	case n.next == nil || n.next.path.String() != to.String():
		n.next = r
	}
	changed := n.next != was
	n.mu.Unlock()
	if changed {
		f.mu.Lock()
		f.want()
		f.mu.Unlock()
	}
	return ttl, nil
}

// want tells the pins what the sites show and are about to show. f.mu is held.
func (f *Follower) want() {
	roots := slices.Clone(f.static)
	for _, n := range *f.table.Load() {
		if live := n.live.Load(); live != nil {
			roots = append(roots, live.root())
		}
		n.mu.Lock()
		if n.next != nil {
			roots = append(roots, n.next.root())
		}
		n.mu.Unlock()
	}
	slices.SortFunc(roots, func(a, b cid.Cid) int { return slices.Compare(a.Bytes(), b.Bytes()) })
	f.cfg.Pins.SetSites(slices.Compact(roots))
}

// promote has the release that waits go live if it is whole. It returns when the log
// last spoke of it.
func (f *Follower) promote(n *name, said time.Time) time.Time {
	n.mu.Lock()
	next := n.next
	n.mu.Unlock()
	if next == nil {
		return time.Now()
	}
	s := f.cfg.Pins.Standing(next.root())
	live := n.live.Load()
	log := f.cfg.Log.With("site", n.hosts, "release", next.path.String())
	switch {
	case s.Status == record.Pinned:
		if err := f.remember(n, next); err != nil {
			log.Error("site: after a restart this edge will not know what was live", "err", err)
		}
		log.Info("site: pinned whole, and live", "after", time.Since(next.since).Round(time.Millisecond).String())
	case s.Unfit:
		log.Warn("site: cannot be pinned, and goes live without: it is served through the cache", "reason", s.Reason)
	default:
		return f.grumble(n, next, live, s, said)
	}
	done := *next
	done.whole = true
	n.live.Store(&done)
	n.mu.Lock()
	if n.next == next {
		n.next = nil
	}
	n.mu.Unlock()
	f.mu.Lock()
	f.want()
	f.mu.Unlock()
	return time.Now()
}

// grumble says now and again that a release is not live yet.
func (f *Follower) grumble(n *name, next, live *release, s record.Report, said time.Time) time.Time {
	now := time.Now()
	waited := now.Sub(next.since)
	if waited < patience || said.After(next.since.Add(patience)) && now.Sub(said) < remind {
		return said
	}
	shown := "live, but not whole here yet"
	if live != next {
		shown = "the last release is shown: " + live.path.String()
	}
	f.cfg.Log.Warn("site: the new release is not pinned yet", "site", n.hosts, "release", next.path.String(), "waited", waited.Round(time.Second).String(),
		"status", s.Status, "blocks", s.Blocks, "reason", s.Reason, "meanwhile", shown)
	return now
}

// remembered is what is stored of a release.
type remembered struct {
	Path string `json:"path"`
}

func key(n *name) ds.Key { return ds.NewKey("/" + n.text) }

func (f *Follower) remember(n *name, r *release) error {
	text, err := json.Marshal(remembered{r.path.String()})
	if err == nil {
		err = f.cfg.Datastore.Put(f.ctx, key(n), text)
	}
	if err == nil {
		err = f.cfg.Datastore.Sync(f.ctx, key(n))
	}
	if err != nil {
		return fmt.Errorf("remember release %s: %w", r.path, err)
	}
	return nil
}

// recall finds the last release that was whole.
func (f *Follower) recall(n *name) error {
	text, err := f.cfg.Datastore.Get(f.ctx, key(n))
	if errors.Is(err, ds.ErrNotFound) {
		return nil
	}
	var stored remembered
	var p path.Path
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if err == nil {
		p, err = path.NewPath(stored.Path)
	}
	if err != nil {
		return fmt.Errorf("site %v: read its last release: %w", n.hosts, err)
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil {
		return fmt.Errorf("site %v: read its last release: %w", n.hosts, err)
	}
	n.live.Store(&release{path: ip, since: time.Now(), whole: true})
	return nil
}

// waitingMetric tells how long releases have been waiting when it is asked.
type waitingMetric struct {
	follower *Follower
	desc     *prometheus.Desc
}

func newWaitingMetric(f *Follower) *waitingMetric {
	return &waitingMetric{f, prometheus.NewDesc("shoal_site_release_waiting_seconds",
		"For how long a site's newest release has not been live because it is not pinned whole yet; 0 when it is live.", []string{"site"}, nil)}
}

// Describe implements [prometheus.Collector].
func (m *waitingMetric) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect implements [prometheus.Collector].
func (m *waitingMetric) Collect(to chan<- prometheus.Metric) {
	for _, n := range *m.follower.table.Load() {
		n.mu.Lock()
		waited := 0.0
		if n.next != nil && n.next != n.live.Load() {
			waited = time.Since(n.next.since).Seconds()
		}
		n.mu.Unlock()
		for _, host := range n.hosts {
			to <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, waited, host)
		}
	}
}
