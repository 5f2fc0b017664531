package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// # Format of the files, version 1
//
// All integers are little-endian; every CRC is CRC-32C (Castagnoli). A folder holds
//
//	lock             empty; flock(2) on it says who owns the folder
//	references       who holds what, and which records are dead (reflog.go)
//	references.tmp   the same, being rewritten; removed on open
//	0000002a.seg     segment 0x2a: records of blocks
//
// and nothing else (a file system's own lost+found is let be).
//
// A segment is a header, records one after the other, and, once it is sealed, a
// footer:
//
//	header   0  "SHOALSEG"
//	         8  u32 version = 1
//	        12  u32 segment number, as in the name
//	        16  u64 nonce, random
//	        24  u32 class: 0 probation, 1 main, 2 held
//	        28  u32 CRC of bytes 0..28
//
//	record   0  u32 CRC of bytes 4..14 and the multihash, started with the nonce
//	         4  u32 CRC of the data
//	         8  u32 length of the data, at most 2 MiB
//	        12  u16 length of the multihash
//	        14  multihash, then data
//
//	footer   0  one entry per record: u32 offset of the data, u32 length of the
//	            data, u32 CRC of the data, u16 length of the multihash, multihash
//	  end - 32  u64 nonce, as in the header
//	  end - 24  u64 length of the entries
//	  end - 16  u32 number of entries
//	  end - 12  u32 CRC of the entries and of the 20 bytes above
//	  end -  8  "SHOALEND"
//
// A segment without a valid footer was being written when the process ended. It
// is read from the start and cut at the first record whose header is wrong; a
// record with a good header and wrong data is skipped. Data comes from strangers
// and may look like a footer or a record: the nonce, which they cannot know, makes
// sure that only what the store itself wrote is taken for one.
//
// A block moves from one segment to another by being copied and then forgotten
// with its old segment. When a crash leaves both, the one in the higher segment
// counts: they hold the same bytes.
const (
	formatVersion = 1

	segmentMagic  = "SHOALSEG"
	footerMagic   = "SHOALEND"
	segmentSuffix = ".seg"
	lockName      = "lock"
	reflogName    = "references"
	reflogTemp    = "references.tmp"

	segmentHeaderSize = 32
	recordHeaderSize  = 14
	footerEntrySize   = 14 // and the multihash
	trailerSize       = 32

	// maxMultihash bounds what a record's header may claim: the longest identity
	// digest that is accepted, or the longest digest of a hash function, with
	// code and length.
	maxMultihash = 256
)

var (
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	errBadHeader = errors.New("header damaged")
	errBadRecord = errors.New("checksum mismatch")
	errBadFooter = errors.New("footer damaged")
)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// class says what a segment collects, and so what becomes of it.
type class uint32

const (
	probation class = iota // blocks seen once
	main                   // blocks that were used
	held                   // blocks that arrived pinned, or were pinned when they moved
	classes
)

func (c class) String() string {
	switch c {
	case probation:
		return "probation"
	case main:
		return "main"
	case held:
		return "held"
	}
	return fmt.Sprintf("class(%d)", uint32(c))
}

func segmentName(id uint32) string { return fmt.Sprintf("%08x%s", id, segmentSuffix) }

// parseSegmentName reports whether name is one that segmentName makes.
func parseSegmentName(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || id == 0 || segmentName(uint32(id)) != name {
		return 0, false
	}
	return uint32(id), true
}

// segmentHeader is what the first bytes of a segment say.
type segmentHeader struct {
	id    uint32
	nonce uint64
	class class
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, 0, segmentHeaderSize)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, h.id)
	b = binary.LittleEndian.AppendUint64(b, h.nonce)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.class))
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// decodeSegmentHeader returns [ErrForeign] for an intact header of another
// version, and errBadHeader for anything that is no header.
func decodeSegmentHeader(b []byte) (segmentHeader, error) {
	if len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic ||
		checksum(b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return segmentHeader{}, errBadHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return segmentHeader{}, fmt.Errorf("%w: format version %d, this program knows %d", ErrForeign, v, formatVersion)
	}
	h := segmentHeader{
		id:    binary.LittleEndian.Uint32(b[12:]),
		nonce: binary.LittleEndian.Uint64(b[16:]),
		class: class(binary.LittleEndian.Uint32(b[24:])),
	}
	if h.class >= classes || h.id == 0 {
		return segmentHeader{}, errBadHeader
	}
	return h, nil
}

