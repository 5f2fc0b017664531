package answer

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// carParams is what of a DAG a CAR is to have (IPIP-402, IPIP-412).
type carParams struct {
	scope      string // all, entity or block
	entity     *entityBytes
	duplicates bool
	unordered  bool // the client does not care; it gets them depth first all the same
}

// entityBytes is a part of a file; negative numbers count from its end.
type entityBytes struct {
	from int64
	to   *int64 // with it; nil is the end
}

// readCARParams reads the parameters of a CAR. Those in the query go before those of the
// media type (IPIP-523).
func readCARParams(query url.Values, media map[string]string) (carParams, *Failure) {
	get := func(name string) string {
		if v := query.Get("car-" + name); v != "" {
			return v
		}
		return media[name]
	}
	p := carParams{scope: "all"}
	if query.Has("dag-scope") {
		p.scope = query.Get("dag-scope")
	}
	var failed *Failure
	if query.Has("entity-bytes") {
		p.entity, failed = readEntityBytes(query.Get("entity-bytes"))
	}
	switch version, order, dups := get("version"), get("order"), get("dups"); {
	case failed != nil:
		return p, failed
	case p.scope != "all" && p.scope != "entity" && p.scope != "block":
		return p, Refuse(http.StatusBadRequest, "dag-scope is all, entity or block, not %q", Abbreviate(p.scope))
	case version != "" && version != "1":
		return p, Refuse(http.StatusBadRequest, "only version 1 of CAR can be had")
	case order != "" && order != "dfs" && order != "unk":
		return p, Refuse(http.StatusBadRequest, "the order of a CAR is dfs or unk, not %q", Abbreviate(order))
	case dups != "" && dups != "y" && dups != "n":
		return p, Refuse(http.StatusBadRequest, "dups is y or n, not %q", Abbreviate(dups))
	default:
		p.unordered, p.duplicates = order == "unk", dups == "y"
	}
	return p, nil
}

// readEntityBytes reads from:to, where to may be *
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/#entity-bytes-request-query-parameter).
func readEntityBytes(s string) (*entityBytes, *Failure) {
	bad := Refuse(http.StatusBadRequest, "entity-bytes is from:to, not %q", Abbreviate(s))
	first, last, ok := strings.Cut(s, ":")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil {
		return nil, bad
	}
	if last == "*" {
		return &entityBytes{from: from}, nil
	}
	to, err := strconv.ParseInt(last, 10, 64)
	if err != nil || from >= 0 && to >= 0 && from > to || from < 0 && to < 0 && from > to {
		return nil, bad
	}
	return &entityBytes{from, &to}, nil
}

// of returns what is asked for of a file.
func (r *entityBytes) of(size int64) unixfs.Span {
	if r == nil {
		return unixfs.Span{To: size}
	}
	s := unixfs.Span{From: r.from, To: size}
	if s.From < 0 {
		s.From = max(s.From+size, 0)
	}
	if r.to != nil {
		to := *r.to
		if to < 0 {
			to += size
		}
		s.To = min(to, size-1) + 1
	}
	return s
}

// mediaType is the type of the CAR, with what it is like.
func (p *carParams) mediaType() string {
	order, dups := "dfs", "n"
	if p.unordered {
		order = "unk"
	}
	if p.duplicates {
		dups = "y"
	}
	return mediaTypes[CAR] + "; version=1; order=" + order + "; dups=" + dups
}

// etag is weak: another edge need not make the same bytes.
func (p *carParams) etag(req *Request) string {
	h := xxhash.New()
	_, _ = h.WriteString(req.Base.String() + "\x00" + strings.Join(req.Names, "/") + "\x00" + p.scope + "\x00" + p.mediaType())
	if p.entity != nil {
		_ = binary.Write(h, binary.LittleEndian, p.entity.from)
		if p.entity.to != nil {
			_ = binary.Write(h, binary.LittleEndian, *p.entity.to)
		}
	}
	return `W/"` + req.Base.RootCid().String() + ".car." + strconv.FormatUint(h.Sum64(), 32) + `"`
}

