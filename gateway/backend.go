package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ipfs/boxo/files"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	redirects "github.com/ipfs/go-ipfs-redirects-file"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// Names is what names point to now. Its errors wrap [ErrNameNotFound] when a
// name has no record, and the context's error when time was up. All methods may
// be called from many goroutines at once.
type Names interface {
	// Resolve follows IPNS names and DNSLinks until the path is immutable. It
	// also returns for how long the answer holds; zero when that is not known.
	Resolve(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error)
	// Record returns the signed IPNS record of name, verified.
	Record(ctx context.Context, name ipns.Name) ([]byte, error)
	// DNSLink returns what the DNSLink record of a domain points to, without
	// following it further.
	DNSLink(ctx context.Context, fqdn string) (path.Path, time.Duration, error)
}

// backend is what boxo's handlers read through: blocks as boxo interprets them,
// names as ours are. Panics in decoders of foreign bytes become errors here.
type backend struct {
	blocks  bgw.IPFSBackend
	service *blockService
	paths   *pathCache
	names   Names
	ttl     time.Duration // of sites configured as a CID
	log     *slog.Logger
}

// Only these methods: boxo would find any further ones and open sessions that
// bypass the block service.
var _ bgw.IPFSBackend = (*backend)(nil)

func newBackend(service *blockService, names Names, memory Memory, opts Options, log *slog.Logger) (*backend, error) {
	// Without a name system boxo makes one that asks public resolvers.
	inner, err := bgw.NewBlocksBackend(service, bgw.WithNameSystem(noNames{}))
	if err != nil {
		return nil, fmt.Errorf("make the gateway's block backend: %w", err)
	}
	return &backend{
		blocks: inner, service: service, paths: newPathCache(inner.ResolvePath, memory.Use), names: names, ttl: opts.SiteTTL,
		log: log,
	}, nil
}

// caught turns a panic into an error.
func (b *backend) caught(ctx context.Context, err *error) {
	if p := recover(); p != nil {
		b.log.Error("panic while reading content", "panic", p, "stack", string(debug.Stack()))
		f := internalError(p)
		recordOf(ctx).failed(f)
		*err = f.forBoxo()
	}
}

func (b *backend) Get(ctx context.Context, p path.ImmutablePath, ranges ...bgw.ByteRange) (md bgw.ContentPathMetadata, resp *bgw.GetResponse, err error) {
	defer b.caught(ctx, &err)
	if urlPath, ok := recordOf(ctx).missed(p); ok {
		return b.rules(ctx, p, urlPath)
	}
	short, passed, ok := b.paths.shortest(ctx, p)
	var ahead bool
	if md, resp, ahead = b.openAhead(ctx, short, ranges); !ahead {
		md, resp, err = b.blocks.Get(ctx, short, ranges...)
	}
	if ok {
		md.PathSegmentRoots = passed
	}
	if err == nil {
		recordOf(ctx).opened(md)
	}
	return md, resp, explain(ctx, p, err)
}

// rules returns a site's _redirects file, which boxo asks for because there is nothing
// at urlPath. Of a redirect, boxo is told that there is one and with which status; where
// it leads, the record keeps for the response writer.
func (b *backend) rules(ctx context.Context, p path.ImmutablePath, urlPath string) (bgw.ContentPathMetadata, *bgw.GetResponse, error) {
	md, n, err := b.blocks.GetAll(ctx, p)
	if err != nil {
		return md, nil, explain(ctx, p, err)
	}
	defer n.Close()
	rec := recordOf(ctx)
	data, parsed, err := readRules(n)
	if rule, ok := matchRule(parsed, urlPath); err == nil && ok && rule.leadsAway() {
		rec.location, err = rule.location(rec.query)
		data = fmt.Appendf(nil, "/* / %d", rule.Status)
	}
	if err != nil {
		rec.failed(rulesFailure(err))
		return md, nil, explain(ctx, p, err)
	}
	rec.opened(md)
	return md, bgw.NewGetResponseFromReader(files.NewBytesFile(data), int64(len(data))), nil
}

