package blockstore

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// The file "references" says who holds what, and which records of the segments
// are dead. It is a log: a header, twice, and records.
//
//	header   0  "SHOALREF"
//	         8  u32 version = 1
//	        12  u32 salt, random
//	        16  u32 CRC of bytes 0..16
//	        20  12 zero bytes
//
//	record   0  u32 CRC of bytes 4..16, started with the salt
//	         4  u32 CRC of the payload, started with the salt
//	         8  u32 length of the payload
//	        12  u32 kind
//	        16  payload
//
//	kind 1   hold: owner, u32 count, count times uvarint length and multihash
//	kind 2   commit: owner, u64 number of references in the holds since the last
//	kind 3   release: owner
//	kind 4   dead: any number of u32 segment, u32 offset of the data
//
// where owner is a u16 length and a name. Holds count once their commit is there.
//
// A torn record at the end is cut off. A record that went bad in the middle is
// passed over, with all that follows up to the next record whose CRCs fit; no
// name or multihash that someone chose can pass for one, because they do not know
// the salt. The log is rewritten when more than half of it no longer matters.
const (
	reflogMagic        = "SHOALREF"
	reflogHeaderSize   = 2 * reflogHeaderCopy
	reflogHeaderCopy   = 32
	reflogRecordHeader = 16
	deadRecordSize     = reflogRecordHeader + 8

	// holdPayload is the length at which a hold is split; maxPayload is what a
	// record may claim when the log is read.
	holdPayload = 256 << 10
	maxPayload  = 1 << 20
)

type recordKind uint32

const (
	kindHold recordKind = iota + 1
	kindCommit
	kindRelease
	kindDead
)

// referenceLog is guarded by Store.mu.
type referenceLog struct {
	file    file
	salt    uint32
	size    int64
	garbage int64 // bytes of records that no longer matter
	// distrusted is set when a sync failed. It is cleared by rewriting the log.
	distrusted bool
}

// createReferenceLog writes an empty log and puts it in place when it is durable.
func createReferenceLog(fsys fileSystem) (*referenceLog, error) {
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	l, err := createReferenceTemp(fsys, binary.LittleEndian.Uint32(salt[:]))
	if err != nil {
		return nil, err
	}
	if err := l.install(fsys); err != nil {
		return nil, err
	}
	if err := fsys.syncDir(); err != nil {
		return nil, errors.Join(fmt.Errorf("sync the folder: %w", err), l.file.Close())
	}
	return l, nil
}

// createReferenceTemp makes a log under its temporary name.
func createReferenceTemp(fsys fileSystem, salt uint32) (*referenceLog, error) {
	f, err := fsys.open(reflogTemp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", reflogTemp, err)
	}
	l := &referenceLog{file: f, salt: salt, size: reflogHeaderSize}
	half := make([]byte, 0, reflogHeaderCopy)
	half = append(half, reflogMagic...)
	half = binary.LittleEndian.AppendUint32(half, formatVersion)
	half = binary.LittleEndian.AppendUint32(half, salt)
	half = binary.LittleEndian.AppendUint32(half, checksum(half))
	half = half[:reflogHeaderCopy]
	if _, err := f.WriteAt(bytes.Repeat(half, 2), 0); err != nil {
		return nil, l.discard(fsys, fmt.Errorf("write %s: %w", reflogTemp, err))
	}
	return l, nil
}

// install makes the log durable and gives it its name, which takes another sync of
// the folder to be durable, too.
func (l *referenceLog) install(fsys fileSystem) error {
	if err := l.file.Sync(); err != nil {
		return l.discard(fsys, fmt.Errorf("sync %s: %w", reflogTemp, err))
	}
	if err := fsys.rename(reflogTemp, reflogName); err != nil {
		return l.discard(fsys, fmt.Errorf("rename %s: %w", reflogTemp, err))
	}
	return nil
}

func (l *referenceLog) discard(fsys fileSystem, err error) error {
	return errors.Join(err, l.file.Close(), fsys.remove(reflogTemp))
}

// openReferenceLog reads the header. It changes nothing.
func openReferenceLog(fsys fileSystem) (*referenceLog, error) {
	f, err := fsys.open(reflogName, 0)
	if err != nil {
		return nil, err
	}
	l := &referenceLog{file: f}
	if err := l.readHeader(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *referenceLog) readHeader() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	b := make([]byte, reflogHeaderSize)
	if _, err := l.file.ReadAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", reflogName, err)
	}
	for _, half := range [][]byte{b[:reflogHeaderCopy], b[reflogHeaderCopy:]} {
		if string(half[:8]) != reflogMagic || checksum(half[:16]) != binary.LittleEndian.Uint32(half[16:]) {
			continue
		}
		if v := binary.LittleEndian.Uint32(half[8:]); v != formatVersion {
			return fmt.Errorf("%w: %s: format version %d, this program knows %d", ErrForeign, reflogName, v, formatVersion)
		}
		l.salt = binary.LittleEndian.Uint32(half[12:])
		return nil
	}
	return fmt.Errorf("%w: %s is damaged or not ours: restore it, or move it away to keep the blocks and lose what is pinned",
		ErrForeign, reflogName)
}

