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
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/files"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	blocks "github.com/ipfs/go-block-format"
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
		blocks: inner, service: service, paths: newPathCache(service, inner.ResolvePath, memory.Use), names: names, ttl: opts.SiteTTL,
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
	md, root, err := b.find(ctx, p)
	if err == nil {
		resp, err = b.open(ctx, &md, root, ranges)
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
	md, root, err := b.find(ctx, p)
	if err != nil {
		return md, nil, explain(ctx, p, err)
	}
	data, parsed, err := b.readRules(ctx, root)
	rec := recordOf(ctx)
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

// readRules reads and parses a _redirects file, for HEAD as for GET.
func (b *backend) readRules(ctx context.Context, root blocks.Block) ([]byte, []redirects.Rule, error) {
	n, err := readNode(root.Cid().Prefix().Codec, root.RawData())
	if err != nil {
		return nil, nil, err
	}
	if !n.isFile() {
		return nil, nil, errors.New("it is not a file")
	}
	r, err := newFileReader(ctx, b.service, root, n, span{0, min(n.size, redirects.MaxFileSizeInBytes+1)})
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, err
	}
	rules, err := redirects.Parse(bytes.NewReader(data))
	return data, rules, err
}

func (b *backend) GetAll(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, n files.Node, err error) {
	defer b.caught(ctx, &err)
	md, root, err := b.find(ctx, p)
	if err == nil {
		n, err = tarRoot(ctx, b.service, root)
	}
	return md, n, explain(ctx, p, err)
}

func (b *backend) GetBlock(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, f files.File, err error) {
	defer b.caught(ctx, &err)
	md, root, err := b.find(ctx, p)
	if err == nil {
		f = files.NewBytesFile(root.RawData())
	}
	return md, f, explain(ctx, p, err)
}

func (b *backend) Head(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, resp *bgw.HeadResponse, err error) {
	defer b.caught(ctx, &err)
	md, root, err := b.find(ctx, p)
	if err == nil {
		resp, err = b.head(ctx, &md, root)
	}
	return md, resp, explain(ctx, p, err)
}

func (b *backend) ResolvePath(ctx context.Context, p path.ImmutablePath) (md bgw.ContentPathMetadata, err error) {
	defer b.caught(ctx, &err)
	md, err = b.resolvePath(ctx, p)
	return md, explain(ctx, p, err)
}

// GetCAR has the blocks of the path and the one that it leads to before it returns. With
// HEAD, nothing else is read.
func (b *backend) GetCAR(ctx context.Context, p path.ImmutablePath, params bgw.CarParams) (md bgw.ContentPathMetadata, car io.ReadCloser, err error) {
	defer b.caught(ctx, &err)
	md, car, err = b.export(ctx, p, params)
	if err == nil && recordOf(ctx).head {
		err, car = car.Close(), io.NopCloser(strings.NewReader(""))
	}
	return md, car, explain(ctx, p, err)
}

func (b *backend) export(ctx context.Context, p path.ImmutablePath, params bgw.CarParams) (bgw.ContentPathMetadata, io.ReadCloser, error) {
	t := &trail{}
	md, root, err := b.find(context.WithValue(ctx, trailKey{}, t), p)
	if err == nil {
		before := slices.DeleteFunc(t.cids, root.Cid().Equals)
		car, err := newCAR(ctx, b.service, before, root, params)
		return md, car, err
	}
	if recordOf(ctx).firstFailure() == nil && errors.Is(err, &resolver.ErrNoLink{}) {
		car, err := absentCAR(ctx, b.service, t.cids, params)
		return bgw.ContentPathMetadata{LastSegment: path.FromCid(p.RootCid())}, car, err
	}
	return md, nil, err
}

// find returns the block that a path leads to.
func (b *backend) find(ctx context.Context, p path.ImmutablePath) (bgw.ContentPathMetadata, blocks.Block, error) {
	md, err := b.resolvePath(ctx, p)
	if err != nil {
		return md, nil, err
	}
	root, err := b.service.GetBlock(ctx, md.LastSegment.RootCid())
	return md, root, err
}

func (b *backend) resolvePath(ctx context.Context, p path.ImmutablePath) (bgw.ContentPathMetadata, error) {
	short, passed, err := b.paths.shortest(ctx, p)
	if errors.Is(err, errInsideBlock) {
		return b.blocks.ResolvePath(ctx, p)
	}
	return bgw.ContentPathMetadata{PathSegmentRoots: passed, LastSegment: short}, err
}

// open begins to read what a path leads to.
func (b *backend) open(ctx context.Context, md *bgw.ContentPathMetadata, root blocks.Block, ranges []bgw.ByteRange) (*bgw.GetResponse, error) {
	data := root.RawData()
	codec := root.Cid().Prefix().Codec
	if codec != cid.Raw && codec != cid.DagProtobuf {
		return b.value(ctx, root)
	}
	n, err := readNode(codec, data)
	if err != nil {
		return nil, err
	}
	md.ModTime = n.modTime
	switch {
	case n.isFolder():
		return b.list(ctx, root, n)
	case n.kind == unixfs.TSymlink:
		return bgw.NewGetResponseFromSymlink(symlink(n), int64(len(n.content))), nil
	case n.isFile():
		r, err := newFileReader(ctx, b.service, root, n, spanOf(ranges, n.size))
		if err != nil {
			return nil, err
		}
		return bgw.NewGetResponseFromReader(r, n.size), nil
	}
	return nil, fmt.Errorf("%w: UnixFS of the kind %s", errNode, n.kind)
}

func symlink(n *node) *files.Symlink {
	return files.ToSymlink(files.NewSymlinkFile(string(n.content), n.modTime))
}

// head returns what HEAD says of what a path leads to.
func (b *backend) head(ctx context.Context, md *bgw.ContentPathMetadata, root blocks.Block) (*bgw.HeadResponse, error) {
	data := root.RawData()
	codec := root.Cid().Prefix().Codec
	if codec != cid.Raw && codec != cid.DagProtobuf {
		return bgw.NewHeadResponseForFile(files.NewBytesFile(data), int64(len(data))), nil
	}
	n, err := readNode(codec, data)
	if err != nil {
		return nil, err
	}
	md.ModTime = n.modTime
	switch {
	case n.isFolder():
		size, err := n.treeSize(data)
		return bgw.NewHeadResponseForDirectory(size), err
	case n.kind == unixfs.TSymlink:
		return bgw.NewHeadResponseForSymlink(int64(len(n.content))), nil
	case n.isFile():
		r, err := newFileReader(ctx, b.service, root, n, span{0, n.size})
		if err != nil {
			return nil, err
		}
		return bgw.NewHeadResponseForFile(r, n.size), nil
	}
	return nil, fmt.Errorf("%w: UnixFS of the kind %s", errNode, n.kind)
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
	md, err := b.resolvePath(localOnly(ctx), ip)
	if err != nil {
		return false
	}
	held, _ := b.service.Blockstore().Has(ctx, md.LastSegment.RootCid())
	return held
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
