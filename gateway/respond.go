package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"

	"github.com/shoal-cdn/shoal/gateway/answer"
)

// target is what a host and a path ask for.
type target struct {
	path     string // the content path; not one under /ipfs or /ipns when there is none
	isolated bool   // the host is the content's own
	website  bool   // and a website's name
	gateway  string // of a subdomain: the gateway, with its port
}

// respond answers a request for content: from its URL to its answer, in the order of doc.go.
func (g *Gateway) respond(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r)
	a, err := g.inTurn(r.Context(), x, r)
	if err != nil {
		g.fail(w, x, answer.ContentFailure(err))
		return
	}
	g.deliver(w, r, x, a).give()
	g.keep(r, x, a)
}

// inTurn finds the answer to a request, once the processors can be spared for it.
func (g *Gateway) inTurn(ctx context.Context, x *exchange, r *http.Request) (*answer.Answer, error) {
	most := g.source.Most()
	bounded, cancel := context.WithDeadline(ctx, x.reads.Deadline())
	defer cancel()
	switch err := g.pace.wait(bounded, most); {
	case err != nil && ctx.Err() == nil:
		return nil, answer.Busy(most)
	case err != nil:
		return nil, err
	}
	return g.answer(ctx, x, r)
}

// answer finds the answer to a request.
func (g *Gateway) answer(ctx context.Context, x *exchange, r *http.Request) (*answer.Answer, error) {
	params := r.URL.Query()
	if to, err := x.byURI(r, params); to != nil || err != nil {
		return to, err
	}
	t, to, err := g.locate(ctx, x, r)
	if to != nil || err != nil {
		return to, err
	}
	if !isContentPath(t.path) {
		return nil, answer.Refuse(http.StatusNotFound, "not found: ask for /ipfs/CID or /ipns/NAME, or for a site by its host name")
	}
	if to := t.superfluous(r); to != nil {
		return to, nil
	}
	p, err := path.NewPath(t.path)
	if err != nil {
		return nil, answer.Refuse(http.StatusBadRequest, "%s", answer.Abbreviate(err.Error()))
	}
	if escapes(t.path, p) {
		return nil, answer.Refuse(http.StatusBadRequest, "the path leads out of its content root")
	}
	if r.Header.Get("Service-Worker") == "script" && !t.isolated && len(p.Segments()) == 2 {
		return nil, answer.Refuse(http.StatusBadRequest, "navigator.serviceWorker: registration is not allowed for this scope")
	}
	x.path = p.String()
	if f := g.allow(ctx, x, p); f != nil {
		return nil, f
	}
	if to := t.elsewhere(r); to != nil {
		return to, nil
	}
	// Of a root that is served below one path only, neither rules nor links lead elsewhere.
	isolated := t.isolated && !x.partly
	return g.build(ctx, x, r, &answer.Request{
		Path: p, Names: p.Segments()[2:], URL: answer.Clean(r.URL.Path), Query: answer.Query(x.uri), Params: params,
		Header: r.Header, Host: r.Host, Isolated: isolated, Website: t.website, Gateway: t.place(),
	})
}

// build makes the answer to a request that may be served.
func (g *Gateway) build(ctx context.Context, x *exchange, r *http.Request, req *answer.Request) (*answer.Answer, error) {
	wanted, f := answer.Want(req.Params, r.Header)
	if f != nil {
		return nil, f
	}
	if req.Wanted = wanted; wanted.Format == answer.Record {
		return g.record(ctx, x, req)
	}
	onlyCached := answer.HasDirective(r.Header, "only-if-cached")
	x.reads.OnlyLocal(onlyCached)
	err := g.base(ctx, x, req)
	var a *answer.Answer
	if err == nil {
		a, err = g.builder.Build(ctx, x.reads, req)
	}
	x.reads.OnlyLocal(false)
	if err == nil || !onlyCached {
		return a, err
	}
	if f := answer.ContentFailure(err); f.Fetched {
		return nil, &answer.Failure{Status: http.StatusPreconditionFailed, Text: "the content is not held here", Cause: f.Cause}
	}
	return nil, err
}

// record answers with the record of an IPNS name.
func (g *Gateway) record(ctx context.Context, x *exchange, req *answer.Request) (*answer.Answer, error) {
	name, f := answer.RecordName(req.Path)
	if f != nil {
		return nil, f
	}
	bounded, cancel := context.WithDeadline(ctx, x.reads.Deadline())
	defer cancel()
	data, err := g.names.Record(bounded, name)
	if err != nil {
		return nil, answer.NameFailure(ctx, name.String(), err)
	}
	return g.builder.Record(req, data)
}