// append writes one record. A failed write leaves the log as it was.
func (l *referenceLog) append(kind recordKind, payload []byte) error {
	b := make([]byte, 4, reflogRecordHeader+len(payload))
	b = binary.LittleEndian.AppendUint32(b, crc32.Update(l.salt, castagnoli, payload))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(kind))
	binary.LittleEndian.PutUint32(b, crc32.Update(l.salt, castagnoli, b[4:]))
	b = append(b, payload...)
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		return errors.Join(fmt.Errorf("write to %s: %w", reflogName, err), l.file.Truncate(l.size))
	}
	l.size += int64(len(b))
	return nil
}

// undo takes off what was appended since the log had the given size.
func (l *referenceLog) undo(size int64) error {
	l.size = size
	if err := l.file.Truncate(size); err != nil {
		l.distrusted = true
		return fmt.Errorf("cut %s: %w", reflogName, err)
	}
	return nil
}

func (l *referenceLog) sync() error {
	if err := l.file.Sync(); err != nil {
		l.distrusted = true
		return fmt.Errorf("sync %s: %w", reflogName, err)
	}
	return nil
}

type logRecordHeader struct {
	crc    uint32
	length int64
	kind   recordKind
}

func (l *referenceLog) decode(b []byte) (logRecordHeader, bool) {
	if len(b) < reflogRecordHeader || crc32.Update(l.salt, castagnoli, b[4:16]) != binary.LittleEndian.Uint32(b) {
		return logRecordHeader{}, false
	}
	h := logRecordHeader{
		crc:    binary.LittleEndian.Uint32(b[4:]),
		length: int64(binary.LittleEndian.Uint32(b[8:])),
		kind:   recordKind(binary.LittleEndian.Uint32(b[12:])),
	}
	return h, h.length <= maxPayload
}

// read returns the payload of the record at offset.
func (l *referenceLog) read(offset int64) ([]byte, error) {
	b := make([]byte, reflogRecordHeader)
	if _, err := l.file.ReadAt(b, offset); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", reflogName, offset, err)
	}
	h, ok := l.decode(b)
	if !ok {
		return nil, fmt.Errorf("read %s at %d: %w", reflogName, offset, errBadHeader)
	}
	payload := make([]byte, h.length)
	if _, err := l.file.ReadAt(payload, offset+reflogRecordHeader); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", reflogName, offset, err)
	}
	if crc32.Update(l.salt, castagnoli, payload) != h.crc {
		return nil, fmt.Errorf("read %s at %d: %w", reflogName, offset, errBadRecord)
	}
	return payload, nil
}

// replay calls f for every good record in order, and cuts off a torn end. It
// returns how many stretches in the middle were bad. The payload is f's only
// until it returns.
func (l *referenceLog) replay(f func(offset int64, kind recordKind, payload []byte)) (damaged int, err error) {
	pos := int64(reflogHeaderSize)
	buf := make([]byte, min(maxPayload, l.size))
	in := bufio.NewReaderSize(nil, 64<<10)
	in.Reset(io.NewSectionReader(l.file, pos, l.size-pos))
	for pos < l.size {
		header, _ := in.Peek(reflogRecordHeader)
		h, ok := l.decode(header)
		if ok = ok && pos+reflogRecordHeader+h.length <= l.size; ok {
			in.Discard(reflogRecordHeader)
			if _, err := io.ReadFull(in, buf[:h.length]); err != nil {
				ok = false
			}
		}
		switch {
		case ok && crc32.Update(l.salt, castagnoli, buf[:h.length]) == h.crc:
			f(pos, h.kind, buf[:h.length])
			pos += reflogRecordHeader + h.length
			continue
		case ok && pos+reflogRecordHeader+h.length < l.size:
			damaged++
			pos += reflogRecordHeader + h.length
			continue
		}
		next, err := l.resync(pos + 1)
		if err != nil {
			return damaged, err
		}
		if next < 0 {
			break
		}
		damaged++
		pos = next
		in.Reset(io.NewSectionReader(l.file, pos, l.size-pos))
	}
	if pos >= l.size {
		return damaged, nil
	}
	return damaged, l.undo(pos)
}

// resync returns where the next record with a good header begins, or -1. It is
// only needed in a damaged log, so it may take memory.
func (l *referenceLog) resync(from int64) (int64, error) {
	rest := make([]byte, max(0, l.size-from))
	if n, err := l.file.ReadAt(rest, from); err != nil && err != io.EOF {
		return 0, fmt.Errorf("read %s at %d: %w", reflogName, from+int64(n), err)
	}
	for i := 0; i+reflogRecordHeader <= len(rest); i++ {
		h, ok := l.decode(rest[i:])
		if !ok || int64(len(rest)-i-reflogRecordHeader) < h.length {
			continue
		}
		if payload := rest[i+reflogRecordHeader:][:h.length]; crc32.Update(l.salt, castagnoli, payload) == h.crc {
			return from + int64(i), nil
		}
	}
	return -1, nil
}

func appendOwner(b []byte, name string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// cutOwner returns the owner's name at the start of a payload and what follows.
func cutOwner(b []byte) (string, []byte, bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if len(b) < 2+n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
