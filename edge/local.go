package edge

import (
	"context"
	"net"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/cache"
)

// local is what is on this edge, in memory or on disk. Nothing is fetched from
// elsewhere.
type local struct{ *cache.Cache }

// Get returns a block from memory or disk.
func (l local) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) { return l.GetLocal(ctx, c) }

// anywhere reads blocks from wherever they are.
type anywhere struct{ *cache.Cache }

// Get fetches a block through every layer.
func (a anywhere) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b, _, err := a.Cache.Get(ctx, c)
	return b, err
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
