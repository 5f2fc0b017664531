package answer

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/coding"
	"github.com/shoal-cdn/shoal/gateway/hot"
	"github.com/shoal-cdn/shoal/gateway/media"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// Field is a header field with a value that may be set as it is: nobody changes it.
type Field struct {
	Name  string
	Value []string
}

// Answer is a representation of content (RFC 9110, section 3.2), with all that is sent of
// it but for what depends on the request. Once it was built, it does not change.
type Answer struct {
	Status int
	// Location, if there is one, makes the answer a redirect without content.
	Location string

	// Fields go out with the content, and Again with the news that a client has it. What
	// is not among them is ETag, Content-Length, and what depends on the request.
	Fields, Again []Field
	// Head and HeadAgain are the same as lines of HTTP/1.1.
	Head, HeadAgain []byte

	ETag     string // of the content as it is
	Modified time.Time
	// Control is Cache-Control, without a name on the way. Under a name it is as long as
	// that holds, with Stale behind it.
	Control, Stale string
	Type           string

	Size   int64  // bytes; -1 when it is not known before the end
	Ranges bool   // parts can be had
	made   bool   // a page that was made here
	Body   []byte // all of it, or
	File   *File  // a file of several blocks, or
	Stream func(ctx context.Context, to io.Writer) error

	// Content names the bytes for forms of them; empty when they are never encoded.
	Content string
	// Keep says that the answer is as good the next time.
	Keep bool

	repeated int     // bytes of fields that repeat the request
	custom   []Field // that the site wants, see HeaderRules

	// above are the blocks on the way to the content; blocks those that Body is in.
	above  []cid.Cid
	blocks []*block.Verified
	root   cid.Cid // of the content
}

// File is a file of several blocks.
type File struct {
	Root *block.Verified
	Node *unixfs.Node
	Map  *unixfs.Map // nil: it is walked
}

// Reader begins to read a part of the file.
func (f *File) Reader(ctx context.Context, blocks unixfs.Blocks, s unixfs.Span, parallel int) (*unixfs.Reader, error) {
	if f.Map != nil {
		return f.Map.Reader(ctx, blocks, s, parallel), nil
	}
	return unixfs.NewReader(ctx, blocks, f.Root, f.Node, s, parallel)
}

// ReadAll returns the whole file.
func (f *File) ReadAll(ctx context.Context, blocks unixfs.Blocks, size int64, parallel int) ([]byte, error) {
	r, err := f.Reader(ctx, blocks, unixfs.Span{To: size}, parallel)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	all := make([]byte, size)
	_, err = io.ReadFull(r, all)
	return all, err
}

// Immutable is Cache-Control of content by its CID.
const Immutable = "public, max-age=29030400, immutable"

// generated is Cache-Control of pages that are made here, which change with the version:
// a week, and another three while the new one is fetched.
const (
	generated = "public, max-age=604800" + staleGenerated

	staleGenerated = ", stale-while-revalidate=2678400"
)

// Fields that go with content only, and not with the news that a client has it.
var ofTheContent = []string{"Content-Type", "Accept-Ranges", "X-Ipfs-Roots", "Last-Modified", "Content-Disposition", "Content-Encoding", "Content-Security-Policy"}

// CORS lets scripts of every origin read what is served here.
var CORS = []Field{
	{"Access-Control-Allow-Headers", []string{"Content-Type, Range, User-Agent, X-Requested-With"}},
	{"Access-Control-Allow-Methods", []string{"GET, HEAD, OPTIONS"}},
	{"Access-Control-Allow-Origin", []string{"*"}},
	{"Access-Control-Expose-Headers", []string{"Cache-Status, Content-Length, Content-Range, Ipfs-Uri, " +
		"Server-Timing, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output"}},
}

// Set puts fields into a header.
func Set(h http.Header, fields []Field) {
	for i := range fields {
		h[fields[i].Name] = fields[i].Value
	}
}

// set adds a field; an empty value is none.
func (a *Answer) set(name, value string) {
	if value != "" {
		a.Fields = append(a.Fields, Field{name, []string{value}})
	}
}

// Proxies have room for 4 KiB of header, and better no field that repeats the request than
// no answer: each has so many bytes at most, and all of them together.
const (
	maxFieldValue = 1 << 10
	maxRepeated   = 5 << 9
)

// repeat adds a field that repeats the request, if there is room for it.
func (a *Answer) repeat(name, value string) {
	if len(value) <= maxFieldValue && a.repeated+len(value) <= maxRepeated {
		a.repeated += len(value)
		a.set(name, value)
	}
}

// dispose adds a Content-Disposition (RFC 6266), without the name if that is too long.
func (a *Answer) dispose(kind, filename string) {
	value := disposition(kind, filename)
	if len(value) > maxFieldValue {
		value = kind
	}
	a.repeat("Content-Disposition", value)
}