// record describes one stored block.
type record struct {
	hash   multihash.Multihash
	offset uint32 // of the data in the segment
	length uint32 // of the data
	crc    uint32 // of the data
}

// size is what the record takes in the segment, without its footer entry.
func (r record) size() int64 {
	return recordHeaderSize + int64(len(r.hash)) + int64(r.length)
}

// footprint is what a block takes on disk in all.
func footprint(hashLength, dataLength int) int64 {
	return int64(recordHeaderSize + footerEntrySize + 2*hashLength + dataLength)
}

func (r record) footprint() int64 { return footprint(len(r.hash), int(r.length)) }

// appendHeader appends the record's header and multihash.
func (r record) appendHeader(b []byte, nonce uint64) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, r.crc)
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.hash)))
	b = append(b, r.hash...)
	binary.LittleEndian.PutUint32(b[start:], headerChecksum(nonce, b[start+4:]))
	return b
}

func headerChecksum(nonce uint64, b []byte) uint32 {
	return crc32.Update(uint32(nonce^nonce>>32), castagnoli, b)
}

// decodeRecord reads the header at the start of b, which lies at offset in its
// segment. The multihash is a copy.
func decodeRecord(b []byte, offset int64, nonce uint64) (record, error) {
	if len(b) < recordHeaderSize {
		return record{}, errBadHeader
	}
	hashLength := int(binary.LittleEndian.Uint16(b[12:]))
	end := recordHeaderSize + hashLength
	if hashLength == 0 || hashLength > maxMultihash || len(b) < end ||
		headerChecksum(nonce, b[4:end]) != binary.LittleEndian.Uint32(b) {
		return record{}, errBadHeader
	}
	r := record{
		hash:   append(multihash.Multihash(nil), b[recordHeaderSize:end]...),
		offset: uint32(offset) + uint32(end),
		length: binary.LittleEndian.Uint32(b[8:]),
		crc:    binary.LittleEndian.Uint32(b[4:]),
	}
	if r.length > block.MaxSize {
		return record{}, errBadHeader
	}
	return r, nil
}

// appendEntry appends the record's footer entry.
func (r record) appendEntry(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.offset)
	b = binary.LittleEndian.AppendUint32(b, r.length)
	b = binary.LittleEndian.AppendUint32(b, r.crc)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.hash)))
	return append(b, r.hash...)
}

// nextEntry reads the entry at the start of b and returns what follows it. The
// multihash is part of b.
func nextEntry(b []byte) (record, []byte, error) {
	if len(b) < footerEntrySize {
		return record{}, nil, errBadHeader
	}
	end := footerEntrySize + int(binary.LittleEndian.Uint16(b[12:]))
	if len(b) < end {
		return record{}, nil, errBadHeader
	}
	return record{
		hash:   b[footerEntrySize:end:end],
		offset: binary.LittleEndian.Uint32(b),
		length: binary.LittleEndian.Uint32(b[4:]),
		crc:    binary.LittleEndian.Uint32(b[8:]),
	}, b[end:], nil
}

// appendTrailer turns entries into a footer.
func appendTrailer(entries []byte, count int, nonce uint64) []byte {
	length := len(entries)
	b := binary.LittleEndian.AppendUint64(entries, nonce)
	b = binary.LittleEndian.AppendUint64(b, uint64(length))
	b = binary.LittleEndian.AppendUint32(b, uint32(count))
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	return append(b, footerMagic...)
}

// trailer is what the last bytes of a sealed segment say.
type trailer struct {
	length int64 // of the entries
	count  int
	crc    uint32
}

func decodeTrailer(b []byte, nonce uint64) (trailer, bool) {
	if len(b) != trailerSize || string(b[24:]) != footerMagic || binary.LittleEndian.Uint64(b) != nonce {
		return trailer{}, false
	}
	return trailer{
		length: int64(binary.LittleEndian.Uint64(b[8:])),
		count:  int(binary.LittleEndian.Uint32(b[16:])),
		crc:    binary.LittleEndian.Uint32(b[20:]),
	}, true
}
