package dag

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
)

// frontier is what a walk still has to visit: the rest of the links of each block on
// the way, the deepest last. A link is kept as the bytes of its CID and a few more: as
// values of Go, the links of one hostile block would take three times as much.
type frontier struct {
	limit, bytes int
	rest         []siblings
	next         []byte // the links of the block that is being scanned
}

// siblings are links of one block. Each is its flags, its size, the length of its CID
// and the CID.
type siblings struct {
	links []byte
	depth int
	whole int // bytes that are in memory for links
}

const (
	flagKnown = 1 << iota
	flagFresh
)

// add notes a link of the block that is being scanned.
func (f *frontier) add(l Link, flags byte) error {
	c := l.CID.Bytes()
	if f.bytes+len(f.next)+len(c) > f.limit {
		return fmt.Errorf("its links that are still to be followed take more than %d bytes, %w", f.limit, ErrLimit)
	}
	f.next = append(f.next, flags)
	f.next = binary.AppendUvarint(f.next, uint64(max(l.Size, 0)))
	f.next = binary.AppendUvarint(f.next, uint64(len(c)))
	f.next = append(f.next, c...)
	return nil
}

// scanned puts the links that were added on top; they are depth links away from the
// root.
func (f *frontier) scanned(depth int) {
	if len(f.next) > 0 {
		f.rest = append(f.rest, siblings{bytes.Clone(f.next), depth, len(f.next)})
		f.bytes += len(f.next)
		f.next = f.next[:0]
	}
}

func (f *frontier) empty() bool { return len(f.rest) == 0 }

// size is what reading the next block counts as.
func (f *frontier) size() int64 {
	size, _ := binary.Uvarint(f.rest[len(f.rest)-1].links[1:])
	return int64(size)
}

// pop takes out the link that comes next.
func (f *frontier) pop() Visit {
	top := &f.rest[len(f.rest)-1]
	flags, at := top.links[0], 1
	size, n := binary.Uvarint(top.links[at:])
	at += n
	length, n := binary.Uvarint(top.links[at:])
	at += n
	end := at + int(length)
	_, c, _ := cid.CidFromBytes(top.links[at:end]) // it was a CID when it came in
	v := Visit{CID: c, Depth: top.depth, Known: flags&flagKnown != 0, Fresh: flags&flagFresh != 0, size: int64(size)}
	if top.links = top.links[end:]; len(top.links) == 0 {
		f.bytes -= top.whole
		f.rest = f.rest[:len(f.rest)-1]
	}
	return v
}
