package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// holdBatch is how many blocks a walk holds in one call.
const holdBatch = 256

// walk checks that every block below root is on this edge, and passes their CIDs
// to hold, if there is one. A block that is missing is an *InputError naming it.
func (in *Ingester) walk(ctx context.Context, root cid.Cid, hold func(...cid.Cid) error) error {
	var batch []cid.Cid
	flush := func() error {
		if hold == nil || len(batch) == 0 {
			return nil
		}
		if err := hold(batch...); err != nil {
			return fmt.Errorf("hold %d blocks below %s: %w", len(batch), root, err)
		}
		batch = batch[:0]
		return nil
	}
	err := visit(ctx, in.store, root, func(c cid.Cid, present bool) error {
		if !present {
			return badInput("the DAG of %s is not complete: block %s is missing", root, c)
		}
		if batch = append(batch, c); len(batch) < holdBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// Blocks reads the blocks that are on this edge and asks nobody else. Get of a
// block that is not here is an error that ipld.IsNotFound recognises.
type Blocks interface {
	Get(ctx context.Context, c cid.Cid) (blocks.Block, error)
	Has(ctx context.Context, c cid.Cid) (bool, error)
}

// visit calls see once for each CID of the DAG below root, a parent before its
// children, and says whether that block is present. It reads only blocks that can
// have links; for leaves it asks. Blocks inside their CID (identity) are followed
// but not reported: they are stored nowhere. It keeps the CIDs that it has met in
// memory, about 100 bytes each.
func visit(ctx context.Context, from Blocks, root cid.Cid, see func(c cid.Cid, present bool) error) error {
	met := map[string]struct{}{root.KeyString(): {}}
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := context.Cause(ctx); err != nil {
			return err
		}
		children, present, err := look(ctx, from, c)
		if err != nil {
			return err
		}
		if !isIdentity(c) {
			if err := see(c, present); err != nil {
				return err
			}
		}
		for _, child := range slices.Backward(children) {
			if _, again := met[child.KeyString()]; !again {
				met[child.KeyString()] = struct{}{}
				todo = append(todo, child)
			}
		}
	}
	return nil
}

// look returns the links of c, and whether its block is there.
func look(ctx context.Context, from Blocks, c cid.Cid) ([]cid.Cid, bool, error) {
	if isIdentity(c) {
		mh, err := multihash.Decode(c.Hash())
		if err != nil {
			return nil, false, badInput("block %s: %w", c, err)
		}
		children, err := links(c, mh.Digest)
		return children, true, err
	}
	if isLeaf(c) {
		present, err := from.Has(ctx, c)
		if err != nil {
			return nil, false, fmt.Errorf("look for block %s: %w", c, err)
		}
		return nil, present, nil
	}
	b, err := from.Get(ctx, c)
	if ipld.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read block %s: %w", c, err)
	}
	children, err := links(c, b.RawData())
	return children, true, err
}

func isIdentity(c cid.Cid) bool { return c.Prefix().MhType == multihash.IDENTITY }

// isLeaf reports whether the codec of c cannot express links.
func isLeaf(c cid.Cid) bool {
	switch multicodec.Code(c.Type()) {
	case multicodec.Raw, multicodec.Cbor, multicodec.Json, multicodec.Libp2pKey:
		return true
	}
	return false
}

// links returns the CIDs that a block points to, in order.
func links(c cid.Cid, data []byte) ([]cid.Cid, error) {
	var found []cid.Cid
	var err error
	switch multicodec.Code(c.Type()) {
	case multicodec.Raw, multicodec.Cbor, multicodec.Json, multicodec.Libp2pKey:
	case multicodec.DagPb:
		found, err = linksOfDagPB(data)
	case multicodec.DagCbor:
		found, err = linksOfIPLD(dagcbor.Decode, data)
	case multicodec.DagJson:
		found, err = linksOfIPLD(dagjson.Decode, data)
	default:
		err = errors.New("its codec is not one whose links can be followed (dag-pb, dag-cbor, dag-json, raw)")
	}
	if err != nil {
		return nil, badInput("block %s: read its links as %s: %w", c, multicodec.Code(c.Type()), err)
	}
	return found, nil
}

func linksOfDagPB(data []byte) ([]cid.Cid, error) {
	nd, err := merkledag.DecodeProtobuf(data)
	if err != nil {
		return nil, err
	}
	found := make([]cid.Cid, 0, len(nd.Links()))
	for _, l := range nd.Links() {
		found = append(found, l.Cid)
	}
	return found, nil
}

func linksOfIPLD(decode codec.Decoder, data []byte) ([]cid.Cid, error) {
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := decode(builder, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	all, err := traversal.SelectLinks(builder.Build())
	if err != nil {
		return nil, err
	}
	var found []cid.Cid
	for _, l := range all {
		if l, ok := l.(cidlink.Link); ok {
			found = append(found, l.Cid)
		}
	}
	return found, nil
}
