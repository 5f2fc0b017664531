package gateway

import (
	"bytes"
	"context"
	"hash/maphash"
	"io"

	bgw "github.com/ipfs/boxo/gateway"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-cdn/shoal/dag"
)

// carReader makes a CAR (https://ipld.io/specs/transport/car/carv1/) as it is read: the
// blocks of a path, the block that the path leads to, and what the request wants of the
// DAG below, depth first, as IPIP-402 and IPIP-412 describe it. An error of a Read other
// than io.EOF marks the answer as broken off.
//
// What it remembers is in exportMemory.
type carReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	blocks *blockService
	params bgw.CarParams

	out  [][]byte  // to be read next
	path []cid.Cid // blocks of the path that were not sent yet
	root blocks.Block

	begun  bool
	below  func() error // sends the next blocks below root, io.EOF at the end
	file   *fileReader  // nil but for one file
	dag    []dagFrame
	seed   maphash.Seed
	sent   map[uint64]struct{} // hashes of multihashes, and of the CIDs that were followed
	memory exportMemory
}

// dagFrame is the rest of the links of a block, which are still to be followed: their
// CIDs, one behind the other.
type dagFrame struct {
	rest []byte
	size int64 // in memory, in bytes
}

// sentCost is what is remembered of a block that was sent, in bytes.
const sentCost = 48

// newCAR begins an export of what a path leads to; path are the blocks on the way there.
func newCAR(ctx context.Context, service *blockService, path []cid.Cid, root blocks.Block, params bgw.CarParams) (*carReader, error) {
	r := &carReader{blocks: service, params: params, path: path, root: root, seed: maphash.MakeSeed(), sent: map[uint64]struct{}{}}
	r.out = [][]byte{appendCARHeader(nil, root.Cid())}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.open(); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// open finds out what belongs to the export below its root.
func (r *carReader) open() error {
	nothing := func() error { return io.EOF }
	switch r.below = nothing; r.params.Scope {
	case bgw.DagScopeBlock:
		return nil
	case bgw.DagScopeEntity:
		return r.openEntity()
	}
	r.below = r.follow
	return r.enter(r.root)
}

// openEntity prepares for the blocks of one thing of UnixFS: a file, or a part of it; a
// folder without what is in it. What is not of UnixFS is one block.
func (r *carReader) openEntity() error {
	if r.root.Cid().Prefix().Codec != cid.DagProtobuf {
		return nil
	}
	n, err := readNode(cid.DagProtobuf, r.root.RawData())
	switch {
	case err != nil:
		if n.isFile() {
			return err
		}
	case n.isFile():
		f, err := newFileReader(r.ctx, r.blocks, r.root, n, entityPart(r.params.Range, n.size))
		if err != nil {
			return err
		}
		f.visit, f.skip, r.file = r.put, r.again, f
		r.below = func() error {
			f.at += int64(len(f.data))
			f.data = nil
			return f.advance()
		}
	case n.isFolder():
		f, err := openFolder(r.ctx, r.blocks, n)
		if err != nil {
			return err
		}
		f.visit, f.skip = r.put, r.again
		r.below = func() error {
			_, ok, err := f.next()
			if err == nil && !ok {
				err = io.EOF
			}
			return err
		}
	}
	return nil
}

// entityPart returns what entity-bytes asks for of a file
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/#entity-bytes-request-query-parameter).
func entityPart(r *bgw.DagByteRange, size int64) span {
	if r == nil {
		return span{0, size}
	}
	s := span{r.From, size}
	if s.from < 0 {
		s.from = max(s.from+size, 0)
	}
	if r.To != nil {
		to := *r.To
		if to < 0 {
			to += size
		}
		s.to = min(to, size-1) + 1
	}
	return s
}

// Read implements io.Reader.
func (r *carReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if err := r.next(); err == io.EOF {
			return 0, err
		} else if err != nil {
			return 0, recordOf(r.ctx).brokeOff(lying(err))
		}
	}
	n := copy(p, r.out[0])
	if r.out[0] = r.out[0][n:]; len(r.out[0]) == 0 {
		r.out = r.out[1:]
	}
	return n, nil
}

