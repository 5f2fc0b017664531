package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
)

// route is what is answered to plain requests for one URL: GET and HEAD, whole, one
// range of it, or that it is not modified. It was captured from boxo's own answer.
// But for what SIEVE needs, it never changes.
type route struct {
	entry // host and uri as requests write them

	label   string // the metrics' site label
	metrics *hitMetrics
	log     hitLog

	// Headers, ready to be set, and as text for connections that take it. What depends
	// on the request is not among them.
	fields, notAgain   []headerField // of 200 and 206; of 304
	head, headNotAgain []byte
	etag, weakTag      string // of the content as it is; of its forms

	size int64
	body []byte // all of it; nil when file has it
	// shared says that the body's bytes are those of the blocks.
	shared bool
	// stands has the blocks that a hit is a use of: those on the path to the file, and
	// the file's own but for the leaves of a large one. They are counted once a second.
	stands []cid.Cid
	used   moment
	file   *fileMap // where it lies in blocks
	// content names the bytes, as the CID of their file; empty when they are never encoded.
	content string

	// What the answer depends on besides the URL.
	policy verdict
	name   *nameAnswer // nil unless a name led here
}

type headerField struct {
	name  string
	value []string
}

// set puts the fields into a response's header. The slices are shared: net/http
// copies a header before it uses it, and nobody changes a value in place.
func set(h http.Header, fields []headerField) {
	for i := range fields {
		h[fields[i].name] = fields[i].value
	}
}

// verdict is why the serve policy allows a route, as far as that can change
// without a new table of sites (which ends all routes).
type verdict struct {
	free   bool    // nothing that changes is involved
	root   cid.Cid // what must be pinned, or lie in a site
	bySite bool    // it lay in a site
	// As long as no site's content moved, and until one has to be looked up again.
	moves uint64
	until time.Time // zero: no site's content can move
}

// allows reports whether the policy still allows the route.
func (g *Gateway) allows(v *verdict, now time.Time) bool {
	if v.free {
		return true
	}
	if v.bySite && v.moves == g.moves.Load() && (v.until.IsZero() || now.Before(v.until)) {
		return true
	}
	return g.pins.Pinned(v.root)
}

// verdictOf says why the policy allowed the request that rec is about.
func (g *Gateway) verdictOf(rec *requestRecord, contentPath string, now time.Time) verdict {
	if rec.sites.opts.Serve == ServeAny || !strings.HasPrefix(contentPath, "/ipfs/") {
		return verdict{free: true}
	}
	p, err := path.NewPath(contentPath)
	if err != nil {
		return verdict{}
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil {
		return verdict{}
	}
	v := verdict{root: ip.RootCid(), bySite: rec.bySite, moves: rec.moves}
	for _, s := range rec.sites.list {
		if s.immutable() {
			continue
		}
		until := s.freshUntil()
		if v.until.IsZero() || until.Before(v.until) {
			v.until = until
		}
		if !now.Before(until) {
			v.bySite = false
		}
	}
	return v
}

// cost is what keeping the route takes, in bytes.
func (r *route) cost() int64 {
	const overhead = 1792 // the structs, the header fields, a bucket's link, the log's prefix
	n := overhead + int64(3*len(r.uri)+2*len(r.host)+2*len(r.weakTag)+len(r.content)+cidCost*len(r.stands))
	if !r.shared {
		n += int64(cap(r.body))
	}
	for _, f := range r.fields {
		n += int64(len(f.value[0]))
	}
	n += int64(len(r.head) + len(r.headNotAgain))
	if r.file != nil {
		n += r.file.cost()
	}
	return n
}
