package gateway

import (
	"context"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"

	"github.com/shoal-cdn/shoal/block"
)

// A plain request is one whose answer depends on the URL, the policy and the name
// that leads to the content, and on nothing else but what plain holds. Everything
// else goes the way that doc.go describes.
type plain struct {
	ranged   string // Range
	noneIfAt string // If-None-Match
}

// Formats that boxo answers with when they stand at the beginning of an element of
// Accept.
var acceptedFormats = []string{
	"application/vnd.ipld", "application/vnd.ipfs", "application/x-tar", "application/json", "application/cbor",
}

// Headers that make a request one for boxo, whatever they say.
var notPlain = []string{"If-Range", "If-Match", "If-Unmodified-Since", "If-Modified-Since", "Service-Worker"}

// readPlain reports whether the request is a plain one.
func readPlain(r *http.Request) (plain, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.ContentLength != 0 ||
		r.URL.RawQuery != "" || r.URL.ForceQuery || r.URL.Host != "" || len(r.Header["Accept"]) > 8 {
		return plain{}, false
	}
	for _, name := range notPlain {
		if _, ok := r.Header[name]; ok {
			return plain{}, false
		}
	}
	for _, v := range r.Header["Cache-Control"] {
		if strings.Contains(v, "only-if-cached") {
			return plain{}, false
		}
	}
	for _, v := range r.Header["Accept"] {
		if strings.Contains(v, "application/") && namesFormat(v) {
			return plain{}, false
		}
	}
	var p plain
	var ok [2]bool
	p.ranged, ok[0] = single(r.Header["Range"])
	p.noneIfAt, ok[1] = single(r.Header["If-None-Match"])
	if p.ranged != "" && r.Method != http.MethodGet || p.noneIfAt != "" && !isOneTag(p.noneIfAt) {
		return plain{}, false
	}
	return p, ok[0] && ok[1]
}

// isOneTag reports whether an If-None-Match is one entity tag and nothing else, of a
// file: what is not written as RFC 9110 has it, boxo reads in its own way.
func isOneTag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	return len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' && !strings.ContainsAny(s[1:len(s)-1], `"*, `) && !strings.Contains(s, "Index-")
}

func single(values []string) (string, bool) {
	switch len(values) {
	case 0:
		return "", true
	case 1:
		return values[0], values[0] != ""
	}
	return "", false
}

func namesFormat(accept string) bool {
	for element := range strings.SplitSeq(accept, ",") {
		element = strings.TrimSpace(element)
		for _, f := range acceptedFormats {
			if strings.HasPrefix(element, f) {
				return true
			}
		}
	}
	return false
}

// serveHot answers the request if a route has the answer. It reports false when
// nothing was written.
func (g *Gateway) serveHot(w http.ResponseWriter, r *http.Request) bool {
	begin := time.Now()
	ask, ok := readPlain(r)
	if !ok {
		return false
	}
	host, client := r.Host, clientOf(r)
	if rules := &g.sites.Load().rules; len(rules.proxies) > 0 {
		fwd, addr := rules.believe(r)
		if fwd.host != "" {
			host = fwd.host
		}
		client = addr.String()
	}
	route := g.hot.lookup(host, r.RequestURI)
	if route == nil || !g.allows(&route.policy, begin) {
		return false
	}
	ttl, ok := g.stillNamed(r.Context(), route)
	if !ok {
		return false
	}
	span := span{0, route.size}
	if ask.ranged != "" {
		if span, ok, _ = parseRange(ask.ranged, route.size); !ok {
			return false
		}
	}
	route.mark()
	g.use(route, begin)
	h := hit{g: g, route: route, r: r, begin: begin, client: client, ttl: ttl, span: span, ranged: ask.ranged != ""}
	if ask.noneIfAt != "" && sameTag(ask.noneIfAt, route.etag) {
		if isWeak(ask.noneIfAt) && g.coder != nil {
			accept := readAccepted(r.Header)
			h.weak = accept.n > 0
		}
		h.write(w, http.StatusNotModified)
		return true
	}
	inStream := false
	if route.content != "" && !h.ranged {
		h.form, inStream = g.encodedForm(r, route)
	}
	switch {
	case h.form == nil && route.file != nil && r.Method == http.MethodGet:
		if inStream || !h.writeLeaves(w) {
			h.stream(w, r)
		}
	case h.ranged:
		h.write(w, http.StatusPartialContent)
	default:
		h.write(w, http.StatusOK)
	}
	return true
}

// encodedForm returns the form to answer with; nil for the content as it is, which
// may still be encoded on its way, when it is streamed.
func (g *Gateway) encodedForm(r *http.Request, route *route) (f *form, inStream bool) {
	accept := readAccepted(r.Header)
	if accept.n == 0 {
		return nil, false
	}
	f = g.coder.choose(&accept, route.content, route.size, func(c coding) *form {
		key := formKey{route.content, c}
		switch {
		case route.body != nil:
			return g.coder.now(r.Context(), key, route.body, !accept.plain)
		case g.hotBodies.Load():
			g.coder.later(compression{formKey: key, effort: quick, size: route.size, read: g.readAll(route.file)})
		}
		return nil
	})
	if f == nil {
		return nil, !g.hotBodies.Load() && route.size <= maxHeld
	}
	if f.better && f.sent.Add(1)%bestAfter == 0 && route.body != nil {
		body := route.body
		g.coder.later(compression{
			formKey: formKey{route.content, f.coding}, effort: best, size: route.size,
			read: func(context.Context) ([]byte, error) { return body, nil },
		})
	}
	return f, false
}

