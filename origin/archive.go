package origin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"

	"github.com/shoal-cdn/shoal/block"
)

const (
	// maxHeader bounds the header of an archive: some 25 000 roots.
	maxHeader = 1 << 20
	// usualCID is enough for any CID that anybody asks for.
	usualCID = 256
	// maxCID is the longest CID that a section may have. Longer ones can only be
	// identity CIDs, which nobody asks an origin for.
	maxCID = 4 << 10
	// A section's length and CID are read with what follows them. After a payload of
	// less than farAway bytes, reading on is cheaper than skipping.
	farAway  = 32 << 10
	nearRead = 64 << 10
	farRead  = 512
)

// errMalformed is wrapped by what is wrong with an archive's content, as opposed
// to reading it.
var errMalformed = errors.New("malformed archive")

// section is one block of an archive.
type section struct {
	cid    cid.Cid
	offset int64 // of the payload, in the file
	length int   // of the payload
}

// readHeader returns the roots of a CARv1 or CARv2 and where the sections start
// and end (https://ipld.io/specs/transport/car/carv2/).
func readHeader(r io.ReaderAt, size int64) (roots []cid.Cid, start, end int64, err error) {
	if err := checkHeaderLength(r, size, 0); err != nil {
		return nil, 0, 0, err
	}
	end = size
	pragma := make([]byte, car.PragmaSize)
	if _, err := r.ReadAt(pragma, 0); err == nil && bytes.Equal(pragma, car.Pragma) {
		var h car.Header
		if _, err := h.ReadFrom(io.NewSectionReader(r, car.PragmaSize, size-car.PragmaSize)); err != nil {
			return nil, 0, 0, fmt.Errorf("offset %d: %w: CARv2 header: %w", car.PragmaSize, errMalformed, err)
		}
		if h.DataOffset > uint64(size) || h.DataSize > uint64(size)-h.DataOffset {
			return nil, 0, 0, fmt.Errorf("offset %d: %w: cut short: the CARv2 header promises %d bytes at %d, the file has %d",
				car.PragmaSize, errMalformed, h.DataSize, h.DataOffset, size)
		}
		end = int64(h.DataOffset + h.DataSize)
		if err := checkHeaderLength(r, end, int64(h.DataOffset)); err != nil {
			return nil, 0, 0, err
		}
	}
	// The reader stands behind the (inner) header afterwards: go-car reads no
	// further than it must.
	sr := io.NewSectionReader(r, 0, end)
	br, err := car.NewBlockReader(sr, car.MaxAllowedHeaderSize(maxHeader))
	if err != nil {
		return nil, 0, 0, fmt.Errorf("offset 0: %w: header: %w", errMalformed, err)
	}
	if br.Version != 1 && !bytes.Equal(pragma, car.Pragma) {
		return nil, 0, 0, fmt.Errorf("offset 0: %w: not the pragma of a CARv2", errMalformed)
	}
	start, err = sr.Seek(0, io.SeekCurrent)
	return br.Roots, start, end, err
}

// checkHeaderLength refuses what is no archive with a clear message, and before
// the parser makes room for a header of the length that the file claims.
func checkHeaderLength(r io.ReaderAt, end, at int64) error {
	var buf [varint.MaxLenUvarint63]byte
	n, err := r.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
	if err != nil && err != io.EOF {
		return err
	}
	length, used, err := varint.FromUvarint(buf[:n])
	switch {
	case err != nil:
		return fmt.Errorf("offset %d: %w: length of the header: %w", at, errMalformed, err)
	case length == 0 || length > maxHeader:
		return fmt.Errorf("offset %d: %w: header of %d bytes: not a CAR file?", at, errMalformed, length)
	case int64(length) > end-at-int64(used):
		return fmt.Errorf("offset %d: %w: a header of %d bytes, %d are left: cut short within the header, or not a CAR file?",
			at, errMalformed, length, end-at-int64(used))
	}
	return nil
}

// scanner walks over the sections of an archive, reading their lengths and CIDs.
type scanner struct {
	r   io.ReaderAt
	pos int64 // the next section
	end int64

	buf    []byte // bytes of the file from bufAt on
	bufAt  int64
	memory [nearRead]byte
	far    bool // the last payload was a long one
}

