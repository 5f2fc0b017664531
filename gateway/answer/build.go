package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"golang.org/x/net/idna"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/hot"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// Request is what is asked for, once it is known where names lead and that it may be served.
type Request struct {
	Path path.Path // the content path
	// Base is what the first two segments of Path lead to, and where a site's own root is:
	// nothing outside is reached. Names are the segments behind them.
	Base  path.ImmutablePath
	Names []string
	// Lasting is how long a name that the settings lead somewhere holds; 0 for others.
	Lasting time.Duration

	URL    string     // the path that was asked for, decoded
	Query  string     // as it was sent, with its question mark
	Params url.Values // of the query
	Header http.Header
	Wanted

	// Isolated says that the content has an origin of its own in browsers: there its rules
	// apply, and its symbolic links are followed.
	Isolated bool
	Website  bool   // the host is a website's own name
	Host     string // with its port, as the visitor wrote it
	Gateway  string // where pages link to other content: "//host"; "" for paths of this host

	custom []Field // that the site wants, see HeaderRules
}

// Builder makes answers. All methods may be called from many goroutines at once.
type Builder struct {
	source   *Source
	hot      *hot.Store
	memory   hot.Memory
	parallel int
	maxSize  int64
	compress bool
	pages    *places
}

// NewBuilder makes a builder. What it finds out is kept in the store, which may be nil. One
// request fetches so many blocks at once. Content that takes more than maxSize bytes is
// refused, unless that is 0. compress says whether content may be sent encoded.
func NewBuilder(source *Source, store *hot.Store, memory hot.Memory, parallel int, maxSize int64, compress bool) *Builder {
	return &Builder{
		source: source, hot: store, memory: memory, parallel: parallel, maxSize: maxSize, compress: compress,
		// More pages at once would only wait for a processor, and have hits wait, too.
		pages: newPlaces(max(1, int64(runtime.GOMAXPROCS(0)/2))),
	}
}

// Build makes the answer to a request. Errors are those of [ContentFailure]; nothing was
// sent before one comes.
func (b *Builder) Build(ctx context.Context, reads *Reads, req *Request) (*Answer, error) {
	at, err := b.base(ctx, reads, req)
	if err != nil {
		return nil, err
	}
	if req.custom, err = b.headers(ctx, reads, req, at); err != nil {
		return nil, err
	}
	found, err := b.names(ctx, reads, at, req.Names)
	if errors.Is(err, unixfs.ErrNoName) {
		return b.nowhere(ctx, reads, req, at, found, err)
	}
	if err != nil {
		return nil, err
	}
	return b.represent(ctx, reads, req, found, lastName(req.Path))
}

// base goes to where a request's root is.
func (b *Builder) base(ctx context.Context, reads *Reads, req *Request) (*place, error) {
	at := root(req.Base.RootCid(), false)
	if err := b.walk(ctx, reads, at, req.Base.Segments()[2:]); err != nil {
		return nil, noPath(req, err)
	}
	if len(at.rest) > 0 && len(req.Names) > 0 {
		return nil, noPath(req, unixfs.ErrNoName)
	}
	at.floor, at.follow = len(at.stack), req.Isolated
	return at, nil
}

// Root returns the CID that a path without names leads to.
func (b *Builder) Root(ctx context.Context, reads *Reads, p path.ImmutablePath) (cid.Cid, error) {
	at := root(p.RootCid(), false)
	if err := b.walk(ctx, reads, at, p.Segments()[2:]); err != nil {
		return cid.Undef, err
	}
	if len(at.rest) > 0 {
		return cid.Undef, fmt.Errorf("%s does not end at a block", p)
	}
	return at.cid(), nil
}

// noPath is the failure of a path that leads nowhere.
func noPath(req *Request, err error) error {
	if !errors.Is(err, unixfs.ErrNoName) {
		return err
	}
	return &Failure{
		Status: http.StatusNotFound, Cause: err,
		Text: fmt.Sprintf("%s was not found: %s", Abbreviate(req.Path.String()), strings.TrimPrefix(err.Error(), unixfs.ErrNoName.Error()+": ")),
	}
}

