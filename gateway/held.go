package gateway

import (
	"context"
	"maps"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
)

// held is an answer of boxo's that may be encoded: a file, or a site's error page. Its
// header is complete, and waits for the body to be: then it is known whether it is
// worth it, and how long the answer is.
type held struct {
	coder    *compressor
	ctx      context.Context
	accept   acceptance
	get      bool
	noneIfAt []string

	holding bool
	header  http.Header // as it was when the handler sent it
	size    int64       // of the body, as the header has it
	content string      // see route.content
	body    []byte
}

// maxHeld is the largest body, in bytes, that is waited for.
const maxHeld = maxHotBody

// hold returns what decides about the answer to a request; nil when nothing is ever
// encoded.
func (g *Gateway) hold(r *http.Request) *held {
	if g.coder == nil {
		return nil
	}
	return &held{
		coder: g.coder, ctx: r.Context(), accept: readAccepted(r.Header), get: r.Method == http.MethodGet,
		noneIfAt: r.Header["If-None-Match"],
	}
}

// begin looks at a header as it leaves, and says in it what depends on
// Accept-Encoding. It reports whether the answer is to be held back.
func (a *held) begin(rec *requestRecord, status int, h http.Header) bool {
	etag := h.Get("Etag")
	if _, ok := fileOf(etag); !ok {
		return false
	}
	var size int64
	varying := isCompressible(h.Get("Content-Type"))
	switch status {
	case http.StatusNotModified:
		if mayLeadToCompressible(contentPathOf(rec)) {
			h["Vary"] = varies
		}
		h["Etag"] = []string{echoedTag(a.noneIfAt, etag, &a.accept)}
		return false
	case http.StatusPartialContent:
		_, total, _ := strings.Cut(h.Get("Content-Range"), "/")
		size = readSize(total)
		// boxo does not know the type of a part whose name does not tell it.
		varying = varying || mayLeadToCompressible(contentPathOf(rec))
	case http.StatusOK, http.StatusNotFound, http.StatusGone, http.StatusUnavailableForLegalReasons:
		size = readSize(h.Get("Content-Length"))
	default:
		return false
	}
	if !worthEncoding(size) || !varying || h.Get("Content-Encoding") != "" {
		return false
	}
	h["Vary"] = varies
	a.holding = a.get && a.accept.n > 0 && status != http.StatusPartialContent && size <= maxHeld
	if !a.holding {
		return false
	}
	a.size, a.header, a.content = size, h.Clone(), contentOf(rec)
	a.body = make([]byte, 0, size)
	return true
}

func readSize(s string) int64 {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	return -1
}

// contentOf returns the CID, in bytes, of the file that boxo opened last for a
// request. The ETag of a folder's page is the folder's.
func contentOf(rec *requestRecord) string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.files) == 0 {
		return ""
	}
	c := rec.files[len(rec.files)-1].cid
	if codec := c.Prefix().Codec; codec != cid.Raw && codec != cid.DagProtobuf {
		return ""
	}
	return c.KeyString()
}

// take keeps bytes of the body, as many as net/http would let through.
func (a *held) take(p []byte) (int, error) {
	if int64(len(a.body)+len(p)) > a.size {
		return 0, http.ErrContentLength
	}
	a.body = append(a.body, p...)
	return len(p), nil
}

func (w *responseWriter) holds() bool { return w.held != nil && w.held.holding }

// release sends what was held back as it is. What the handler did to the header in
// the meantime does not count.
func (w *responseWriter) release() {
	h, body := w.Header(), w.held.body
	clear(h)
	maps.Copy(h, w.held.header)
	w.held.holding, w.held.body = false, nil
	w.commit()
	_, _ = w.send(body)
}

// unsay takes back an answer of which nothing was sent. It reports false if
// something was.
func (w *responseWriter) unsay() bool {
	if w.status == 0 {
		return true
	}
	if !w.holds() {
		return false
	}
	w.held.holding, w.held.body = false, nil
	w.status = 0
	forgetContent(w.Header())
	return true
}

// finish sends an answer that was held back, in a coding if that makes it smaller.
func (w *responseWriter) finish() {
	if !w.holds() || w.abort {
		return
	}
	a := w.held
	if a.size != int64(len(a.body)) {
		w.cutShort()
		return
	}
	f := a.coder.choose(&a.accept, a.content, int64(len(a.body)), func(c coding) *form {
		return a.coder.now(a.ctx, formKey{a.content, c}, a.body, !a.accept.plain)
	})
	if f != nil {
		f.describe(a.header, a.header.Get("Etag"))
		a.body = f.body
	}
	w.release()
}

// cutShort ends an answer whose body did not come to its end: with the reason, if
// it is known, otherwise by cutting the connection.
func (w *responseWriter) cutShort() {
	f := w.rec.firstFailure()
	if f == nil {
		w.release()
		return
	}
	w.held.holding, w.held.body = false, nil
	w.status = f.status
	forgetContent(w.Header())
	w.announce()
	w.replace(f)
}

// describe sets the header fields of an answer in this form.
func (f *form) describe(h http.Header, etag string) {
	h["Content-Encoding"] = codings[f.coding].value
	h["Content-Length"] = []string{strconv.Itoa(len(f.body))}
	h["Etag"] = []string{weak(etag)}
}

// choose returns the form to answer with; nil for the content as it is. The most
// preferred form is made, if that is possible at once. Otherwise another will do.
func (c *compressor) choose(accept *acceptance, content string, size int64, create func(coding) *form) *form {
	for i, to := range accept.codings() {
		f := c.kept(formKey{content, to}, size)
		if f == nil && i == 0 {
			f = create(to)
		}
		if f == nil {
			continue
		}
		if f.body == nil {
			return nil
		}
		return f
	}
	return nil
}

// mayLeadToCompressible reports whether what lies at a content path may be of a type
// that is encoded, as far as the path tells.
func mayLeadToCompressible(contentPath string) bool {
	name := contentPath[strings.LastIndexByte(contentPath, '/')+1:]
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return true
	}
	t := mime.TypeByExtension(name[dot:])
	return t == "" || isCompressible(t)
}
