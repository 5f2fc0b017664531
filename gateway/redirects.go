package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	gopath "path"
	"regexp"
	"slices"
	"strings"

	"github.com/ipfs/boxo/path"
	redirects "github.com/ipfs/go-ipfs-redirects-file"
	"github.com/ucarion/urlpath"
)

// Characters that need no percent-encoding (RFC 3986), letters and digits aside.
const (
	unreserved = "-._~"                        // section 2.3: means the same everywhere
	inPath     = unreserved + "!$&'()*+,;=:@/" // section 3.3
	inURI      = inPath + "?[]%"               // what is encoded already stays so
	inQuery    = inURI + "\"<>\\^`{|}"         // what clients send, though it should be encoded
	upperHex   = "0123456789ABCDEF"
)

// encode percent-encodes all bytes of s but letters, digits and those in keep
// (RFC 3986, section 2.1).
func encode(s, keep string) string {
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte(keep, c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', upperHex[c>>4], upperHex[c&15])
	}
	return string(b)
}

// cleanPath returns a path that begins with one slash and has no dot segments. "//"
// in front would name a host (RFC 3986, section 4.2).
func cleanPath(p string) string {
	cleaned := gopath.Clean("/" + p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

// queryOf returns the query of a request target as it was written, with its question
// mark. Only what no URI can hold is encoded.
func queryOf(target string) string {
	i := strings.IndexByte(target, '?')
	if i < 0 {
		return ""
	}
	return encode(target[i:], inQuery)
}

// safeLocation takes a redirect that was made of a request's URL, and returns one that
// leads to the same path, of the same host or of one of ours (host, with its port), and
// keeps the request's query byte for byte. It reports false when the redirect leads
// somewhere else. All redirects but those that a site has rules for pass through here.
func safeLocation(location, query string, ours func(host string) bool) (string, bool) {
	if strings.HasPrefix(location, "/") {
		p, _, _ := strings.Cut(location, "?")
		if decoded, err := url.PathUnescape(p); err == nil {
			p = decoded
		}
		return encode(cleanPath(p), inPath) + query, true
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || !ours(u.Host) {
		return "", false
	}
	return u.Scheme + "://" + u.Host + encode(cleanPath(u.Path), inPath) + query, true
}

// protocolLocation is where /ipfs/?uri=ipfs://CID/path?query leads, which browsers ask
// for that have this gateway registered for the scheme (navigator.registerProtocolHandler).
func protocolLocation(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "ipfs" && u.Scheme != "ipns" {
		return "", errors.New("the uri parameter must be an ipfs:// or ipns:// URI")
	}
	root := "/" + u.Scheme + "/"
	p := cleanPath(root + u.Host + u.Path)
	if !strings.HasPrefix(p, root) || p == root {
		return "", errors.New("the uri parameter names no content")
	}
	if u.RawQuery == "" {
		return encode(p, inPath), nil
	}
	return encode(p, inPath) + "?" + encode(u.RawQuery, inQuery), nil
}

// uriParts splits a URI reference as RFC 3986, appendix B, does.
var uriParts = regexp.MustCompile(`^(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$`)

// A matched rule of a site's _redirects file, with what its placeholders stand for.
// See https://specs.ipfs.tech/http-gateways/web-redirects-file/.
type matchedRule struct {
	redirects.Rule
	names  []string // of the placeholders, the longest first
	values map[string]string
}

// matchRule returns the first rule that matches a path, which is not percent-encoded.
func matchRule(rules []redirects.Rule, urlPath string) (matchedRule, bool) {
	urlPath = strings.TrimSuffix(urlPath, "/")
	for _, rule := range rules {
		from := urlpath.New(strings.TrimSuffix(rule.From, "/"))
		match, ok := from.Match(urlPath)
		if !ok {
			continue
		}
		m := matchedRule{Rule: rule, values: map[string]string{"splat": match.Trailing}}
		for name, value := range match.Params {
			m.values[name] = value
		}
		for name := range m.values {
			m.names = append(m.names, name)
		}
		slices.SortFunc(m.names, func(a, b string) int { return len(b) - len(a) })
		return m, true
	}
	return matchedRule{}, false
}

// leadsAway reports whether the rule is a redirect, not a rewrite or an error page.
func (m *matchedRule) leadsAway() bool { return m.Status >= 300 && m.Status < 400 }

// location is where the rule leads a request that had a query. What the request brought
// is percent-encoded for the place that it is put into, so it adds neither a host nor a
// parameter: the host is the one that the rule has, or none.
func (m *matchedRule) location(query string) (string, error) {
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
		p = cleanPath(p)
	}
	own := encode(m.fill(part[4], unreserved), inQuery)
	if own != "" {
		if query = strings.TrimPrefix(query, "?"); query != "" {
			query = "&" + query
		}
	}
	return host + p + own + query + encode(m.fill(part[5], unreserved), inQuery+"#"), nil
}

// fill puts what the request matched into a part of the rule's target.
func (m *matchedRule) fill(part, keep string) string {
	pairs := make([]string, 0, 2*len(m.names))
	for _, name := range m.names {
		pairs = append(pairs, ":"+name, encode(m.values[name], keep))
	}
	return strings.NewReplacer(pairs...).Replace(part)
}

// missed reports whether boxo asks for the _redirects file of a site because there is
// nothing at the path that was asked for, and returns that path, below the site's root.
func (r *requestRecord) missed(p path.ImmutablePath) (string, bool) {
	asked := cmp.Or(r.resolved, r.contentPath)
	root, isRules := strings.CutSuffix(p.String(), "/_redirects")
	rest, below := strings.CutPrefix(asked, root+"/")
	if r.ruled || !isRules || !below || len(p.Segments()) != 3 || rest == "_redirects" {
		return "", false
	}
	r.ruled = true
	return "/" + rest, true
}

// settleContentLocation encodes the path in a Content-Location, which boxo writes as it
// was sent, with a query of its own behind it.
func settleContentLocation(h http.Header) {
	of := h.Get("Content-Location")
	if i := strings.LastIndexByte(of, '?'); i >= 0 {
		h.Set("Content-Location", encode(cleanPath(of[:i]), inPath)+of[i:])
	}
}

// redirect answers with a redirect that leads where Location says. The handler's note
// has the location as it was.
func (w *responseWriter) redirect() {
	h := w.Header()
	to := h.Get("Location")
	h.Del("Content-Length")
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.commit()
	w.discard = true
	_, _ = w.send([]byte("<a href=\"" + html.EscapeString(to) + "\">" + http.StatusText(w.status) + "</a>.\n"))
}

// leads returns where an answer with a Location leads.
func (r *requestRecord) leads(location string) (string, *failure) {
	if r.location != "" {
		return r.location, nil
	}
	to, ok := safeLocation(location, r.query, r.hasSubdomain)
	if !ok {
		return "", &failure{
			status: http.StatusBadRequest, text: "the path does not name content: it would lead to another host",
			cause: fmt.Errorf("refused to redirect to %q", abbreviate(location)),
		}
	}
	return to, nil
}

// hasSubdomain reports whether host is a subdomain of the gateway that was asked, at
// the same port.
func (r *requestRecord) hasSubdomain(host string) bool {
	name, port := splitHost(host)
	_, asked := splitHost(r.host)
	opens, _ := r.sites.door(&name)
	return opens == doorSubdomain && port == asked
}
