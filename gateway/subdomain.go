package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/miekg/dns"
	"github.com/multiformats/go-multibase"

	"github.com/shoal-cdn/shoal/gateway/answer"
)

// emptyCID is the specification's probe for a trustless gateway: no bytes at all.
var emptyCID = cid.MustParse("bafkqaaa")

// locate turns a host and a path into a content path, or into the redirect to where the
// content has a host of its own
// (https://specs.ipfs.tech/http-gateways/subdomain-gateway/).
func (g *Gateway) locate(ctx context.Context, x *exchange, r *http.Request) (*target, *answer.Answer, error) {
	host, port := splitHost(r.Host)
	if h, ok := x.sites.hosts[host]; ok {
		if underNamespace(r.URL.Path) {
			if !h.Subdomains {
				return &target{path: r.URL.Path}, nil, nil
			}
			to, err := g.toSubdomain(ctx, x, r, joinHost(host, port), r.URL.Path)
			if to != "" || err != nil {
				return nil, answer.Redirect(http.StatusMovedPermanently, to), err
			}
			return &target{path: r.URL.Path}, nil, nil
		}
		if ok, err := g.isLinked(ctx, x, host); ok || err != nil {
			return asWebsite(host, r), nil, err
		}
		return &target{path: r.URL.Path}, nil, nil
	}
	switch x.opens {
	case doorSite:
		return asWebsite(host, r), nil, nil
	case doorSubdomain:
		return g.locateSubdomain(ctx, x, r, host, port)
	case doorUnknown:
		if ok, err := g.isLinked(ctx, x, host); ok {
			return asWebsite(host, r), nil, nil
		} else if err != nil && !underNamespace(r.URL.Path) {
			return nil, nil, err
		}
	}
	return &target{path: r.URL.Path}, nil, nil
}

// asWebsite is a host that is a website's name: it answers like its DNSLink.
func asWebsite(host string, r *http.Request) *target {
	return &target{path: "/ipns/" + host + r.URL.Path, isolated: true, website: true}
}

func underNamespace(p string) bool {
	return p == "/ipfs" || p == "/ipns" || isContentPath(p)
}

// isLinked reports whether a host is a website: a site is; of other hosts the DNS is asked,
// with serve: any only. An error is one of asking.
func (g *Gateway) isLinked(ctx context.Context, x *exchange, host string) (bool, error) {
	host = canonicalName(host)
	if _, ok := x.sites.lookup(host); ok {
		return true, nil
	}
	if x.sites.opts.Serve != ServeAny || !isFQDN(host) || isKey(host) {
		return false, nil
	}
	bounded, cancel := context.WithDeadline(ctx, x.reads.Deadline())
	defer cancel()
	_, _, err := g.names.DNSLink(bounded, host)
	if err == nil || answer.IsNameNotFound(err) {
		return err == nil, nil
	}
	return false, answer.NameFailure(ctx, answer.Abbreviate(host), err)
}

func isKey(s string) bool {
	_, err := peer.Decode(s)
	return err == nil
}

// locateSubdomain does the same for a subdomain of a gateway.
func (g *Gateway) locateSubdomain(ctx context.Context, x *exchange, r *http.Request, host, port string) (*target, *answer.Answer, error) {
	label, ns, gateway, ok := x.sites.subdomain(host)
	if !ok || !x.sites.hosts[gateway].Subdomains {
		return nil, nil, answer.Refuse(http.StatusNotFound, "nothing is served here for host %q", answer.Abbreviate(host))
	}
	t := &target{path: "/" + ns + "/" + label + r.URL.Path, isolated: true, gateway: joinHost(gateway, port)}
	canonical, err := canonicalLabel(ns, label)
	switch {
	case err != nil:
		return nil, nil, err
	case canonical == "" && ns == "ipns" && !strings.Contains(label, ".") && strings.Contains(label, "-"):
		// my-v--long-example-com may stand for my.v-long.example.com.
		name, err := g.uninlined(ctx, x, label)
		t.path = "/ipns/" + name + r.URL.Path
		return t, nil, err
	case canonical != "" && canonical != label:
		to := scheme(x) + canonical + "." + ns + "." + t.gateway + answer.Reference(r.URL.Path) + answer.Query(x.uri)
		return nil, answer.Redirect(http.StatusMovedPermanently, to), nil
	}
	return t, nil, nil
}

