package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/ipfs/boxo/files"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/path/resolver"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/dag"
)

// What answers that are made take, in bytes, measured with the pages that boxo makes.
const (
	listedCost  = 400 // an entry of a folder's page, beside its name and its path
	shownCost   = 512 // a value on the page of dag-cbor or dag-json
	decodedCost = 128 // a value that is decoded to follow a path through its block
	linkCost    = 512 // a link that is
)

// list begins a folder's page. Its entries have a place before the first is read; where no
// page will be made, they are left out.
func (b *backend) list(ctx context.Context, root blocks.Block, n *node) (*bgw.GetResponse, error) {
	size, err := n.treeSize(root.RawData())
	if err != nil {
		return nil, err
	}
	rec := recordOf(ctx)
	index := error(nil)
	if rec.list {
		_, index = lookUp(ctx, b.service, root.Cid(), "index.html")
	}
	if !errors.Is(index, &resolver.ErrNoLink{}) {
		unread := make(chan unixfs.LinkResult, 1)
		unread <- unixfs.LinkResult{Err: errors.New("a folder is listed where no page of it was expected")}
		return bgw.NewGetResponseFromDirectoryListing(uint64(size), unread, nil), nil
	}
	bytes, err := b.listingSize(ctx, n, len(contentPathOf(rec)))
	if err != nil {
		return nil, err
	}
	if f := b.service.pages.hold(ctx, bytes); f != nil {
		return nil, b.service.fail(rec, f)
	}
	entries := make(chan unixfs.LinkResult)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(entries)
		if err := b.sendEntries(ctx, n, entries); err != nil {
			select {
			case entries <- unixfs.LinkResult{Err: rec.brokeOff(lying(err))}:
			case <-ctx.Done():
			}
		}
	}()
	return bgw.NewGetResponseFromDirectoryListing(uint64(size), entries, func() error {
		cancel()
		<-done
		return nil
	}), nil
}

// listingSize is what a folder's page takes, in bytes, below a content path of so many.
func (b *backend) listingSize(ctx context.Context, n *node, path int) (int64, error) {
	f, err := openFolder(ctx, b.service, n)
	if err != nil {
		return 0, err
	}
	bytes := int64(listedCost)
	for bytes <= maxPages {
		link, ok, err := f.next()
		if err != nil || !ok {
			return bytes, err
		}
		bytes += listedCost + int64(path+2*len(link.Name))
	}
	return bytes, nil
}

func (b *backend) sendEntries(ctx context.Context, n *node, to chan<- unixfs.LinkResult) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("panic while reading a folder", "panic", p, "stack", string(debug.Stack()))
			err = internalError(p).forBoxo()
		}
	}()
	f, err := openFolder(ctx, b.service, n)
	if err != nil {
		return err
	}
	for {
		link, ok, err := f.next()
		if err != nil || !ok {
			return err
		}
		c, err := link.CID()
		if err != nil {
			return err
		}
		select {
		case to <- unixfs.LinkResult{Link: &ipld.Link{Name: string(link.Name), Size: link.Size, Cid: c}}:
		case <-ctx.Done():
			return nil
		}
	}
}

// value begins to read what is not of UnixFS. The page of a value that is too large to be
// shown says what it is, and where its bytes are.
func (b *backend) value(ctx context.Context, root blocks.Block) (*bgw.GetResponse, error) {
	data := root.RawData()
	f, ok := files.NewBytesFile(data).(io.ReadSeekCloser)
	if !ok {
		return nil, errors.New("boxo's files of bytes cannot seek")
	}
	codec, rec := root.Cid().Prefix().Codec, recordOf(ctx)
	if rec.view && (codec == cid.DagCBOR || codec == cid.DagJSON) {
		values, err := dag.Values(root.Cid(), data)
		bytes := shownCost*int64(values) + 6*int64(len(data)) // bytes are shown in hexadecimal
		switch {
		case err != nil || bytes > maxPages:
			f = unshown{f}
		default:
			if busy := b.service.pages.hold(ctx, bytes); busy != nil {
				return nil, b.service.fail(rec, busy)
			}
		}
	}
	return bgw.NewGetResponseFromReader(f, int64(len(data))), nil
}

// unshown is a value that boxo cannot read, and so does not show on its page.
type unshown struct{ io.ReadSeekCloser }

var errUnshown = fmt.Errorf("a page of this value would take more than %d bytes of memory", maxPages)

func (unshown) Read([]byte) (int, error) { return 0, errUnshown }

// decodedSize is what a block takes when boxo's resolver decodes it, in bytes.
func decodedSize(b blocks.Block) int64 {
	data := b.RawData()
	size := 2 * int64(len(data))
	if b.Cid().Type() == cid.DagProtobuf {
		links, _, _ := dag.ReadPB(data)
		return size + linkCost*int64(links.Left)
	}
	values, _ := dag.Values(b.Cid(), data)
	return size + decodedCost*int64(values)
}