// car answers with a CAR of a path and what it leads to. The blocks of the path are there
// before it begins, and nothing but those is read for HEAD.
func (b *Builder) car(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified) (*Answer, error) {
	params, failed := readCARParams(req.Params, req.Wanted.Params)
	if failed != nil {
		return nil, failed
	}
	if n, err := unixfs.ReadNode(at.CID.Prefix().Codec, blk.RawData()); err == nil {
		size := n.Size()
		if !n.IsFile() {
			if size, err = n.TreeSize(blk.RawData()); err != nil {
				return nil, err
			}
		}
		if err := b.tooLarge(size); err != nil {
			return nil, err
		}
	}
	return b.carOf(ctx, reads, req, at, blk, params)
}

// absentCAR answers with a CAR of the blocks that show that a path leads nowhere. Its root
// is the empty CID, since there is none (IPIP-402).
func (b *Builder) absentCAR(ctx context.Context, reads *Reads, req *Request, reached *found) (*Answer, error) {
	params, failed := readCARParams(req.Params, req.Wanted.Params)
	if failed != nil {
		return nil, failed
	}
	params.scope = "block"
	none := cid.NewCidV1(cid.Raw, multihash.Multihash{0, 0})
	blk, err := inlineBlock(none)
	if err != nil {
		return nil, err
	}
	return b.carOf(ctx, reads, req, &found{CID: none, Passed: reached.Passed}, blk, params)
}

func (b *Builder) carOf(ctx context.Context, reads *Reads, req *Request, at *found, blk *block.Verified, params carParams) (*Answer, error) {
	if !reads.Hold(int64(len(blk.RawData()))) {
		return nil, errCrowded()
	}
	before := make([]*block.Verified, 0, len(at.Passed))
	for _, c := range at.Passed {
		if c.Equals(at.CID) {
			continue
		}
		passed, err := reads.Get(ctx, c)
		if err != nil {
			return nil, err
		}
		before = append(before, passed)
	}
	w, err := newCARWriter(ctx, reads, before, blk, params, b.parallel)
	if err != nil {
		return nil, err
	}
	w.close() // it is opened again for those who read it
	a := b.begin(req, at, CAR)
	a.ETag, a.Type, a.Keep = params.etag(req), params.mediaType(), false
	a.Stream = func(ctx context.Context, to io.Writer) error {
		w, err := newCARWriter(ctx, reads, before, blk, params, b.parallel)
		if err != nil {
			return err
		}
		defer w.close()
		return w.writeTo(to)
	}
	name := req.filename()
	if name == "" {
		name = req.Base.RootCid().String()
		if last := lastName(req.Path); last != "" {
			name += "_" + last
		}
		name += ".car"
	}
	a.dispose("attachment", name)
	a.set("X-Content-Type-Options", "nosniff")
	return b.complete(a, req), nil
}

