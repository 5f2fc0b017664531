package answer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	redirects "github.com/ipfs/go-ipfs-redirects-file"
	"github.com/ucarion/urlpath"

	"github.com/shoal-cdn/shoal/gateway/hot"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// ruleSet is a site's _redirects file. It never changes.
// See https://specs.ipfs.tech/http-gateways/web-redirects-file/.
type ruleSet []siteRule

type siteRule struct {
	redirects.Rule
	from urlpath.Path
}

// spaceRules is where the store keeps rules, by the CID of their file; no host is
// called so.
const spaceRules = "\x00rules"

// ruleCost is what a rule takes in memory, in bytes, besides its text.
const ruleCost = 512

// maxFilled bounds a target with what its placeholders stand for, in bytes: it may name
// each of them thousands of times.
const maxFilled = 64 << 10

// rules returns the rules of a site; none if it has no file of them. They are read for
// HEAD as for GET.
func (b *Builder) rules(ctx context.Context, reads *Reads, at *place) (ruleSet, error) {
	found, err := b.names(ctx, reads, at, []string{"_redirects"})
	if errors.Is(err, unixfs.ErrNoName) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	key := found.CID.KeyString()
	if e := b.hot.Find(spaceRules, key); e != nil {
		if kept, ok := e.Value.(ruleSet); ok {
			e.Mark()
			return kept, nil
		}
	}
	generation := b.hot.Generation()
	data, err := b.readFile(ctx, reads, found.CID, "_redirects", redirects.MaxFileSizeInBytes+1)
	if err != nil {
		return nil, err
	}
	set, err := parseRules(data)
	if err != nil {
		// The specification has 500 for it, and has it say what is wrong.
		f := Refuse(http.StatusInternalServerError, "could not parse _redirects: %s", Abbreviate(err.Error()))
		f.Cause = err
		return nil, f
	}
	b.hot.Put(&hot.Entry{Space: spaceRules, Key: key, Value: set, Charge: int64(3*len(data) + ruleCost*len(set))}, generation)
	return set, nil
}

func parseRules(data []byte) (ruleSet, error) {
	list, err := redirects.Parse(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	set := make(ruleSet, 0, len(list))
	for _, r := range list {
		set = append(set, siteRule{r, urlpath.New(strings.TrimSuffix(r.From, "/"))})
	}
	return set, nil
}

// readFile returns the first bytes of a site's file, most at most.
func (b *Builder) readFile(ctx context.Context, reads *Reads, c cid.Cid, name string, most int64) ([]byte, error) {
	blk, n, err := b.node(ctx, reads, c)
	if err != nil {
		return nil, err
	}
	if !n.IsFile() {
		return nil, Refuse(http.StatusInternalServerError, "could not read %s: it is not a file", name)
	}
	r, err := unixfs.NewReader(ctx, reads, blk, n, unixfs.Span{To: min(n.Size(), most)}, b.parallel)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// match is a rule that matches a path, with what its placeholders stand for.
type match struct {
	redirects.Rule
	names  []string // of the placeholders, the longest first
	values map[string]string
}

// match returns the first rule that matches a path, which is not percent-encoded. A slash
// at its end is not looked at, but where it is all that a splat has left: /a/* matches /a/.
func (s ruleSet) match(urlPath string) (*match, bool) {
	trimmed := strings.TrimSuffix(urlPath, "/")
	for i := range s {
		found, ok := s[i].from.Match(trimmed)
		if !ok && s[i].from.Trailing {
			found, ok = s[i].from.Match(urlPath)
		}
		if !ok {
			continue
		}
		m := &match{Rule: s[i].Rule, values: map[string]string{"splat": found.Trailing}}
		for name, value := range found.Params {
			m.values[name] = value
		}
		for name := range m.values {
			m.names = append(m.names, name)
		}
		slices.SortFunc(m.names, func(a, b string) int { return len(b) - len(a) })
		return m, true
	}
	return nil, false
}

// filled is how long the target gets, in bytes, before it is percent-encoded.
func (m *match) filled() int {
	n := len(m.To)
	for name, value := range m.values {
		n += strings.Count(m.To, ":"+name) * len(value)
	}
	return n
}

// leadsAway reports whether the rule is a redirect, not a rewrite or an error page.
func (m *match) leadsAway() bool { return m.Status >= 300 && m.Status < 400 }

// uriParts splits a URI reference as RFC 3986, appendix B, does.
var uriParts = regexp.MustCompile(`^(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$`)

// file returns the path, below the site's root, of the file that a rewrite or an error page
// sends.
func (m *match) file() string {
	p, _, _ := strings.Cut(m.To, "?")
	p, _, _ = strings.Cut(p, "#")
	return Clean(strings.NewReplacer(m.pairs()...).Replace(p))
}

// location is where the rule leads a request that had a query. What the request brought
// is percent-encoded for the place that it is put into, so it adds neither a host nor a
// parameter: the host is the one that the rule has, or none.
func (m *match) location(query string) (string, error) {
	part := uriParts.FindStringSubmatch(m.To)
	if part == nil {
		return "", fmt.Errorf("the target %q is no URI", m.To)
	}
	scheme, host, p := part[1], encode(part[2], inURI), encode(m.fill(part[3], inPath), inURI)
	switch {
	case m.fill(part[2], "") != part[2]:
		return "", fmt.Errorf("the target %q has a placeholder in its host", m.To)
	case scheme != "" && host == "":
		return "", fmt.Errorf("the target %q names no host", m.To)
	case scheme != "":
		host = scheme + "://" + host
	case host != "":
		host = "//" + host
	default:
		p = Clean(p)
	}
	own := encode(m.fill(part[4], unreserved), inQuery)
	if own != "" {
		if query = strings.TrimPrefix(query, "?"); query != "" {
			query = "&" + query
		}
	}
	return host + p + own + query + encode(m.fill(part[5], unreserved), inQuery+"#"), nil
}

// fill puts what the request matched into a part of the rule's target, with all but the
// characters in keep percent-encoded.
func (m *match) fill(part, keep string) string {
	pairs := m.pairs()
	for i := 1; i < len(pairs); i += 2 {
		pairs[i] = encode(pairs[i], keep)
	}
	return strings.NewReplacer(pairs...).Replace(part)
}

// pairs are the placeholders and what they stand for.
func (m *match) pairs() []string {
	pairs := make([]string, 0, 2*len(m.names))
	for _, name := range m.names {
		pairs = append(pairs, ":"+name, m.values[name])
	}
	return pairs
}