// finish completes the header. negotiated says that Accept had a part in it.
func (a *Answer) finish(negotiated, compress bool) {
	a.applyType()
	a.set("Content-Type", a.Type)
	switch {
	case a.Ranges:
		a.set("Accept-Ranges", "bytes")
	case a.Stream != nil:
		a.set("Accept-Ranges", "none")
	}
	if !a.Modified.IsZero() {
		a.set("Last-Modified", a.Modified.UTC().Format(http.TimeFormat))
	}
	if !compress || a.Stream != nil || !media.Compressible(a.Type) || !coding.Worthwhile(a.Size) || a.has("Content-Encoding") {
		a.Content = ""
	}
	var vary []string
	if negotiated {
		vary = append(vary, "Accept")
	}
	if a.Content != "" {
		vary = append(vary, "Accept-Encoding")
	}
	a.set("Vary", strings.Join(vary, ", "))
	a.Fields = append(a.Fields, CORS...)
	a.apply()
	slices.SortFunc(a.Fields, func(x, y Field) int { return strings.Compare(x.Name, y.Name) })
	for _, f := range a.Fields {
		a.Head = appendField(a.Head, f)
		if !slices.Contains(ofTheContent, f.Name) || a.isCustom(f.Name) {
			a.Again = append(a.Again, f)
			a.HeadAgain = appendField(a.HeadAgain, f)
		}
	}
}

// FormTag is the entity tag of the content in a coding. A strong one promises the same
// bytes (RFC 9110, section 8.8.1), and two edges, or two levels of a codec, do not make the
// same ones: a client that continued one form with a part of the other would end up with
// neither. So it is weak, but for pages that are made here, of which there are no parts.
func (a *Answer) FormTag(coding string) string {
	if !a.made {
		return "W/" + a.ETag
	}
	return strings.TrimSuffix(a.ETag, `"`) + "-" + coding + `"`
}

// hasTag reports whether a list of entity tags has one of the content, in any coding.
func (a *Answer) hasTag(lines []string) bool {
	if matches(lines, a.ETag, true) {
		return true
	}
	if a.Content == "" || !a.made {
		return false
	}
	for _, name := range coding.Names() {
		if matches(lines, a.FormTag(name), true) {
			return true
		}
	}
	return false
}

func (a *Answer) has(name string) bool {
	return slices.ContainsFunc(a.Fields, func(f Field) bool { return f.Name == name })
}

func appendField(b []byte, f Field) []byte {
	b = append(b, f.Name...)
	b = append(b, ": "...)
	b = append(b, f.Value[0]...)
	return append(b, "\r\n"...)
}

// Kept is an answer that is kept, with what it stands for.
type Kept struct {
	*Answer
	// Stands are the blocks that a hit is a use of: those on the way to the content, and
	// its own but for the leaves of a large file. They are counted once a second.
	Stands []cid.Cid
	Used   Moment
}

const (
	// keptCost is what a kept answer takes in memory, in bytes, besides its texts: the
	// structs, the fields of the header twice.
	keptCost = 1536
)

// OfBlock reports whether the answer is the content of a block, which can be read again.
func (a *Answer) OfBlock() bool { return len(a.blocks) > 0 }

// Keep makes of an answer that was given what is kept of it, and what that costs in bytes
// without its blocks; nil when it cannot be. With bodies, it has the bytes of what is in
// one block; otherwise these are read each time. A file of several blocks is read by its map
// from then on.
func (b *Builder) Keep(ctx context.Context, a *Answer, bodies bool) (k *Kept, blocks []*block.Verified, charge int64) {
	local := b.source.Local()
	kept := *a
	k = &Kept{Answer: &kept}
	if a.File != nil && a.File.Map == nil || a.File == nil && !bodies && len(a.blocks) > 0 {
		m, err := unixfs.NewMap(ctx, local, a.root, b.hot.Largest())
		if err != nil || m.Size() != a.Size {
			return nil, nil, 0
		}
		kept.File, kept.Body, kept.blocks = &File{Map: m}, nil, nil
	}
	stands := slices.Clone(a.above)
	if kept.File != nil {
		stands = append(stands, kept.File.Map.Index()...)
		charge += kept.File.Map.Cost()
	}
	blocks = kept.blocks
	for _, c := range blocks {
		k.Stands = append(k.Stands, c.Cid())
	}
	for _, c := range stands {
		if slices.Contains(k.Stands, c) || len(k.Stands) > maxStands {
			continue
		}
		k.Stands = append(k.Stands, c)
		if blk, err := local.Get(ctx, c); err == nil {
			blocks = append(blocks, blk)
		}
	}
	if len(kept.blocks) == 0 {
		charge += int64(cap(kept.Body))
	}
	charge += keptCost + hot.Overhead + 2*int64(len(a.Head)+len(a.HeadAgain)) + int64(len(a.Content)+4*len(a.ETag)+cidCost*len(k.Stands))
	return k, blocks, charge
}

// Redirect returns an answer that leads elsewhere. Fields that it has go out with it.
func Redirect(status int, location string) *Answer {
	return &Answer{Status: status, Location: location, Size: -1}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