// base finds out where the root of a request's path is. The configured sites come before
// anything that the DNS says.
func (g *Gateway) base(ctx context.Context, x *exchange, req *answer.Request) error {
	if !req.Path.Mutable() {
		p, err := path.NewImmutablePath(req.Path)
		if err == nil {
			req.Base = path.FromCid(p.RootCid())
		}
		return err
	}
	name := req.Path.Segments()[1]
	asked, err := path.NewPath("/" + req.Path.Namespace() + "/" + name)
	if err != nil {
		return err
	}
	s, isSite := x.sites.lookup(canonicalName(name))
	if isSite {
		name, asked = s.host, s.target()
		if s.immutable() {
			req.Lasting = g.opts.SiteTTL
			req.Base, err = path.NewImmutablePath(asked)
			return err
		}
	}
	bounded, cancel := context.WithDeadline(ctx, x.reads.Deadline())
	defer cancel()
	root, ttl, err := g.names.Resolve(bounded, asked)
	if err != nil {
		return answer.NameFailure(ctx, name, err)
	}
	if isSite {
		s.resolved(root, ttl)
	}
	req.Base, x.named = root, &nameAnswer{asked, root, ttl}
	return nil
}

func isContentPath(p string) bool {
	return strings.HasPrefix(p, "/ipfs/") || strings.HasPrefix(p, "/ipns/")
}

// byURI answers /ipfs/?uri=ipfs://CID/path?query on a gateway, which browsers ask for that
// have it registered for the scheme (navigator.registerProtocolHandler). Everywhere else
// uri is the website's own parameter.
func (x *exchange) byURI(r *http.Request, params url.Values) (*answer.Answer, error) {
	uri := params.Get("uri")
	at := strings.TrimSuffix(r.URL.Path, "/")
	host, _ := splitHost(r.Host)
	if uri == "" || at != "/ipfs" && at != "/ipns" || !x.sites.isGateway(x.opens, host) {
		return nil, nil
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "ipfs" && u.Scheme != "ipns" {
		return nil, answer.Refuse(http.StatusBadRequest, "the uri parameter must be an ipfs:// or ipns:// URI")
	}
	root := "/" + u.Scheme + "/"
	to := answer.Reference(root + u.Host + u.Path)
	if !strings.HasPrefix(to, root) || to == root {
		return nil, answer.Refuse(http.StatusBadRequest, "the uri parameter names no content")
	}
	query := ""
	if u.RawQuery != "" {
		query = answer.Query("?" + u.RawQuery)
	}
	return answer.Redirect(http.StatusMovedPermanently, to+query), nil
}

// superfluous returns the redirect to what /ipfs/ipfs/CID and the like mean.
func (t *target) superfluous(r *http.Request) *answer.Answer {
	meant := strings.TrimPrefix(t.path, "/ipfs")
	if t.isolated || meant == t.path || !isContentPath(meant) {
		return nil
	}
	p, err := path.NewPath(meant)
	if err != nil {
		return nil // which is said of the path as it is
	}
	return answer.Redirect(http.StatusMovedPermanently, answer.Reference(p.String())+answer.Query(r.RequestURI))
}

// elsewhere returns the redirect to a key's canonical form, if the path has another.
func (t *target) elsewhere(r *http.Request) *answer.Answer {
	parts := strings.SplitN(t.path, "/", 4)
	if t.isolated || parts[1] != "ipns" {
		return nil
	}
	key, err := canonicalKey(parts[2])
	if err != nil || key == parts[2] {
		return nil
	}
	parts[2] = key
	return answer.Redirect(http.StatusFound, answer.Reference(strings.Join(parts, "/"))+answer.Query(r.RequestURI))
}

// canonicalKey returns the key of an IPNS name as subdomains have it: a CIDv1 of a libp2p
// key in base36.
func canonicalKey(s string) (string, error) {
	id, err := peer.Decode(s)
	if err == nil {
		return peer.ToCid(id).StringOfBase(multibase.Base36)
	}
	// Older software wrote keys as CIDs of other codecs.
	c, err := cid.Decode(s)
	if err != nil {
		return "", err
	}
	if id, err = peer.IDFromBytes(c.Hash()); err != nil {
		return "", errors.New("not a key")
	}
	return peer.ToCid(id).StringOfBase(multibase.Base36)
}

// place is where pages link to other content.
func (t *target) place() string {
	if t.gateway == "" {
		return ""
	}
	return "//" + t.gateway
}