// nowhere answers where a path leads nowhere: by the site's rules, if it has any.
func (b *Builder) nowhere(ctx context.Context, reads *Reads, req *Request, at *place, reached *found, err error) (*Answer, error) {
	if req.Format == CAR {
		return b.absentCAR(ctx, reads, req, reached)
	}
	if !req.Isolated || req.Format != Web || len(req.Names) == 0 {
		return nil, noPath(req, err)
	}
	rules, failed := b.rules(ctx, reads, at)
	if failed != nil {
		return nil, failed
	}
	missing := "/" + strings.Join(req.Names, "/")
	if strings.HasSuffix(req.URL, "/") {
		missing += "/"
	}
	rule, ok := rules.match(missing)
	switch {
	case !ok:
		return nil, noPath(req, err)
	case rule.filled() > maxFilled:
		return nil, Refuse(http.StatusInternalServerError, "could not use _redirects: a target of more than %d bytes", maxFilled)
	case rule.leadsAway():
		to, err := rule.location(req.Query)
		if err != nil {
			return nil, Refuse(http.StatusInternalServerError, "could not use _redirects: %s", Abbreviate(err.Error()))
		}
		return Redirect(rule.Status, to), nil
	}
	return b.instead(ctx, reads, req, at, rule)
}

// instead answers with another file of the site: with its type, entity tag and parts.
func (b *Builder) instead(ctx context.Context, reads *Reads, req *Request, at *place, rule *match) (*Answer, error) {
	file := rule.file()
	names := strings.Split(strings.TrimPrefix(file, "/"), "/")
	found, err := b.names(ctx, reads, at, names)
	if err != nil {
		return nil, noPath(req, err)
	}
	if rule.Status == http.StatusOK {
		rewritten := *req
		rewritten.URL = file
		return b.represent(ctx, reads, &rewritten, found, names[len(names)-1])
	}
	blk, n, err := b.node(ctx, reads, found.CID)
	if err != nil {
		return nil, err
	}
	if !n.IsFile() {
		return nil, Refuse(http.StatusInternalServerError, "could not use _redirects: its page for %d is not a file", rule.Status)
	}
	a, err := b.file(ctx, reads, req, found, blk, n, names[len(names)-1])
	if err != nil {
		return nil, err
	}
	a.Status, a.Ranges, a.Keep = rule.Status, false, false
	return b.complete(a, req), nil
}

// represent answers with what a path leads to, in the format that is wanted.
func (b *Builder) represent(ctx context.Context, reads *Reads, req *Request, at *found, name string) (*Answer, error) {
	if len(at.Rest) > 0 {
		return nil, Refuse(http.StatusNotImplemented, "%s leads into a block: only its links are followed; ask for the block %s", Abbreviate(req.Path.String()), at.CID)
	}
	blk, err := reads.Get(ctx, at.CID)
	if err != nil {
		return nil, err
	}
	switch req.Format {
	case CAR:
		return b.car(ctx, reads, req, at, blk)
	case Raw:
		return b.raw(ctx, reads, req, at, blk)
	case TAR:
		return b.tar(ctx, reads, req, at, blk)
	}
	codec := at.CID.Prefix().Codec
	_, isValue := codecFormats[codec]
	switch {
	case isValue, req.Format == DAGJSON, req.Format == DAGCBOR:
		return b.value(ctx, reads, req, at, blk)
	case codec != cid.Raw && codec != cid.DagProtobuf:
		return nil, Refuse(http.StatusNotImplemented, "block %s is in a format that is not shown here: ask for its bytes with ?format=raw", at.CID)
	}
	n, err := unixfs.ReadNode(codec, blk.RawData())
	if err != nil {
		return nil, err
	}
	return b.unixfs(ctx, reads, req, at, blk, n, name)
}

