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

// local is the memory cache and what lies behind it, with the question whether a
// block is on this edge.
type local struct {
	cache *cache.Cache
	store *blockstore.Store
}

// Get fetches a block through every layer.
func (l *local) Get(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	return l.cache.Get(ctx, c)
}

// Has reports whether the block is in memory or on disk.
func (l *local) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if l.cache.Has(c) {
		return true, nil
	}
	return l.store.Has(ctx, c)
}

// resident is what is on this edge, and nothing else: no block is fetched from
// elsewhere.
type resident struct{ local }

// Get returns a block from memory or disk.
func (r *resident) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if b, ok := r.cache.Peek(c); ok {
		return b, nil
	}
	return r.store.Get(ctx, c)
}

// Pinned reports whether something holds the block.
func (r *resident) Pinned(c cid.Cid) bool { return r.store.Pinned(c) }

// Delete forgets a block that nobody holds, and returns its size in bytes. The disk
// comes first, so that no request refills the memory from it.
func (r *resident) Delete(ctx context.Context, c cid.Cid) (int64, error) {
	if r.store.Pinned(c) {
		return 0, nil
	}
	size, err := r.store.GetSize(ctx, c)
	if err == nil {
		err = r.store.DeleteBlock(ctx, c)
	} else if ipld.IsNotFound(err) {
		err = nil
		if b, ok := r.cache.Peek(c); ok {
			size = len(b.RawData())
		}
	}
	if err != nil {
		return 0, fmt.Errorf("delete block %s: %w", c, err)
	}
	r.cache.Remove(c)
	return int64(max(size, 0)), nil
}

// urlOf returns where a visitor on this machine finds a CID.
func (e *Edge) urlOf(c cid.Cid) string {
	host, port, err := net.SplitHostPort(e.public.Addr().String())
	if err != nil {
		return "/ipfs/" + c.String() + "/"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "127.0.0.1"
		for _, h := range e.cfg.Gateway.Hosts {
			if h.Host == "localhost" {
				host = "localhost"
			}
		}
	}
	return "http://" + net.JoinHostPort(host, port) + "/ipfs/" + c.String() + "/"
}
