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

// siblings are the fleet: whoever of it is home to a block fetches it, once, from
// another edge or the origin, and stores what is at home here by itself.
// Stored tells the fleet of another block that was kept.
type siblings interface {
	block.Getter
	IsHome(c cid.Cid) bool
	Stored(b blocks.Block)
}

// admission decides whether a block that was fetched goes to this disk.
type admission interface {
	ToDisk(c cid.Cid, data []byte, home bool) bool
}

// miss is what happens behind the memory cache: look on the disk, else have the
// fleet fetch it. The cache in front asks once per block at a time.
type miss struct {
	disk  blockStore
	fleet siblings
	admit admission
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
		// The disk failing is no reason to fail a request that others can answer.
		m.log.Warn("block store: read failed, asking further", "cid", c.String(), "err", err)
	}
	b, from, err := m.fleet.Get(ctx, c)
	if err != nil {
		return nil, from, err
	}
	if !m.fleet.IsHome(c) && m.admit.ToDisk(c, b.RawData(), false) {
		m.keep(ctx, b)
	}
	return b, from, nil
}

// keep writes a block that is at home elsewhere to this disk, because it is hot or
// leads to others. A write that fails does not fail the read.
func (m *miss) keep(ctx context.Context, b blocks.Block) {
	if err := m.disk.Put(ctx, b); err != nil {
		// The store counts its failed writes in a metric; one line for each
		// block would drown the log while a disk is full.
		m.log.Debug("block store: not kept", "cid", b.Cid().String(), "err", err)
		return
	}
	m.fleet.Stored(b)
}
