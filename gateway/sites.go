package gateway

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
)

// siteTable maps hosts to sites, and has whatever else a reload may replace. It is
// never changed, only replaced as a whole; a request keeps the table that it
// started with.
type siteTable struct {
	rules
	byHost map[string]*site
	// names are the IPNS names and domains that a site's content is given by.
	names map[string]*site
	list  []*site
}

// site is one website and what is known of it.
type site struct {
	host    string
	content path.Path      // nil: the DNS says
	moves   *atomic.Uint64 // counts, over all sites, how often content moved

	mu      sync.Mutex
	root    path.ImmutablePath // where the content was when last resolved
	known   bool
	fresh   time.Time // until when root need not be resolved again
	retries int
}

// parseSites checks the sites and makes the table.
func parseSites(sites []Site) (*siteTable, error) {
	t := &siteTable{byHost: map[string]*site{}, names: map[string]*site{}}
	for i, s := range sites {
		host := strings.TrimSuffix(strings.ToLower(s.Host), ".")
		if err := checkHostname(host); err != nil {
			return nil, fmt.Errorf("sites[%d].host: %q: %w", i, s.Host, err)
		}
		if _, twice := t.byHost[host]; twice {
			return nil, fmt.Errorf("sites[%d].host: %q: listed twice", i, s.Host)
		}
		content, err := parseContent(s.Content)
		if err != nil {
			return nil, fmt.Errorf("sites[%d].content: %q: %w", i, s.Content, err)
		}
		st := &site{host: host, content: content}
		if content != nil && !content.Mutable() {
			st.root, err = path.NewImmutablePath(content)
			if err != nil {
				return nil, fmt.Errorf("sites[%d].content: %q: %w", i, s.Content, err)
			}
			st.known = true
		}
		t.byHost[host] = st
		t.list = append(t.list, st)
		if content != nil && content.Mutable() {
			t.names[canonicalName(content.Segments()[1])] = st
		}
	}
	return t, nil
}

// carryOver keeps what is known about sites that did not change, so that a
// reload neither resolves nor walks anything again.
func (t *siteTable) carryOver(old *siteTable) {
	for i, s := range t.list {
		o, ok := old.byHost[s.host]
		if !ok || s.contentString() != o.contentString() {
			continue
		}
		t.list[i], t.byHost[s.host] = o, o
		if o.content != nil && o.content.Mutable() {
			t.names[canonicalName(o.content.Segments()[1])] = o
		}
	}
}

func (s *site) contentString() string {
	if s.content == nil {
		return ContentDNSLink
	}
	return s.content.String()
}

// target is the path that the site's content is found at, before resolution.
func (s *site) target() path.Path {
	if s.content != nil {
		return s.content
	}
	p, _ := path.NewPath("/ipns/" + s.host) // a host that passed checkHostname
	return p
}

// immutable reports whether the content is configured as a CID.
func (s *site) immutable() bool { return s.content != nil && !s.content.Mutable() }

// lookup finds the site of a host name, which must be in lower case.
func (t *siteTable) lookup(host string) (*site, bool) {
	s, ok := t.byHost[host]
	return s, ok
}

// current returns the last known root, and whether it should be resolved again.
func (s *site) current(now time.Time) (root path.ImmutablePath, known, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.root, s.known, !s.immutable() && !now.Before(s.fresh)
}

// freshUntil returns when the content has to be looked up again.
func (s *site) freshUntil() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fresh
}

// resolved notes where the content is now.
func (s *site) resolved(root path.ImmutablePath, ttl time.Duration) {
	const least, most = 10 * time.Second, time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moves != nil && (!s.known || !samePath(s.root, root)) {
		s.moves.Add(1)
	}
	s.root, s.known, s.retries = root, true, 0
	s.fresh = time.Now().Add(min(max(ttl, least), most))
}

// unresolved notes that resolution failed. The last root stays good; strangers
// cannot cause more than one lookup per pause.
func (s *site) unresolved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = time.Now().Add(min(10*time.Second<<min(s.retries, 6), 5*time.Minute))
	s.retries++
}

// canonicalName makes the spellings of an IPNS name or domain comparable: a key
// may be written as a peer ID or a CID in several bases.
func canonicalName(name string) string {
	if n, err := ipns.NameFromString(name); err == nil {
		return n.String()
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}
