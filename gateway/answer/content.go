package answer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/media"
	"github.com/shoal-cdn/shoal/gateway/page"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// unixfs answers with a file, a folder or a symbolic link.
func (b *Builder) unixfs(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, n *unixfs.Node, name string) (*Answer, error) {
	switch {
	case n.IsFolder():
		return b.folder(ctx, reads, req, at, blk, n)
	case n.IsSymlink():
		// Outside of sites a link is shown for what it is.
		a := b.begin(req, at, Web)
		a.Body, a.Size, a.Type, a.Modified = n.Content(), int64(len(n.Content())), "inode/symlink", n.ModTime()
		return b.complete(a, req), nil
	case n.IsFile():
		a, err := b.file(ctx, reads, req, at, blk, n, name)
		if err != nil {
			return nil, err
		}
		return b.complete(a, req), nil
	}
	return nil, Refuse(http.StatusUnprocessableEntity, "%s is UnixFS of the kind %s", at.CID, n.Kind())
}

// file begins an answer with a file, of the type that its name or its content tells.
func (b *Builder) file(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, n *unixfs.Node, name string) (*Answer, error) {
	if err := b.tooLarge(n.Size()); err != nil {
		return nil, err
	}
	a := b.begin(req, at, Web)
	a.Size, a.Modified, a.Ranges, a.Content = n.Size(), n.ModTime(), true, at.CID.KeyString()
	if b.sparing(ctx, reads, a, at, blk) {
		// it is read as it is sent
	} else if n.IsLeaf() {
		a.Body, a.blocks = n.Content(), []*block.Verified{blk}
		if a.Body == nil {
			a.Body = []byte{}
		}
	} else {
		a.File = &File{Root: blk, Node: n}
	}
	if asked := req.filename(); asked != "" {
		name = asked
	}
	kind := "inline"
	if req.download() {
		kind = "attachment"
	}
	if req.filename() != "" || req.download() {
		if name == "" {
			name = at.CID.String()
		}
		a.dispose(kind, name)
	}
	head, err := b.head(ctx, reads, req, a, name)
	if err != nil {
		return nil, err
	}
	if head == nil && media.NeedsHead(name) && a.Size > 0 {
		a.Type, a.Keep = "application/octet-stream", false
		return a, nil
	}
	var encoding string
	a.Type, encoding = media.Type(name, head)
	a.set("Content-Encoding", encoding)
	return a, nil
}

// sparing has a large raw block be read as it is sent, if no more may be held in memory.
func (b *Builder) sparing(ctx context.Context, reads *Reads, a *Answer, at *found, blk *block.Verified) bool {
	if !isLarge(blk) || reads.Hold(int64(len(blk.RawData()))) {
		return false
	}
	m, err := unixfs.NewMap(ctx, reads, at.CID, b.hot.Largest())
	if err != nil {
		return false
	}
	a.File, a.Keep = &File{Map: m}, false
	return true
}