// carWriter writes a CAR (https://ipld.io/specs/transport/car/carv1/): the
// blocks of a path, the block that the path leads to, and what the request wants of the
// DAG below, depth first, as IPIP-402 and IPIP-412 describe it.
//
// What it remembers is in exportMemory.
type carWriter struct {
	ctx    context.Context
	reads  *Reads
	params carParams
	before []*block.Verified // of the path
	root   *block.Verified

	out    [][]byte     // to be written next
	below  func() error // puts the next blocks below root, io.EOF at the end
	file   *unixfs.Reader
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

// newCARWriter prepares an export of root. An error means that root cannot be exported.
func newCARWriter(ctx context.Context, reads *Reads, before []*block.Verified, root *block.Verified, params carParams, parallel int) (*carWriter, error) {
	w := &carWriter{
		ctx: ctx, reads: reads, params: params, before: before, root: root, memory: exportMemory{reads: reads},
		seed: maphash.MakeSeed(), sent: map[uint64]struct{}{},
	}
	switch w.below = w.nothing; params.scope {
	case "block":
		return w, nil
	case "entity":
		return w, w.openEntity(parallel)
	}
	w.below = w.follow
	return w, w.enter(root)
}

func (*carWriter) nothing() error { return io.EOF }

// openEntity prepares for the blocks of one thing of UnixFS: a file, or a part of it; a
// folder without what is in it. What is not of UnixFS is one block.
func (w *carWriter) openEntity(parallel int) error {
	if w.root.Cid().Prefix().Codec != cid.DagProtobuf {
		return nil
	}
	n, err := unixfs.ReadNode(cid.DagProtobuf, w.root.RawData())
	switch {
	case err != nil:
		if n.IsFile() {
			return err
		}
	case n.IsFile():
		f, err := unixfs.NewReader(w.ctx, w.reads, w.root, n, w.params.entity.of(n.Size()), parallel)
		if err != nil {
			return err
		}
		f.Visit, f.Skip, w.file = w.put, w.again, f
		w.below = func() error {
			f.Discard()
			return f.Advance()
		}
	case n.IsFolder():
		f, err := unixfs.NewFolder(w.ctx, w.reads, n)
		if err != nil {
			return err
		}
		f.Visit, f.Skip = w.put, w.again
		w.below = func() error {
			_, ok, err := f.Next()
			if err == nil && !ok {
				err = io.EOF
			}
			return err
		}
	}
	return nil
}

// writeTo writes the CAR. An error leaves it incomplete.
func (w *carWriter) writeTo(to io.Writer) error {
	w.out = append(w.out, appendCARHeader(nil, w.root.Cid()))
	for _, b := range w.before {
		w.put(b)
	}
	w.put(w.root)
	for {
		for _, data := range w.out {
			if _, err := to.Write(data); err != nil {
				return err
			}
		}
		clear(w.out)
		w.out = w.out[:0]
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.below(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// put sends a block, unless it is in its CID, or was sent and is wanted once.
func (w *carWriter) put(b *block.Verified) {
	c := b.Cid()
	if c.Prefix().MhType == multihash.IDENTITY || !w.params.duplicates && !w.first(c.Hash()) {
		return
	}
	head := protowire.AppendVarint(nil, uint64(c.ByteLen()+len(b.RawData())))
	w.out = append(w.out, append(head, c.Bytes()...), b.RawData())
}

// again reports whether all below a block was sent already, and is wanted once.
func (w *carWriter) again(c cid.Cid) bool {
	return !w.params.duplicates && !w.first(c.Bytes())
}

// first reports whether it is asked for the first time.
func (w *carWriter) first(key []byte) bool {
	h := maphash.Bytes(w.seed, key)
	if _, ok := w.sent[h]; ok {
		return false
	}
	w.sent[h] = struct{}{}
	return true
}

// follow goes to the next block of the whole DAG.
func (w *carWriter) follow() error {
	if len(w.dag) == 0 {
		return io.EOF
	}
	top := &w.dag[len(w.dag)-1]
	n, c, err := cid.CidFromBytes(top.rest)
	if err != nil {
		return err // it was a CID when it came in
	}
	top.rest = top.rest[n:]
	seen, size := w.again(c), int64(0)
	if !seen {
		size += sentCost
	}
	if len(top.rest) == 0 {
		// Before what is below, so that a long chain takes no memory.
		size -= top.size
		w.dag = w.dag[:len(w.dag)-1]
	}
	if err := w.memory.add(w.ctx, size); err != nil || seen {
		return err
	}
	b, err := w.reads.Get(w.ctx, c)
	if err != nil {
		return err
	}
	w.put(b)
	return w.enter(b)
}

// enter prepares to follow a block's links.
func (w *carWriter) enter(b *block.Verified) error {
	var links []byte
	err := dag.Scan(b.Cid(), b.RawData(), dag.MaxLinks, func(l dag.Link) error {
		links = append(links, l.CID.Bytes()...)
		return nil
	})
	if err != nil || len(links) == 0 {
		return err
	}
	size := int64(cap(links))
	w.dag = append(w.dag, dagFrame{slices.Clip(links), size})
	return w.memory.add(w.ctx, size)
}

func (w *carWriter) close() {
	if w.file != nil {
		_ = w.file.Close()
	}
	// What it remembered goes with it.
	w.reads.src.exports.give(w.reads.exporting)
	w.reads.exporting = 0
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
