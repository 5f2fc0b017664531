package edge

import (
	"context"
	"fmt"
	"net"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/cache"
)

// local is what is on this edge, in memory or on disk. Nothing is fetched from
// elsewhere.
type local struct {
	cache *cache.Cache
	store *blockstore.Store
	admit admission
}

// Has reports whether the block is in memory or on disk.
func (l *local) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if l.cache.Has(c) {
		return true, nil
	}
	return l.store.Has(ctx, c)
}

// Get returns a block from memory or disk.
func (l *local) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if b, ok := l.cache.Peek(c); ok {
		return b, nil
	}
	return l.store.Get(ctx, c)
}

// Put keeps a block that is at home here on disk. The more of them there are, the
// more room hot blocks from elsewhere get.
func (l *local) Put(ctx context.Context, b blocks.Block) error {
	l.admit.ToDisk(b.Cid(), b.RawData(), true)
	return l.store.Put(ctx, b)
}

// Pinned reports whether something holds the block.
func (l *local) Pinned(c cid.Cid) bool { return l.store.Pinned(c) }

// Delete forgets a block that nobody holds, and returns its size in bytes. The disk
// comes first, so that no request refills the memory from it.
func (l *local) Delete(ctx context.Context, c cid.Cid) (int64, error) {
	if l.store.Pinned(c) {
		return 0, nil
	}
	size, err := l.store.GetSize(ctx, c)
	if err == nil {
		err = l.store.DeleteBlock(ctx, c)
	} else if ipld.IsNotFound(err) {
		err = nil
		if b, ok := l.cache.Peek(c); ok {
			size = len(b.RawData())
		}
	}
	if err != nil {
		return 0, fmt.Errorf("delete block %s: %w", c, err)
	}
	l.cache.Remove(c)
	return int64(max(size, 0)), nil
}

// fetching is the gateway's view: what is on this edge, and what the fleet or the
// origin has.
type fetching struct{ *local }

// Get fetches a block through every layer.
func (f fetching) Get(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	return f.cache.Get(ctx, c)
}

// ViewPart reads a part of a block from the disk.
func (f fetching) ViewPart(ctx context.Context, c cid.Cid, size, from, to int, view func([]byte) error) error {
	return f.store.ViewPart(ctx, c, size, from, to, view)
}

// urlOf returns where a visitor on this machine finds a CID.
func (e *Edge) urlOf(c cid.Cid) string {
	host, port, err := net.SplitHostPort(e.public.Addr().String())
	if err != nil {
		return "/ipfs/" + c.String() + "/"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "127.0.0.1"
		for _, h := range e.config().Gateway.Hosts {
			if h.Host == "localhost" {
				host = "localhost"
			}
		}
	}
	return "http://" + net.JoinHostPort(host, port) + "/ipfs/" + c.String() + "/"
}