// head returns the first bytes of a file, if its type cannot be told without them. They are
// read for HEAD and for parts, too, so that the type is always the same.
func (b *Builder) head(ctx context.Context, reads *Reads, req *Request, a *Answer, name string) ([]byte, error) {
	most := min(a.Size, media.HeadBytes)
	switch {
	case !media.NeedsHead(name):
		return nil, nil
	case a.File == nil:
		return a.Body[:most], nil
	}
	r, err := a.File.Reader(ctx, reads, unixfs.Span{To: most}, 1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	head := make([]byte, most)
	if _, err = io.ReadFull(r, head); err != nil && req.Header.Get("Range") != "" {
		// A part can be had without the beginning of the file, which tells its type.
		return nil, nil
	}
	return head, err
}

// folder answers with a folder's index.html, or with a page that lists it.
func (b *Builder) folder(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, n *unixfs.Node) (*Answer, error) {
	if !strings.HasSuffix(req.URL, "/") && req.Params.Get("go-get") != "1" {
		return Redirect(http.StatusMovedPermanently, Reference(req.URL+"/")+req.Query), nil
	}
	from := &place{stack: append(at.Roots, at.CID), passed: at.Passed, follow: req.Isolated, floor: at.floor}
	index, err := b.names(ctx, reads, from, []string{"index.html"})
	if errors.Is(err, unixfs.ErrNoName) {
		return b.list(ctx, reads, req, at, blk, n)
	}
	if err != nil {
		return nil, err
	}
	file, node, err := b.node(ctx, reads, index.CID)
	if err != nil {
		return nil, err
	}
	if node.IsSymlink() { // which is not followed here
		return b.list(ctx, reads, req, at, blk, n)
	}
	if !node.IsFile() {
		return nil, Refuse(http.StatusUnprocessableEntity, "the index.html of %s is not a file", at.CID)
	}
	a, err := b.file(ctx, reads, req, index, file, node, "index.html")
	if err != nil {
		return nil, err
	}
	// The tag and the roots are the folder's, which is what was asked for.
	of := b.begin(req, at, Web)
	of.Size, of.Modified, of.Ranges, of.Content, of.Body, of.File, of.blocks, of.Type = a.Size, a.Modified, true, a.Content, a.Body, a.File, a.blocks, a.Type
	of.above, of.root = index.Passed, index.CID
	for _, f := range a.Fields {
		if f.Name == "Content-Disposition" {
			of.repeat(f.Name, f.Value[0])
		}
	}
	return b.complete(of, req), nil
}

// maxListed is how many entries one page of a folder has.
const maxListed = 1000

// list answers with a page that lists a folder, or a part of it: what comes behind ?after=.
func (b *Builder) list(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, n *unixfs.Node) (*Answer, error) {
	size, err := n.TreeSize(blk.RawData())
	if err != nil {
		return nil, err
	}
	if err := b.tooLarge(size); err != nil {
		return nil, err
	}
	if err := b.pages.take(ctx, 1); err != nil {
		return nil, err
	}
	defer b.pages.give(1)
	p := page.Folder{Place: req.place(), CID: at.CID, Size: uint64(size), After: req.Params.Get("after")}
	if err := entries(ctx, reads, n, &p); err != nil {
		return nil, err
	}
	a := b.begin(req, at, Web)
	a.ETag = `"DirIndex-` + page.Version() + `_CID-` + at.CID.String() + `"`
	a.page(p.HTML(), req)
	if !reads.Hold(a.Size) {
		return nil, errCrowded()
	}
	return b.complete(a, req), nil
}

// entries fills a page with the entries of a folder.
func entries(ctx context.Context, reads *Reads, n *unixfs.Node, p *page.Folder) error {
	f, err := unixfs.NewFolder(ctx, reads, n)
	if err != nil {
		return err
	}
	if p.After != "" {
		if err := f.Seek(p.After); err != nil {
			return err
		}
	}
	last := ""
	for {
		link, more, err := f.Next()
		full := more && len(p.Entries) == maxListed
		if full {
			p.Next = last
		}
		if err != nil || !more || full {
			slices.SortFunc(p.Entries, func(x, y page.Entry) int { return strings.Compare(x.Name, y.Name) })
			return err
		}
		c, err := link.CID()
		if err != nil {
			return err
		}
		last = string(link.Name)
		p.Entries = append(p.Entries, page.Entry{Name: last, CID: c, Size: link.Size})
	}
}

func (req *Request) place() page.Place {
	return page.Place{URL: req.URL, Path: req.Path.String(), Gateway: req.Gateway, Website: req.Website, Host: req.Host}
}

// page makes the answer a page that was made here.
func (a *Answer) page(html []byte, req *Request) {
	a.made = true
	a.Body, a.Size, a.Type = html, int64(len(html)), "text/html"
	a.Content = "\x00page" + a.ETag + req.Path.String() + req.URL + req.Query
	a.set("Content-Security-Policy", page.Policy())
	a.set("X-Content-Type-Options", "nosniff")
	switch {
	case !req.Path.Mutable():
		a.Control = generated
	case req.Lasting > 0:
		a.Control = MaxAge(req.Lasting) + staleGenerated
	default:
		a.Stale = staleGenerated
	}
}
