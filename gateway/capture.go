package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
)

// immutableCacheControl is what boxo says of content by CID.
const immutableCacheControl = "public, max-age=29030400, immutable"

// capture takes down boxo's answer to a plain request, to give it again without
// boxo. It accepts only what it understands completely: a file's bytes under an
// immutable path or a name, whose ETag is exactly "<cid>".
type capture struct {
	uri        string
	generation uint64
	ready      bool // the header was accepted

	etag   cid.Cid
	path   string // the content path
	size   int64
	header http.Header
	whole  bool // not a range
	keep   bool // the bytes are wanted

	body []byte // so far
	leaf []byte // the block that the bytes seem to be; body stays empty then
	n    int
}

// maxHotBody is the largest body, in bytes, that is kept in one piece. A raw block
// of our importer's size fits. Larger files are read block by block, see filemap.go.
const maxHotBody = 1 << 20

// beginCapture returns what will take down the answer, or nil when the request is
// not a plain one for content.
func (g *Gateway) beginCapture(r *http.Request) *capture {
	if g.hot == nil || r.Method != http.MethodGet {
		return nil
	}
	ask, ok := readPlain(r)
	if !ok || ask.noneIfAt != "" {
		return nil
	}
	return &capture{uri: r.RequestURI, generation: g.hot.generation.Load(), keep: g.hotBodies.Load()}
}

// begin looks at a response's header as it leaves.
func (c *capture) begin(rec *requestRecord, status int, h http.Header) bool {
	if status != http.StatusOK && status != http.StatusPartialContent {
		return false
	}
	id, ok := fileOf(h.Get("Etag"))
	if !ok {
		return false
	}
	for _, name := range []string{"Content-Encoding", "Content-Disposition", "Content-Location", "Retry-After", "Vary", "Set-Cookie", "Location"} {
		if h.Get(name) != "" {
			return false
		}
	}
	c.etag, c.path = id, contentPathOf(rec)
	if c.path == "" || h.Get("Content-Type") == "" || h.Get("X-Ipfs-Roots") == "" || !c.rightCacheControl(rec, h.Get("Cache-Control")) {
		return false
	}
	var err error
	if c.whole = status == http.StatusOK; c.whole {
		c.size, err = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	} else {
		_, total, _ := strings.Cut(h.Get("Content-Range"), "/")
		c.size, err = strconv.ParseInt(total, 10, 64)
	}
	if err != nil || c.size < 0 {
		return false
	}
	c.header = h.Clone()
	c.keep = c.keep && c.whole && c.size <= maxHotBody
	c.leaf = rec.lastLeaf()
	if len(c.leaf) != int(c.size) || cap(c.leaf) > len(c.leaf)+len(c.leaf)/8 {
		c.leaf = nil
	}
	return true
}

func contentPathOf(rec *requestRecord) string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.contentPath
}

func (c *capture) rightCacheControl(rec *requestRecord, value string) bool {
	if strings.HasPrefix(c.path, "/ipfs/") {
		return value == immutableCacheControl
	}
	return value == "" || strings.HasPrefix(value, "public, max-age=")
}

// write takes down bytes of the body.
func (c *capture) write(p []byte) {
	switch {
	case !c.keep:
	case c.n+len(p) > int(c.size):
		c.keep = false
	case c.leaf != nil:
		// Most files are one raw block, whose memory can serve for the answer too.
		if !bytes.Equal(c.leaf[c.n:c.n+len(p)], p) {
			c.keep = false
		}
	default:
		if c.body == nil {
			c.body = make([]byte, 0, c.size)
		}
		c.body = append(c.body, p...)
	}
	c.n += len(p)
}

// captured makes a route of an answer that was given to its end, and keeps it.
func (g *Gateway) captured(c *capture, w *responseWriter, rec *requestRecord) {
	if w.discard || w.abort || rec.firstFailure() != nil {
		return
	}
	r := &route{
		entry: entry{host: strings.Clone(rec.host), uri: strings.Clone(c.uri)}, label: rec.label,
		etag: c.header.Get("Etag"), size: c.size, policy: g.verdictOf(rec, c.path, time.Now()),
	}
	r.weakTag = weak(r.etag)
	if g.coder != nil && worthEncoding(c.size) && isCompressible(c.header.Get("Content-Type")) {
		r.content = contentOf(rec)
	}
	whole := c.keep && w.err == nil && c.n == int(c.size)
	if !whole && g.hotBodies.Load() && c.size <= maxHotBody {
		return // the next request may get to the end
	}
	m := g.mapFile(rec)
	if m != nil && m.size != c.size {
		m = nil
	}
	if whole {
		g.takeBody(r, c, m)
	} else if r.file = m; m == nil {
		return
	}
	g.standFor(r, m, rec)
	if !r.dependOn(rec, c.header) {
		return
	}
	r.takeHeader(c.header)
	r.metrics = g.metrics.hits(rec.label, "hit")
	if g.log.Enabled(context.Background(), slog.LevelInfo) {
		r.log.base = g.log.Handler()
	}
	g.hot.add(r, c.generation)
}

// dependOn notes what a name adds to the answer. It reports false when that cannot
// be told apart from what the content adds.
func (r *route) dependOn(rec *requestRecord, h http.Header) bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.name.known || len(rec.files) == 0 {
		return !rec.name.known
	}
	name := rec.name
	r.name = &name
	h.Del("Cache-Control")
	return true
}

// Headers that a route does not take over: they differ from answer to answer, or
// are set in one way for all.
var (
	ofTheRequest = []string{"Server-Timing", "Cache-Status", "Content-Range", "Content-Length", "Date", "Connection", "Etag"}
	ofTheContent = []string{"Content-Type", "Accept-Ranges", "X-Ipfs-Roots", "Last-Modified"}
)

// takeHeader makes the two sets of header fields.
func (r *route) takeHeader(h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		if !slices.Contains(ofTheRequest, name) && len(h[name]) == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		f := headerField{name, shared(name, h[name])}
		r.fields = append(r.fields, f)
		if !slices.Contains(ofTheContent, name) {
			r.notAgain = append(r.notAgain, f)
		}
	}
	if r.content != "" {
		r.fields = append(r.fields, headerField{"Vary", varies})
		r.notAgain = append(r.notAgain, headerField{"Vary", varies})
	}
	r.fields, r.notAgain = slices.Clip(r.fields), slices.Clip(r.notAgain)
	r.head = slices.Clip(appendHead(nil, r.fields))
	r.headNotAgain = slices.Clip(appendHead(nil, r.notAgain))
}

// shared returns the value of a field that is the same everywhere, or a copy.
func shared(name string, value []string) []string {
	for _, f := range corsFields {
		if f.name == name && f.value[0] == value[0] {
			return f.value
		}
	}
	return []string{strings.Clone(value[0])}
}