// next sends blocks, or finds out that there is none to send now.
func (r *carReader) next() error {
	if err := r.ctx.Err(); err != nil {
		return fetchFailure(r.ctx, r.root.Cid(), err).forBoxo()
	}
	if len(r.path) > 0 {
		b, err := r.blocks.GetBlock(r.ctx, r.path[0])
		if err == nil {
			r.path = r.path[1:]
			r.put(b)
		}
		return err
	}
	if !r.begun {
		r.begun = true
		r.put(r.root)
		return nil
	}
	return r.below()
}

// put sends a block, unless it is in its CID, or was sent and is wanted once.
func (r *carReader) put(b blocks.Block) {
	c := b.Cid()
	if c.Prefix().MhType == multihash.IDENTITY || r.params.Duplicates != bgw.DuplicateBlocksIncluded && !r.first(c.Hash()) {
		return
	}
	head := protowire.AppendVarint(nil, uint64(c.ByteLen()+len(b.RawData())))
	r.out = append(r.out, append(head, c.Bytes()...))
	if len(b.RawData()) > 0 {
		r.out = append(r.out, b.RawData())
	}
}

// again reports whether all below a block was sent already, and is wanted once.
func (r *carReader) again(c cid.Cid) bool {
	return r.params.Duplicates != bgw.DuplicateBlocksIncluded && !r.first(c.Bytes())
}

// first reports whether it is asked for the first time.
func (r *carReader) first(key []byte) bool {
	h := maphash.Bytes(r.seed, key)
	if _, ok := r.sent[h]; ok {
		return false
	}
	r.sent[h] = struct{}{}
	return true
}

// follow goes to the next block of the whole DAG.
func (r *carReader) follow() error {
	if len(r.dag) == 0 {
		return io.EOF
	}
	top := &r.dag[len(r.dag)-1]
	n, c, err := cid.CidFromBytes(top.rest)
	if err != nil {
		return err // it was a CID when it came in
	}
	top.rest = top.rest[n:]
	seen, size := r.again(c), int64(0)
	if !seen {
		size += sentCost
	}
	if len(top.rest) == 0 {
		// Before what is below, so that a long chain takes no memory.
		size -= top.size
		r.dag = r.dag[:len(r.dag)-1]
	}
	if err := r.memory.add(r.ctx, r.blocks.exports, size); err != nil || seen {
		return err
	}
	b, err := r.blocks.GetBlock(r.ctx, c)
	if err != nil {
		return err
	}
	r.put(b)
	return r.enter(b)
}

// enter prepares to follow a block's links.
func (r *carReader) enter(b blocks.Block) error {
	var links []byte
	err := dag.Scan(b.Cid(), b.RawData(), dag.MaxLinks, func(l dag.Link) error {
		links = append(links, l.CID.Bytes()...)
		return nil
	})
	if err != nil || len(links) == 0 {
		return err
	}
	size := int64(cap(links))
	r.dag = append(r.dag, dagFrame{links, size})
	return r.memory.add(r.ctx, r.blocks.exports, size)
}

// Close implements io.Closer.
func (r *carReader) Close() error {
	r.cancel()
	if r.file != nil {
		_ = r.file.Close()
	}
	return nil
}

// absentCAR is a CAR of the blocks that show that a path leads nowhere. Its root is the
// empty CID, since there is none (IPIP-402).
func absentCAR(ctx context.Context, service *blockService, path []cid.Cid, params bgw.CarParams) (*carReader, error) {
	none, err := identityBlock(bgw.EmptyIdentityCID)
	if err != nil {
		return nil, err
	}
	params.Scope = bgw.DagScopeBlock
	return newCAR(ctx, service, path, none, params)
}

// appendCARHeader appends {"roots": [root], "version": 1} in dag-cbor, behind its length.
func appendCARHeader(to []byte, root cid.Cid) []byte {
	var head bytes.Buffer
	head.WriteString("\xa2\x65roots\x81\xd8\x2a")
	if n := root.ByteLen() + 1; n < 24 {
		head.WriteByte(0x40 | byte(n))
	} else {
		head.Write([]byte{0x58, byte(n)}) // CIDs are shorter than 256 bytes, see block.CheckCID
	}
	head.WriteByte(0)
	head.Write(root.Bytes())
	head.WriteString("\x67version\x01")
	return append(protowire.AppendVarint(to, uint64(head.Len())), head.Bytes()...)
}
