package gateway

import (
	"context"
	"io"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/dag"
)

// openAhead opens a file so that its blocks are asked for ahead, from all places that
// have them at once, and nothing outside of the asked part is. It reports false where
// that is not possible, and boxo has to open what is there. boxo's reader asks for ten
// blocks, reads them, and only then asks for more; for a range, too, however short it
// is. Files whose leaves all hang below one index block are opened this way, which at a
// chunk of 1 MiB is up to a gigabyte: mapping a deeper one first would have its reader
// wait.
func (b *backend) openAhead(ctx context.Context, p path.ImmutablePath, ranges []bgw.ByteRange) (bgw.ContentPathMetadata, *bgw.GetResponse, bool) {
	none := bgw.ContentPathMetadata{}
	if p.RootCid().Prefix().Codec != cid.DagProtobuf {
		return none, nil, false
	}
	md, err := b.blocks.ResolvePath(ctx, p)
	if err != nil || len(md.LastSegmentRemainder) > 0 || md.LastSegment.RootCid().Prefix().Codec != cid.DagProtobuf {
		return none, nil, false
	}
	root, err := b.service.GetBlock(ctx, md.LastSegment.RootCid())
	if err != nil {
		return none, nil, false
	}
	m, ok := flatMap(root)
	if !ok {
		return none, nil, false
	}
	s, ok := spanOf(ranges, m.size)
	if !ok {
		return none, nil, false
	}
	return md, bgw.NewGetResponseFromReader(newSpanReader(ctx, b.service, m, s), m.size), true
}

// flatMap maps a file by its root alone, if all below it are raw leaves, two at least,
// and it says nothing of when it was changed (which boxo has to tell).
func flatMap(root blocks.Block) (*fileMap, bool) {
	links, sizes, data, err := readIndex(root)
	if err != nil || dated(root) || len(links) < 2 || len(links) != len(sizes) || len(data) > 0 {
		return nil, false
	}
	m := &fileMap{leaves: make([]fileLeaf, 0, len(links))}
	for i, l := range links {
		size := int64(sizes[i])
		if l.Prefix().Codec != cid.Raw || size <= 0 || m.size+size < m.size {
			return nil, false
		}
		m.size += size
		m.leaves = append(m.leaves, fileLeaf{m.size, l})
	}
	return m, true
}

// dated reports whether a UnixFS node has a time of change.
func dated(b blocks.Block) bool {
	_, message, err := dag.Node(b.RawData(), dag.MaxLinks)
	if err != nil {
		return true
	}
	fs, err := unixfs.FSNodeFromBytes(message)
	return err != nil || !fs.ModTime().IsZero()
}

// spanOf returns the part of a file that ranges ask for: all of it, or one range.
func spanOf(ranges []bgw.ByteRange, size int64) (span, bool) {
	switch len(ranges) {
	case 0:
		return span{0, size}, true
	case 1:
	default:
		return span{}, false
	}
	s := span{ranges[0].From, size}
	if s.from < 0 {
		s.from += size
	}
	if to := ranges[0].To; to != nil && *to < size {
		s.to = *to + 1
	}
	return s, s.from >= 0 && s.from < s.to
}

// spanReader reads a part of a mapped file. It fetches nothing before the first Read,
// and nothing behind the part's end. Close ends what is being fetched.
type spanReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	leaves *leafReader
	at     int64
	end    int64
	data   []byte // read and not yet handed out
}

func newSpanReader(ctx context.Context, service *blockService, m *fileMap, s span) *spanReader {
	ctx, cancel := context.WithCancel(ctx)
	return &spanReader{ctx: ctx, cancel: cancel, leaves: newLeafReader(ctx, service, m, s), at: s.from, end: s.to}
}

// Read implements io.Reader.
func (r *spanReader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	if len(r.data) == 0 {
		data, begin, err := r.leaves.next()
		if err != nil {
			return 0, err
		}
		r.data = data[r.at-begin : min(int64(len(data)), r.end-begin)]
	}
	n := copy(p, r.data)
	r.data, r.at = r.data[n:], r.at+int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *spanReader) Close() error {
	r.cancel()
	r.leaves.wait()
	return nil
}