// readRules reads and parses a _redirects file.
func readRules(n files.Node) ([]byte, []redirects.Rule, error) {
	f := files.ToFile(n)
	if f == nil {
		return nil, nil, errors.New("it is not a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, redirects.MaxFileSizeInBytes+1))
	if err != nil {
		return nil, nil, err
	}
	rules, err := redirects.Parse(bytes.NewReader(data))
	return data, rules, err
}

func (b *backend) GetAll(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, n files.Node, err error) {
	defer b.caught(ctx, &err)
	short, passed, ok := b.paths.shortest(ctx, p)
	md, n, err = b.blocks.GetAll(ctx, short)
	if ok {
		md.PathSegmentRoots = passed
	}
	return md, n, explain(ctx, p, err)
}

func (b *backend) GetBlock(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, f files.File, err error) {
	defer b.caught(ctx, &err)
	short, passed, ok := b.paths.shortest(ctx, p)
	md, f, err = b.blocks.GetBlock(ctx, short)
	if ok {
		md.PathSegmentRoots = passed
	}
	return md, f, explain(ctx, p, err)
}

func (b *backend) Head(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, resp *bgw.HeadResponse, err error) {
	defer b.caught(ctx, &err)
	short, passed, ok := b.paths.shortest(ctx, p)
	md, resp, err = b.blocks.Head(ctx, short)
	if ok {
		md.PathSegmentRoots = passed
	}
	return md, resp, explain(ctx, p, err)
}

func (b *backend) ResolvePath(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, err error) {
	defer b.caught(ctx, &err)
	short, passed, ok := b.paths.shortest(ctx, p)
	md, err = b.blocks.ResolvePath(ctx, short)
	if ok {
		md.PathSegmentRoots = passed
	}
	return md, explain(ctx, p, err)
}

func (b *backend) GetCAR(ctx context.Context, p path.ImmutablePath, params bgw.CarParams) (md bgw.ContentPathMetadata, car io.ReadCloser, err error) {
	defer b.caught(ctx, &err)
	md, car, err = b.blocks.GetCAR(ctx, p, params)
	return md, car, explain(ctx, p, err)
}

// explain puts the failed fetch back where the libraries lost it on the way: a
// block that could not be had must not look like a path that does not exist. And
// what boxo would call an internal error, because it cannot make sense of the
// content, is the content's fault.
func explain(ctx context.Context, p path.ImmutablePath, err error) error {
	if err == nil {
		return nil
	}
	rec := recordOf(ctx)
	if f := rec.firstFailure(); f != nil {
		return f.forBoxo()
	}
	if f := contentFailure(p, err); f != nil {
		rec.failed(f)
		return f.forBoxo()
	}
	return err
}

// IsCached reports whether the content is held here. Nothing is fetched to find
// out.
func (b *backend) IsCached(ctx context.Context, p path.Path) bool {
	ip, _, _, err := b.ResolveMutable(ctx, p)
	if err != nil {
		return false
	}
	return b.blocks.IsCached(localOnly(ctx), ip)
}

// undated is the time that has boxo send no Last-Modified. RFC 9110, section 8.8.2.1,
// wants one where the date can be "reasonably and consistently determined": when an edge
// first saw where a name leads is another time on each edge and after each restart. Only
// content that has a date in itself is sent with it; all has an entity tag.
var undated = time.Unix(0, 0)

// ResolveMutable finds the immutable path of a name. The configured sites come
// before anything that the DNS says.
func (b *backend) ResolveMutable(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, time.Time, error) {
	ip, ttl, lastMod, err := b.resolveMutable(ctx, p)
	if err == nil {
		recordOf(ctx).resolved = ip.String()
	}
	return ip, ttl, lastMod, err
}

func (b *backend) resolveMutable(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, time.Time, error) {
	if !p.Mutable() {
		ip, err := path.NewImmutablePath(p)
		return ip, 0, time.Time{}, err
	}
	name := p.Segments()[1]
	rest := strings.TrimPrefix(p.String(), "/"+p.Namespace()+"/"+name)
	s, isSite := recordOf(ctx).sites.lookup(canonicalName(name))
	if !isSite {
		ip, ttl, err := b.resolve(ctx, name, p)
		return ip, ttl, undated, err
	}
	target, err := path.NewPath(s.target().String() + rest)
	if err != nil {
		return path.ImmutablePath{}, 0, time.Time{}, err
	}
	if s.immutable() {
		ip, err := path.NewImmutablePath(target)
		return ip, b.ttl, undated, err
	}
	ip, ttl, err := b.resolve(ctx, s.host, target)
	if err != nil {
		return ip, ttl, undated, err
	}
	if root, ok := rootOf(ip, rest); ok {
		s.resolved(root, ttl)
	}
	return ip, ttl, undated, nil
}

// resolve asks Names, within the time that the request has left.
func (b *backend) resolve(ctx context.Context, name string, p path.Path) (path.ImmutablePath, time.Duration, error) {
	rec := recordOf(ctx)
	bounded, cancel := context.WithDeadline(ctx, rec.deadline(b.service.patience()))
	defer cancel()
	ip, ttl, err := b.names.Resolve(bounded, p)
	if err != nil {
		f := nameFailure(ctx, name, err)
		rec.failed(f)
		return path.ImmutablePath{}, 0, f.forBoxo()
	}
	rec.named(p, ip, ttl)
	return ip, ttl, nil
}

// rootOf cuts the visitor's part off a resolved path.
func rootOf(ip path.ImmutablePath, rest string) (path.ImmutablePath, bool) {
	cut, ok := strings.CutSuffix(ip.String(), rest)
	if !ok {
		return path.ImmutablePath{}, false
	}
	p, err := path.NewPath(cut)
	if err != nil {
		return path.ImmutablePath{}, false
	}
	root, err := path.NewImmutablePath(p)
	return root, err == nil
}

// GetIPNSRecord returns the signed record of a key.
func (b *backend) GetIPNSRecord(ctx context.Context, c cid.Cid) ([]byte, error) {
	name, err := ipns.NameFromCid(c)
	if err != nil {
		return nil, bgw.NewErrorStatusCode(err, http.StatusBadRequest)
	}
	rec := recordOf(ctx)
	bounded, cancel := context.WithDeadline(ctx, rec.deadline(b.service.patience()))
	defer cancel()
	record, err := b.names.Record(bounded, name)
	if err != nil {
		f := nameFailure(ctx, name.String(), err)
		rec.failed(f)
		return nil, f.forBoxo()
	}
	return record, nil
}

// GetDNSLinkRecord answers boxo's question whether a host is a website. For the
// sites it is; for other hosts the DNS is asked, with serve: any only.
func (b *backend) GetDNSLinkRecord(ctx context.Context, host string) (path.Path, error) {
	rec := recordOf(ctx)
	host = canonicalName(host)
	if s, ok := rec.sites.lookup(host); ok {
		return s.target(), nil
	}
	if rec.sites.opts.Serve != ServeAny || !isFQDN(host) {
		return nil, ErrNameNotFound
	}
	bounded, cancel := context.WithDeadline(ctx, rec.deadline(b.service.patience()))
	defer cancel()
	p, _, err := b.names.DNSLink(bounded, host)
	if err != nil && !isNameNotFound(err) {
		rec.mu.Lock()
		rec.nameErr = err
		rec.mu.Unlock()
	}
	return p, err
}

// noNames stands where boxo wants a name system. Names are resolved above it.
type noNames struct{}

var errNoNames = errors.New("names are resolved before the block backend")

func (noNames) Resolve(context.Context, path.Path, ...namesys.ResolveOption) (namesys.Result, error) {
	return namesys.Result{}, errNoNames
}

func (noNames) ResolveAsync(context.Context, path.Path, ...namesys.ResolveOption) <-chan namesys.AsyncResult {
	out := make(chan namesys.AsyncResult, 1)
	out <- namesys.AsyncResult{Err: errNoNames}
	close(out)
	return out
}

func (noNames) Publish(context.Context, crypto.PrivKey, path.Path, ...namesys.PublishOption) error {
	return errNoNames
}
