package blockstore

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// ViewPart calls f with the bytes from..to of a block that has size bytes; they are
// f's only until it returns. The whole block is read and held against its checksum
// the first time; after that, until the block moves or the process ends, no more is
// read than was asked for.
func (s *Store) ViewPart(ctx context.Context, c cid.Cid, size, from, to int, f func([]byte) error) error {
	if !c.Defined() {
		return block.NotFound(c)
	}
	k := s.keys.key(c.Hash())
	p, err := s.locate(ctx, k, c)
	if err != nil {
		return err
	}
	defer p.release()
	if p.entry.length() != size || from < 0 || to < from || to > size {
		return fmt.Errorf("read bytes %d to %d of block %s: it has %d bytes, not %d", from, to, c, p.entry.length(), size)
	}
	begin, end := 0, size
	if p.entry.checked() {
		begin, end = from, to
	}
	pooled := s.buffer(end - begin)
	defer s.buffers.Put(pooled)
	buf := (*pooled)[:end-begin]
	if p.entry.checked() {
		var n int
		if n, err = p.file.ReadAt(buf, int64(p.entry.offset)+int64(begin)); n == len(buf) {
			err = nil
		} else if err == io.EOF {
			err = fmt.Errorf("%w: the file ends early", errBadRecord)
		}
	} else if err = p.read(buf, p.entry.offset, p.entry.crc); err == nil {
		s.index.change(k, func(e *entry) {
			if e.segment == p.entry.segment && e.offset == p.entry.offset {
				e.lengthUses |= checkedBit
			}
		})
	}
	if err != nil {
		s.drop(k, c, p, err)
		return block.NotFound(c)
	}
	return f(buf[from-begin : to-begin])
}
