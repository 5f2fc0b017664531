package unixfs

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/unixfs"
	unixfspb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-cdn/shoal/dag"
)

// ErrNode is wrapped by the errors of blocks that are not the nodes they should be, or
// that cost more than they bring.
var ErrNode = errors.New("the block is not well formed")

// find returns the first link of a name in the block.
func (n *Node) find(name string) (dag.PBLink, bool, error) {
	links := n.links
	for {
		link, ok, err := links.Next()
		if !ok || err != nil || string(link.Name) == name {
			return link, ok, err
		}
	}
}

// TreeSize is what a node's DAG takes, in bytes, as far as its links say.
func (n *Node) TreeSize(block []byte) (int64, error) {
	links, sum := n.links, uint64(len(block))
	for {
		link, ok, err := links.Next()
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		if sum += link.Size; link.Size > math.MaxInt64 || sum > math.MaxInt64 {
			return 0, fmt.Errorf("%w: its size is larger than any", ErrNode)
		}
	}
	return int64(sum), nil
}

// Node is a UnixFS node (https://specs.ipfs.tech/unixfs/) as it lies in its block.
type Node struct {
	kind    unixfspb.Data_DataType
	links   dag.PBLinks
	sizes   sizeList // of the bytes below each link
	content []byte   // a file's own bytes, before those below it; a link's target; a shard's bitmap
	size    int64    // of a file: its own bytes and those below its links
	empty   int      // links without bytes below them

	hashType, fanout uint64
	mode             uint32
	modTime          time.Time
}

// Kinds of nodes that are none of UnixFS.
const (
	plain     = -1 // a node of dag-pb
	malformed = -2 // no node at all
)

// ReadNode reads the node in a block of the codec dag-pb or raw. The sizes that a file
// states must be those of its parts. With an error it returns what was read before.
func ReadNode(codec uint64, block []byte) (*Node, error) {
	if codec == cid.Raw {
		return &Node{kind: unixfs.TFile, content: block, size: int64(len(block))}, nil
	}
	if codec != cid.DagProtobuf {
		return &Node{kind: malformed}, fmt.Errorf("%w: codec %#x has no files", ErrNode, codec)
	}
	links, data, err := dag.ReadPB(block)
	if err != nil {
		return &Node{kind: malformed}, fmt.Errorf("%w: %w", ErrNode, err)
	}
	n := &Node{links: links, kind: plain}
	return n, n.readFields(data)
}

// readFields reads the UnixFS message.
func (n *Node) readFields(data []byte) error {
	stated, hasSize, sum := uint64(0), false, uint64(0)
	n.sizes.rest = data
	for rest := data; len(rest) > 0; {
		num, typ, tag := protowire.ConsumeTag(rest)
		if tag < 0 {
			return fmt.Errorf("%w: no UnixFS", ErrNode)
		}
		var v uint64
		var b []byte
		m := 0
		switch typ {
		case protowire.VarintType:
			v, m = protowire.ConsumeVarint(rest[tag:])
		case protowire.BytesType:
			b, m = protowire.ConsumeBytes(rest[tag:])
		default:
			m = protowire.ConsumeFieldValue(num, typ, rest[tag:])
		}
		if m < 0 {
			return fmt.Errorf("%w: no UnixFS", ErrNode)
		}
		rest = rest[tag+m:]
		switch num {
		case 1:
			n.kind = unixfspb.Data_DataType(min(v, math.MaxInt32))
		case 2:
			n.content = b
		case 3:
			stated, hasSize = v, true
		case 4:
			if err := n.addSizes(typ, v, b, &sum); err != nil {
				return err
			}
		case 5:
			n.hashType = v
		case 6:
			n.fanout = v
		case 7:
			n.mode = uint32(v & 0xFFF)
		case 8:
			n.modTime = readTime(b)
		}
	}
	if n.kind < 0 {
		return fmt.Errorf("%w: no UnixFS", ErrNode)
	}
	return n.settleSize(stated, hasSize, sum)
}

