package answer

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"strconv"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/page"
)

// raw answers with a block as it is.
func (b *Builder) raw(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified) (*Answer, error) {
	a, err := b.verbatim(req, at, blk, Raw, "attachment", at.CID.String()+".bin")
	if err == nil && b.sparing(ctx, reads, a, at, blk) {
		a.Body, a.blocks = nil, nil
	}
	return a, err
}

// verbatim answers with the bytes of a block under a media type that clients verify or
// decode themselves.
func (b *Builder) verbatim(req *Request, at *found, blk *block.Verified, format Format, kind, name string) (*Answer, error) {
	data := blk.RawData()
	if err := b.tooLarge(int64(len(data))); err != nil {
		return nil, err
	}
	a := b.begin(req, at, format)
	a.Body, a.Size, a.Ranges, a.Type, a.blocks = data, int64(len(data)), true, mediaTypes[format], []*block.Verified{blk}
	if a.Body == nil {
		a.Body = []byte{}
	}
	if asked := req.filename(); asked != "" {
		name = asked
	}
	if req.download() {
		kind = "attachment"
	}
	a.dispose(kind, name)
	a.set("X-Content-Type-Options", "nosniff")
	if format == JSON || format == CBOR {
		a.Content = at.CID.KeyString()
	}
	a.Keep = req.Format != Web || format != DAGJSON && format != DAGCBOR // of which browsers get a page
	return b.complete(a, req), nil
}

// value answers with a block of CBOR or JSON as it is stored: nothing is converted
// (IPIP-524). Browsers get dag-cbor and dag-json as a page.
func (b *Builder) value(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified) (*Answer, error) {
	stored := codecFormats[at.CID.Prefix().Codec]
	dagged := stored == DAGJSON || stored == DAGCBOR
	switch {
	case req.Format == Web && dagged && !req.download() && acceptsHTML(req.Header):
		return b.valuePage(ctx, reads, req, at, blk, string(stored))
	case req.Format == Web, req.Format == stored,
		req.Format == JSON && stored == DAGJSON, req.Format == CBOR && stored == DAGCBOR:
		format := stored
		if req.Format != Web {
			format = req.Format
		}
		kind, ext := "attachment", ".cbor"
		if format == JSON || format == DAGJSON {
			kind, ext = "inline", ".json" // browsers show it
		}
		return b.verbatim(req, at, blk, format, kind, at.CID.String()+ext)
	}
	return nil, Refuse(http.StatusNotAcceptable, "block %s is not stored as %s, and nothing is converted here: ask for its bytes with ?format=raw", at.CID, req.Format)
}

// valuePage answers with a page that shows a value.
func (b *Builder) valuePage(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, codec string) (*Answer, error) {
	if !strings.HasSuffix(req.URL, "/") {
		to := Redirect(http.StatusMovedPermanently, Reference(req.URL+"/")+req.Query)
		to.set("Vary", "Accept") // others get the value itself
		return to, nil
	}
	if err := b.pages.take(ctx, 1); err != nil {
		return nil, err
	}
	defer b.pages.give(1)
	v := page.Value{Place: req.place(), CID: at.CID, Codec: codec, Data: blk.RawData()}
	html, err := v.HTML()
	if err != nil {
		return nil, err
	}
	a := b.begin(req, at, Web)
	a.ETag = `"DagIndex-` + page.Version() + `_CID-` + at.CID.String() + `"`
	a.page(html, req)
	a.Keep = false // others get the block
	if !reads.Hold(a.Size) {
		return nil, errCrowded()
	}
	return b.complete(a, req), nil
}

// Record answers with the signed record of a name
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/, "IPNS Record").
func (b *Builder) Record(req *Request, data []byte) (*Answer, error) {
	record, err := ipns.UnmarshalRecord(data)
	if err != nil {
		return nil, err
	}
	name := req.Path.Segments()[1]
	a := &Answer{
		Status: http.StatusOK, ETag: `"` + strconv.FormatUint(xxhash.Sum64(data), 32) + `"`,
		Body: bytes.Clone(data), Size: int64(len(data)), Ranges: true, Type: mediaTypes[Record],
	}
	if ttl, err := record.TTL(); err == nil {
		// Nobody keeps it for longer than its signature is good for.
		if end, err := record.Validity(); err == nil {
			ttl = min(ttl, time.Until(end))
		}
		a.Control = MaxAge(max(0, ttl))
	}
	file := name + ".ipns-record"
	if asked := req.filename(); asked != "" {
		file = asked
	}
	a.dispose("attachment", file)
	a.set("X-Content-Type-Options", "nosniff")
	return b.complete(a, req), nil
}

// RecordName returns the name whose record a path asks for.
func RecordName(p path.Path) (ipns.Name, *Failure) {
	if p.Namespace() != path.IPNSNamespace || len(p.Segments()) != 2 {
		return ipns.Name{}, Refuse(http.StatusBadRequest, "%s is not the name of an IPNS record", Abbreviate(p.String()))
	}
	key := p.Segments()[1]
	c, err := cid.Decode(key)
	if err != nil {
		return ipns.Name{}, Refuse(http.StatusBadRequest, "%q is not the key of an IPNS record", Abbreviate(key))
	}
	name, err := ipns.NameFromCid(c)
	if err != nil {
		return ipns.Name{}, Refuse(http.StatusBadRequest, "%q is not the key of an IPNS record", Abbreviate(key))
	}
	return name, nil
}
