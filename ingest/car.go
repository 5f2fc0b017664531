package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/task"
)

// Limits on what a CAR may claim before its bytes have come.
const (
	maxCARHeader  = 1 << 20             // bytes; room for some 25 000 roots
	maxCARSection = block.MaxSize + 512 // bytes; a block and its CID
)

// CAR imports a CARv1, or the payload of a CARv2 (its index is not needed).
//
// Each block is hashed and compared with its CID as it comes. The DAG below each
// root must be complete: a block may be missing from the archive only if this edge
// has it already. Of what is not below a root nothing stays protected.
//
// progress is as for [Ingester.Tar].
func (in *Ingester) CAR(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	return in.run(ctx, p, progress, func(ctx context.Context, s *session) ([]cid.Cid, error) {
		payload, err := openCAR(r)
		if err != nil {
			return nil, err
		}
		for {
			if err := context.Cause(s.ctx); err != nil {
				return nil, err
			}
			b, err := payload.next()
			if err == io.EOF {
				return payload.roots, nil
			}
			if err != nil {
				return nil, err
			}
			s.Bytes += int64(len(b.RawData()))
			if _, inline := dag.Inline(b.Cid()); inline {
				continue // its content is in its CID
			}
			if err := s.put(b); err != nil {
				return nil, err
			}
		}
	})
}

// carPayload reads the blocks of a CARv1, or of the one inside a CARv2.
//
// It counts the bytes taken, because go-car reports a clean end when the stream
// stops right after the length of a section, or anywhere between two sections of a
// CARv2 that promises more.
type carPayload struct {
	roots  []cid.Cid
	blocks *car.BlockReader
	count  *countingReader
	whole  int64         // bytes of the inner CARv1; -1 when only the end tells
	rest   *bufio.Reader // what follows the payload: a CARv2's index
	index  int           // of the next block, for errors
	taken  int64         // bytes up to the end of the last whole section
}

func openCAR(r io.Reader) (*carPayload, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	p := &carPayload{whole: -1, rest: br, count: &countingReader{r: br}}
	if first, err := br.Peek(car.PragmaSize); err == nil && bytes.Equal(first, car.Pragma) {
		size, err := openCARv2(br)
		if err != nil {
			return nil, err
		}
		p.whole = size
		p.count.r = bufio.NewReader(io.LimitReader(br, size))
	}
	blocks, err := car.NewBlockReader(p.count,
		car.WithTrustedCAR(true), // each block goes through block.New instead
		car.MaxAllowedHeaderSize(maxCARHeader),
		car.MaxAllowedSectionSize(maxCARSection))
	if err != nil {
		return nil, carError("read its header", err, p.count.err)
	}
	if blocks.Version != 1 {
		return nil, badInput("CAR: its payload has version %d, expected 1", blocks.Version)
	}
	p.blocks, p.taken = blocks, p.count.n
	return p, p.checkRoots()
}

// openCARv2 reads up to the inner CARv1 and returns its size.
func openCARv2(br *bufio.Reader) (int64, error) {
	if _, err := br.Discard(car.PragmaSize); err != nil {
		return 0, carError("read its header", err, nil)
	}
	var h car.Header
	if _, err := h.ReadFrom(br); err != nil {
		return 0, carError("read its header", err, nil)
	}
	padding := int64(h.DataOffset) - car.PragmaSize - car.HeaderSize
	if padding < 0 || int64(h.DataSize) <= 0 {
		return 0, badInput("CAR: its header gives a payload of %d bytes at %d", h.DataSize, h.DataOffset)
	}
	if _, err := io.CopyN(io.Discard, br, padding); err != nil {
		return 0, carError("skip to its payload", err, nil)
	}
	return int64(h.DataSize), nil
}

func (p *carPayload) checkRoots() error {
	seen := map[string]bool{}
	for _, root := range p.blocks.Roots {
		if err := block.CheckCID(root); err != nil {
			return badInput("CAR: root: %w", err)
		}
		if _, inline := dag.Inline(root); inline {
			return badInput("CAR: root %s is an identity CID, which names no block", root)
		}
		if !seen[Owner(root)] {
			seen[Owner(root)] = true
			p.roots = append(p.roots, root)
		}
	}
	if len(p.roots) == 0 {
		return badInput("CAR: it names no root, so there is nothing to import it as")
	}
	return nil
}

// next returns the next block, verified, or io.EOF after the last one.
func (p *carPayload) next() (*block.Verified, error) {
	raw, err := p.blocks.Next()
	if err == io.EOF && p.count.err == nil {
		return nil, p.close()
	}
	if err != nil {
		return nil, carError(fmt.Sprintf("block %d, at byte %d", p.index, p.taken), err, p.count.err)
	}
	b, err := block.New(raw.Cid(), raw.RawData())
	if err != nil {
		return nil, badInput("CAR: block %d, at byte %d: %w", p.index, p.taken, err)
	}
	p.index++
	p.taken = p.count.n
	return b, nil
}

// close checks that the payload ended where it should, and returns io.EOF.
func (p *carPayload) close() error {
	if p.count.n != p.taken || (p.whole >= 0 && p.count.n != p.whole) {
		return badInput("CAR: it is cut off after block %d, at byte %d", p.index, p.count.n)
	}
	if _, err := io.Copy(io.Discard, p.rest); err != nil {
		return fmt.Errorf("CAR: read what follows the blocks: %w", err)
	}
	return io.EOF
}

// carError tells a stream that could not be read from one that is wrong. A stream
// that ends too early is the sender's fault, too.
func carError(doing string, err, readErr error) error {
	if readErr != nil && !errors.Is(readErr, io.ErrUnexpectedEOF) {
		return fmt.Errorf("CAR: %s: %w", doing, readErr)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badInput("CAR: %s: it is cut off", doing)
	}
	return badInput("CAR: %s: %w", doing, err)
}

// countingReader counts the bytes that were taken, and keeps a read error: go-car
// returns some of them as the end of the archive.
type countingReader struct {
	r   *bufio.Reader
	n   int64
	err error
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	return n, c.took(n, err)
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err != nil {
		return 0, c.took(0, err)
	}
	return b, c.took(1, nil)
}

func (c *countingReader) took(n int, err error) error {
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return err
}
