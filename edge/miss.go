package edge

import (
	"context"
	"log/slog"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// blockStore is what the path of a miss needs of the disk.
type blockStore interface {
	Get(ctx context.Context, c cid.Cid) (blocks.Block, error)
	Put(ctx context.Context, b blocks.Block) error
}

// miss is what happens behind the memory cache: look on the disk, else fetch, and
// keep what was fetched. The cache in front of it asks once per block at a time.
type miss struct {
	disk  blockStore
	fetch block.Getter
	log   *slog.Logger
}

var _ block.Getter = (*miss)(nil)

// Get implements [block.Getter].
func (m *miss) Get(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	b, err := m.disk.Get(ctx, c)
	if err == nil {
		return b, block.Disk, nil
	}
	if !ipld.IsNotFound(err) {
		// The disk failing is no reason to fail a request that the origin can
		// answer.
		m.log.Warn("block store: read failed, asking further", "cid", c, "err", err)
	}
	b, from, err := m.fetch.Get(ctx, c)
	if err != nil {
		return nil, from, err
	}
	if err := m.disk.Put(ctx, b); err != nil {
		// The store counts its failed writes in a metric; one line for each
		// block would drown the log while a disk is full.
		m.log.Debug("block store: not kept", "cid", c, "err", err)
	}
	return b, from, nil
}