// node reads a node of UnixFS.
func (b *Builder) node(ctx context.Context, reads *Reads, c cid.Cid) (*block.Verified, *unixfs.Node, error) {
	blk, err := reads.Get(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	n, err := unixfs.ReadNode(c.Prefix().Codec, blk.RawData())
	return blk, n, err
}

// begin makes an answer with content, of what a path led to.
func (b *Builder) begin(req *Request, at *found, format Format) *Answer {
	a := &Answer{
		Status: http.StatusOK, ETag: format.etag(at.CID), Size: -1, Keep: true, above: at.Passed, root: at.CID,
	}
	if !req.Path.Mutable() {
		a.Control = Immutable
	} else if req.Lasting > 0 {
		a.Control = MaxAge(req.Lasting)
	}
	roots := make([]string, 0, len(at.Roots)+1)
	for _, c := range append(at.Roots, at.CID) {
		roots = append(roots, c.String())
	}
	a.repeat("X-Ipfs-Roots", strings.Join(roots, ","))
	return a
}

// complete adds what says where content is from, and finishes the answer. What Accept might
// have chosen otherwise varies by it, so that no cache in front gives a page to who asks for
// blocks. On a website's own host it is not said: there nobody does, and each kind of browser's
// request would have a copy of its own.
func (b *Builder) complete(a *Answer, req *Request) *Answer {
	if p := req.Path.String(); isFieldValue(p) {
		a.repeat("X-Ipfs-Path", p)
	}
	if req.Accepted || req.Overruled {
		a.repeat("Content-Location", contentLocation(req))
	}
	a.repeat("Ipfs-Uri", ipfsURI(req.Path))
	a.custom = req.custom
	a.finish(req.Accepted || req.Format == Web && !req.Website, b.compress)
	return a
}

// MaxAge is Cache-Control of what is good for so long.
func MaxAge(d time.Duration) string { return "public, max-age=" + decimal(int64(d.Seconds())) }

// isFieldValue reports whether a text may stand in a header field as it is (RFC 9110,
// section 5.5); what else there is, arrives garbled.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ipfsURI is the value of Ipfs-Uri (IPIP-548): the root in its canonical form, the rest as
// in the content path, with all but unreserved characters encoded. It is empty when the
// root has no canonical form.
func ipfsURI(p path.Path) string {
	segments := p.Segments()
	authority := segments[1]
	if p.Namespace() == path.IPFSNamespace {
		c, err := cid.Decode(authority)
		if err != nil {
			return ""
		}
		authority = cid.NewCidV1(c.Type(), c.Hash()).String()
	} else if name, err := ipns.NameFromString(authority); err == nil {
		authority = name.String()
	} else {
		host, err := idna.Lookup.ToASCII(strings.TrimSuffix(authority, "."))
		if err != nil || !strings.Contains(host, ".") || strings.Contains(host, "..") || strings.HasPrefix(host, ".") {
			return ""
		}
		authority = host
	}
	rest := strings.TrimPrefix(p.String(), "/"+segments[0]+"/"+segments[1])
	return p.Namespace() + "://" + authority + encode(rest, unreserved+"/")
}

// contentLocation is the URL under which a format that was asked for in Accept can be had
// without it.
func contentLocation(req *Request) string {
	query := url.Values{}
	for key, values := range req.Params {
		query[key] = values
	}
	query.Set("format", string(req.Format))
	for key, value := range req.Wanted.Params {
		if key = string(req.Format) + "-" + key; !query.Has(key) {
			query.Set(key, value)
		}
	}
	return Reference(req.URL) + "?" + query.Encode()
}

func lastName(p path.Path) string {
	segments := p.Segments()
	if len(segments) <= 2 {
		return ""
	}
	return segments[len(segments)-1]
}

// disposition is a Content-Disposition (RFC 6266).
func disposition(kind, filename string) string {
	ascii := make([]rune, 0, len(filename))
	for _, r := range filename {
		if r > '~' {
			r = '_'
		}
		ascii = append(ascii, r)
	}
	return fmt.Sprintf("%s; filename=\"%s\"; filename*=UTF-8''%s", kind, url.PathEscape(string(ascii)), url.PathEscape(filename))
}

// filename is the name that the query asks a download to have.
func (req *Request) filename() string { return Truncate(req.Params.Get("filename"), 255) }

func (req *Request) download() bool { return req.Params.Get("download") == "true" }

// tooLarge is the failure of content over the limit.
func (b *Builder) tooLarge(size int64) error {
	if b.maxSize > 0 && size > b.maxSize {
		return Refuse(http.StatusGone, "the content takes %d bytes, and this edge serves up to %d bytes", size, b.maxSize)
	}
	return nil
}