// next returns the next section, or io.EOF after the last.
func (s *scanner) next() (section, error) {
	if s.pos == s.end {
		return section{}, io.EOF
	}
	at := s.pos
	sec, err := s.parse()
	if err == io.EOF {
		return section{}, s.padding(at)
	}
	if err != nil {
		return section{}, fmt.Errorf("offset %d: %w", at, err)
	}
	s.pos = sec.offset + int64(sec.length)
	s.far = sec.length >= farAway
	return sec, nil
}

// parse reads the section at pos: a varint with the length of what follows, the
// CID, the payload. io.EOF stands for a length of zero.
func (s *scanner) parse() (section, error) {
	head, err := s.peek(varint.MaxLenUvarint63)
	if err != nil {
		return section{}, err
	}
	length, n, err := varint.FromUvarint(head)
	if err != nil {
		return section{}, fmt.Errorf("%w: length of a section: %w", errMalformed, err)
	}
	left := s.end - s.pos - int64(n)
	switch {
	case length == 0:
		return section{}, io.EOF
	case length > math.MaxInt64 || int64(length) > left:
		return section{}, fmt.Errorf("%w: cut short: a section of %d bytes, %d are left", errMalformed, length, left)
	}
	used, c, err := s.cid(n, length, usualCID)
	if err != nil {
		used, c, err = s.cid(n, length, maxCID)
	}
	if err != nil {
		return section{}, err
	}
	payload := length - uint64(used)
	if payload > block.MaxSize {
		return section{}, fmt.Errorf("block %.100s: %w: %d bytes, the limit is %d", c, block.ErrTooLarge, payload, block.MaxSize)
	}
	return section{cid: c, offset: s.pos + int64(n+used), length: int(payload)}, nil
}

// cid reads the CID that begins skip bytes behind pos, out of at most limit bytes
// of a section of length bytes.
func (s *scanner) cid(skip int, length uint64, limit int) (int, cid.Cid, error) {
	window := int(min(length, uint64(limit)))
	head, err := s.peek(skip + window)
	if err != nil {
		return 0, cid.Undef, err
	}
	used, c, err := cid.CidFromBytes(head[skip:])
	if err != nil {
		return 0, cid.Undef, fmt.Errorf("%w: CID of a section of %d bytes: %w", errMalformed, length, err)
	}
	return used, c, nil
}

// peek returns n bytes at pos, or fewer at the end of the archive.
func (s *scanner) peek(n int) ([]byte, error) {
	n = int(min(int64(n), s.end-s.pos))
	if from := s.pos - s.bufAt; from >= 0 && from+int64(n) <= int64(len(s.buf)) {
		return s.buf[from : from+int64(n)], nil
	}
	want := nearRead
	if s.far {
		want = max(n, farRead)
	}
	want = int(min(int64(want), s.end-s.pos))
	got, err := s.r.ReadAt(s.memory[:want], s.pos)
	if got < n {
		return nil, fmt.Errorf("read %d bytes: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	s.buf, s.bufAt = s.memory[:got], s.pos
	return s.buf[:n], nil
}

// padding accepts zeroes up to the end of the archive, which fill it up to the
// size of a Filecoin piece, and returns io.EOF for them.
func (s *scanner) padding(at int64) error {
	s.far = false
	for s.pos < s.end {
		b, err := s.peek(nearRead)
		if err != nil {
			return fmt.Errorf("offset %d: %w", s.pos, err)
		}
		for i, v := range b {
			if v != 0 {
				return fmt.Errorf("offset %d: %w: a section of length zero, and it is not padding: byte %#x at offset %d",
					at, errMalformed, v, s.pos+int64(i))
			}
		}
		s.pos += int64(len(b))
	}
	return io.EOF
}

// askable says whether anybody can ask for a block by this CID: identity CIDs are
// answered before any origin, and the others must be verifiable.
func askable(c cid.Cid) bool {
	return block.CheckCID(c) == nil && c.Prefix().MhType != multihash.IDENTITY
}
