package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/block"
)

// sink is the write-only DAG service that boxo's builders put their nodes in.
// Each node becomes one PutHeld; a bounded number runs beside the reading and
// hashing, so that the disk and the processor work at the same time.
type sink struct {
	store Store
	owner string
	group *errgroup.Group
	ctx   context.Context // ends with the import, and as soon as a write fails
	added func()
	last  cid.Cid
	// hashed is the block whose CID a builder computed last.
	hashed *block.Verified
}

// builder returns what a builder of boxo computes CIDs with: what it hashes for that need
// not be hashed again to be verified.
func (s *sink) builder() cid.Builder {
	prefix := cid.NewPrefixV1(cid.DagProtobuf, profile.MhType) // as profile.CidBuilder
	return hasher{prefix, s}
}

type hasher struct {
	prefix cid.Prefix
	sink   *sink
}

// Sum implements [cid.Builder].
func (h hasher) Sum(data []byte) (cid.Cid, error) {
	b, err := block.Sum(h.prefix, data)
	if err != nil {
		return cid.Undef, err
	}
	h.sink.hashed = b
	return b.Cid(), nil
}

// GetCodec implements [cid.Builder].
func (h hasher) GetCodec() uint64 { return h.prefix.Codec }

// WithCodec implements [cid.Builder].
func (h hasher) WithCodec(codec uint64) cid.Builder {
	h.prefix.Codec = codec
	return h
}

func newSink(ctx context.Context, store Store, owner string, writers int, added func()) *sink {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	return &sink{store: store, owner: owner, group: group, ctx: gctx, added: added}
}

// put stores b in the background. It blocks while too many writes are under way,
// and returns an error once one has failed.
func (s *sink) put(b *block.Verified) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	s.group.Go(func() error {
		if err := s.store.PutHeld(s.ctx, s.owner, b); err != nil {
			return fmt.Errorf("keep what was sent: %w", err) // a store names the block
		}
		return nil
	})
	s.added()
	return nil
}

// wait ends the writes. A failed one is the cause of everything that stopped
// because of it, so it is returned instead of err.
func (s *sink) wait(err error) error {
	if werr := s.group.Wait(); werr != nil {
		return werr
	}
	return err
}

// Add stores a node that a builder has finished. The context is ignored: builders
// have none to give.
func (s *sink) Add(_ context.Context, nd ipld.Node) error {
	if _, ok := nd.(storedNode); ok {
		return nil
	}
	// A HAMT adds each of its shards twice in a row.
	if nd.Cid().Equals(s.last) {
		return nil
	}
	s.last = nd.Cid()
	b := s.hashed
	if b == nil || b.Cid() != nd.Cid() {
		// It was hashed some time before.
		var err error
		if b, err = block.New(nd.Cid(), nd.RawData()); err != nil {
			return err
		}
	}
	return s.put(b)
}

func (s *sink) AddMany(ctx context.Context, nds []ipld.Node) error {
	for _, nd := range nds {
		if err := s.Add(ctx, nd); err != nil {
			return err
		}
	}
	return nil
}

var errWriteOnly = errors.New("an import only writes")

func (s *sink) Get(context.Context, cid.Cid) (ipld.Node, error) { return nil, errWriteOnly }
func (s *sink) Remove(context.Context, cid.Cid) error           { return errWriteOnly }
func (s *sink) RemoveMany(context.Context, []cid.Cid) error     { return errWriteOnly }
func (s *sink) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, 1)
	out <- &ipld.NodeOption{Err: errWriteOnly}
	close(out)
	return out
}

// storedNode stands for a node that is stored already, with as much of it as a
// link to it needs: a folder can be built without its files' bytes in memory.
type storedNode struct {
	ipld.Node // nil: nothing else of it may be asked for
	cid       cid.Cid
	size      uint64 // of the whole DAG below it
}

func (n storedNode) Cid() cid.Cid          { return n.cid }
func (n storedNode) Size() (uint64, error) { return n.size, nil }

// link remembers a finished node by its CID and the size of its DAG.
func link(nd ipld.Node) (storedNode, error) {
	size, err := nd.Size()
	return storedNode{cid: nd.Cid(), size: size}, err
}