// uninlined returns the DNSLink name that a label stands for: the one with dots, unless only
// the label itself has a record.
func (g *Gateway) uninlined(ctx context.Context, x *exchange, label string) (string, error) {
	name := uninline(label)
	ok, err := g.isLinked(ctx, x, name)
	if ok || err != nil {
		return name, nil // whose look-up fails again, with the reason
	}
	if ok, _ := g.isLinked(ctx, x, label); ok {
		return label, nil
	}
	return name, nil
}

// subdomain splits a subdomain of a gateway.
func (t *siteTable) subdomain(host string) (label, ns, gateway string, ok bool) {
	for _, h := range t.opts.Hosts {
		name := strings.ToLower(h.Host)
		for _, ns := range []string{"ipfs", "ipns"} {
			if label, ok := strings.CutSuffix(host, "."+ns+"."+name); ok && label != "" {
				return label, ns, name, true
			}
		}
	}
	return "", "", "", false
}

// toSubdomain returns the URL of content at a host of its own; empty when it has none.
func (g *Gateway) toSubdomain(ctx context.Context, x *exchange, r *http.Request, gateway, p string) (string, error) {
	parts := strings.SplitN(p, "/", 4)
	if len(parts) < 3 || parts[2] == "" {
		return "", nil
	}
	ns, root, rest := parts[1], parts[2], "/"
	if len(parts) == 4 {
		rest += parts[3]
	}
	label, err := canonicalLabel(ns, root)
	if err != nil {
		return "", err
	}
	if label == "" {
		if ns == "ipfs" {
			return "", nil // not a CID, which is said where it is asked for
		}
		if !isDomain(root) {
			return "", answer.Refuse(http.StatusBadRequest, "%q is neither a key nor a DNS name", answer.Abbreviate(root))
		}
		if label, err = g.inlined(ctx, x, root); err != nil {
			return "", err
		}
	}
	return scheme(x) + label + "." + ns + "." + gateway + answer.Reference(rest) + answer.Query(x.uri), nil
}

func scheme(x *exchange) string {
	if x.https {
		return "https://"
	}
	return "http://"
}

// inlined returns a DNSLink name as one label, so that a wildcard certificate covers it:
// my.v-long.example.com becomes my-v--long-example-com.
func (g *Gateway) inlined(ctx context.Context, x *exchange, name string) (string, error) {
	if !strings.Contains(name, ".") && strings.Contains(name, "-") {
		if full := uninline(name); isDomain(full) {
			if ok, _ := g.isLinked(ctx, x, full); ok {
				name = full
			}
		}
	}
	if !strings.Contains(name, ".") {
		return name, nil
	}
	if ok, _ := g.isLinked(ctx, x, name); !ok {
		return name, nil
	}
	label := strings.ReplaceAll(strings.ReplaceAll(name, "-", "--"), ".", "-")
	if len(label) > maxLabel {
		return "", answer.Refuse(http.StatusBadRequest, "DNSLink name incompatible with DNS label length limit of 63: %s", answer.Abbreviate(label))
	}
	return label, nil
}

// uninline is the name that a label stands for (subdomain gateway specification, "Host
// request header").
func uninline(label string) string {
	return strings.NewReplacer("--", "-", "-", ".").Replace(label)
}

// isDomain reports whether s is a DNS name as hosts have them: what else there may be in
// one would lead a URL of it elsewhere.
func isDomain(s string) bool {
	_, ok := dns.IsDomainName(s)
	return ok && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	})
}

// maxLabel is the longest label of a DNS name (RFC 1035, section 2.3.4).
const maxLabel = 63

// canonicalLabel returns a CID or a key as hosts have it, where case does not count:
// CIDv1, base32, or base36 for keys and for what is too long otherwise. It is empty for what
// is neither.
func canonicalLabel(ns, root string) (string, error) {
	if ns == "ipns" {
		if key, err := canonicalKey(root); err == nil {
			return checkLabel(key)
		}
		return "", nil
	}
	c, err := cid.Decode(root)
	if err != nil {
		return "", nil
	}
	c = cid.NewCidV1(c.Type(), c.Hash())
	label := c.String()
	if len(label) > maxLabel {
		if label, err = c.StringOfBase(multibase.Base36); err != nil {
			return "", fmt.Errorf("write %s in base36: %w", c, err)
		}
	}
	return checkLabel(label)
}

func checkLabel(label string) (string, error) {
	if len(label) > maxLabel {
		return "", answer.Refuse(http.StatusBadRequest, "CID incompatible with DNS label length limit of 63: %s", answer.Abbreviate(label))
	}
	return label, nil
}