// stillNamed asks whether the name that led to the route's content still does.
func (g *Gateway) stillNamed(ctx context.Context, route *route) (time.Duration, bool) {
	if route.name == nil {
		return 0, true
	}
	root, ttl, err := g.backend.names.Resolve(ctx, route.name.asked)
	return ttl, err == nil && samePath(root, route.name.root)
}

func samePath(a, b path.ImmutablePath) bool {
	return a.RootCid() == b.RootCid() && a.String() == b.String()
}

func isWeak(tag string) bool { return strings.HasPrefix(textproto.TrimString(tag), "W/") }

// sameTag is the weak comparison of RFC 9110, section 8.8.3.2, with one tag.
func sameTag(asked, etag string) bool {
	asked = textproto.TrimString(asked)
	return strings.TrimPrefix(asked, "W/") == etag
}

// hit is the answer to one request from a route.
type hit struct {
	g      *Gateway
	route  *route
	r      *http.Request
	begin  time.Time
	client string
	ttl    time.Duration
	span   span
	ranged bool
	body   []byte // of a file that is read by its map
	form   *form  // nil: the content as it is
	weak   bool   // the client has a form
	source block.Source
}

// header sets all fields but those that say where the content came from.
func (h *hit) header(w http.ResponseWriter, status int) {
	header := w.Header()
	switch status {
	case http.StatusNotModified:
		set(header, h.route.notAgain)
	case http.StatusPartialContent:
		set(header, h.route.fields)
		header["Content-Length"] = []string{strconv.FormatInt(h.span.to-h.span.from, 10)}
		header["Content-Range"] = []string{"bytes " + strconv.FormatInt(h.span.from, 10) + "-" +
			strconv.FormatInt(h.span.to-1, 10) + "/" + strconv.FormatInt(h.route.size, 10)}
	default:
		set(header, h.route.fields)
		header["Content-Length"] = []string{strconv.FormatInt(h.route.size, 10)}
	}
	header["Etag"] = []string{h.tag()}
	if h.form != nil {
		h.form.describe(header, h.route.etag)
	}
	header["Cache-Status"] = h.cacheStatus()
	if control := h.cacheControl(); control != "" {
		header["Cache-Control"] = []string{control}
	}
	if h.g.draining.Load() && h.r.ProtoMajor == 1 {
		header["Connection"] = connectionClose
	}
}

// tag returns the entity tag of the answer.
func (h *hit) tag() string {
	if h.form != nil || h.weak {
		return h.route.weakTag
	}
	return h.route.etag
}

// cacheControl returns the field for as long as the name holds that led to the content;
// empty when none did.
func (h *hit) cacheControl() string {
	if h.route.name == nil || h.ttl <= 0 {
		return ""
	}
	return "public, max-age=" + strconv.Itoa(int(h.ttl.Seconds()))
}

func (h *hit) cacheStatus() []string {
	if h.source == block.Disk {
		return statusDisk
	}
	return statusHit
}

// write answers with bytes that are at hand.
func (h *hit) write(w http.ResponseWriter, status int) {
	h.g.metrics.inFlight.Inc()
	took := time.Since(h.begin)
	timing := h.g.timings.of(took)
	body := h.body
	switch {
	case status == http.StatusNotModified || h.r.Method == http.MethodHead:
	case h.form != nil:
		body = h.form.body
	case h.route.file == nil:
		body = h.route.body[h.span.from:h.span.to]
	}
	var sent int64
	var err error
	if wire := wireOf(h.r); wire != nil && h.mayWrite() {
		sent, err = h.writeWire(wire, status, timing[0], body)
	} else {
		h.header(w, status)
		w.Header()["Server-Timing"] = timing
		w.WriteHeader(status)
		sent, err = h.send(w, body)
	}
	h.g.metrics.inFlight.Dec()
	h.account(status, took, sent, err)
}

// mayWrite reports whether the response may go to the connection without net/http,
// which would add something for these clients, or close the connection.
func (h *hit) mayWrite() bool { return h.r.ProtoMinor == 1 && !h.r.Close && !h.g.draining.Load() }

// send writes the body in steps, each within the time that a client may stall.
func (h *hit) send(w http.ResponseWriter, body []byte) (sent int64, err error) {
	control := http.NewResponseController(w)
	if h.r.ProtoMajor > 1 {
		// A stream's deadline resets it even while nothing is being written.
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	}
	for err == nil && len(body) > 0 {
		_ = control.SetWriteDeadline(time.Now().Add(h.g.opts.WriteTimeout))
		var n int
		n, err = w.Write(body[:min(len(body), 2*writeStep)])
		sent += int64(n)
		body = body[n:]
	}
	return sent, err
}

// clientOf returns the peer's address without its port.
func clientOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