// addSizes counts what one field of blocksizes adds.
func (n *Node) addSizes(typ protowire.Type, v uint64, packed []byte, sum *uint64) error {
	for one := typ == protowire.VarintType; one || len(packed) > 0; one = false {
		if !one {
			var m int
			if v, m = protowire.ConsumeVarint(packed); m < 0 {
				return fmt.Errorf("%w: no UnixFS", ErrNode)
			}
			packed = packed[m:]
		}
		if *sum += v; v > math.MaxInt64 || *sum > math.MaxInt64 {
			return fmt.Errorf("%w: its size is larger than any", ErrNode)
		}
		if n.sizes.count++; v == 0 {
			n.empty++
		}
	}
	return nil
}

// settleSize compares what a file says of its size with its parts.
func (n *Node) settleSize(stated uint64, hasSize bool, sum uint64) error {
	if n.kind != unixfs.TFile && n.kind != unixfs.TRaw {
		return nil
	}
	if n.sizes.count != n.links.Left {
		return fmt.Errorf("%w: a file with %d links and %d sizes", ErrNode, n.links.Left, n.sizes.count)
	}
	size := uint64(len(n.content)) + sum
	if size > math.MaxInt64 || hasSize && stated != size {
		return fmt.Errorf("%w: a file of %d bytes that says it has %d", ErrNode, size, stated)
	}
	n.size = int64(size)
	return nil
}

// IsFile reports whether the node is a file, or a part of one.
func (n *Node) IsFile() bool { return n.kind == unixfs.TFile || n.kind == unixfs.TRaw }

// IsFolder reports whether the node is a folder or a shard of one.
func (n *Node) IsFolder() bool { return n.kind == unixfs.TDirectory || n.kind == unixfs.THAMTShard }

// IsPlain reports whether the node has no UnixFS in it, but links.
func (n *Node) IsPlain() bool { return n.kind == plain }

// IsSharded reports whether the node is a shard of a folder.
func (n *Node) IsSharded() bool { return n.kind == unixfs.THAMTShard }

// IsSymlink reports whether the node is a symbolic link.
func (n *Node) IsSymlink() bool { return n.kind == unixfs.TSymlink }

// Content is what the node itself holds: a file's own bytes, before those below its links,
// or a link's target. The bytes are the block's.
func (n *Node) Content() []byte { return n.content }

// Size is a file's size, in bytes.
func (n *Node) Size() int64 { return n.size }

// IsLeaf reports whether the node has no links.
func (n *Node) IsLeaf() bool { return n.links.Left == 0 }

// ModTime is when the file was changed, as the node says; zero where it does not.
func (n *Node) ModTime() time.Time { return n.modTime }

// Perm returns the permission bits that the node states; 0 for none.
func (n *Node) Perm() os.FileMode { return files.UnixPermsToModePerms(n.mode) }

// Kind names what the node is.
func (n *Node) Kind() string { return n.kind.String() }

// readTime reads UnixFS 1.5's mtime; zero for none.
func readTime(b []byte) time.Time {
	var seconds, nanos uint64
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return time.Time{}
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return time.Time{}
		}
		switch {
		case num == 1 && typ == protowire.VarintType:
			seconds, _ = protowire.ConsumeVarint(b[n:])
		case num == 2 && typ == protowire.Fixed32Type:
			v, _ := protowire.ConsumeFixed32(b[n:])
			nanos = uint64(v)
		}
		b = b[n+m:]
	}
	if seconds == 0 && nanos == 0 || nanos >= 1e9 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), int64(nanos))
}

// sizeList reads a file's blocksizes one after the other, packed or not.
type sizeList struct {
	rest, packed []byte
	count        int
}

// next returns the next size. It must not be called more often than count says.
func (s *sizeList) next() int64 {
	for len(s.packed) == 0 && len(s.rest) > 0 {
		num, typ, n := protowire.ConsumeTag(s.rest)
		value := s.rest[n:]
		s.rest = value[protowire.ConsumeFieldValue(num, typ, value):]
		switch {
		case num != 4:
		case typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			return int64(v)
		case typ == protowire.BytesType:
			s.packed, _ = protowire.ConsumeBytes(value)
		}
	}
	v, n := protowire.ConsumeVarint(s.packed)
	s.packed = s.packed[max(n, 0):]
	return int64(v)
}

// Names goes through the names of a node's links.
func (n *Node) Names() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for links := n.links; ; {
			link, ok, err := links.Next()
			if !ok && err == nil || !yield(string(link.Name), err) {
				return
			}
		}
	}
}
