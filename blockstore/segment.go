package blockstore

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync/atomic"
)

// segment is one file of records. Anyone who has acquired it may read it; what
// changes is guarded by Store.mu.
type segment struct {
	segmentHeader
	file file
	// users counts the readers, and one for the store itself. The file is closed
	// when the last one leaves, so that reclaiming never waits for a read, nor
	// takes the file away from under it.
	users atomic.Int64

	end     int64  // where the next record goes
	entries []byte // the footer so far; nil once it is on disk
	footer  int64  // length of the entries on disk; 0 while they are in memory
	count   int    // entries
	age     uint64 // its place in the queue: lower is reclaimed earlier

	live  int64    // footprints of the blocks whose place this is
	held  int64    // the part of live that owners hold
	dead  []uint32 // offsets of records that are not to come back
	dirty bool     // written to since the last sync
	// distrusted is set when a sync failed: the kernel may have thrown away what
	// was written, and will not say so again (PostgreSQL's "fsyncgate").
	distrusted bool
}

func createSegment(fsys fileSystem, h segmentHeader) (*segment, error) {
	f, err := fsys.open(segmentName(h.id), os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("create segment %d: %w", h.id, err)
	}
	g := newSegment(h, f)
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("create segment %d: %w", h.id, err), f.Close(), fsys.remove(segmentName(h.id)))
	}
	g.dirty = true
	return g, nil
}

func newSegment(h segmentHeader, f file) *segment {
	g := &segment{segmentHeader: h, file: f, end: segmentHeaderSize}
	g.users.Store(1)
	return g
}

// acquire keeps the file open until release; it reports false when the segment
// is gone.
func (g *segment) acquire() bool {
	for {
		n := g.users.Load()
		if n == 0 {
			return false
		}
		if g.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *segment) release() error {
	if g.users.Add(-1) > 0 {
		return nil
	}
	return g.file.Close()
}

// size is what the file takes, or will once it is sealed.
func (g *segment) size() int64 {
	return g.end + g.footer + int64(len(g.entries)) + trailerSize
}

// read fills buf with the data at offset and holds it against its CRC.
func (g *segment) read(buf []byte, offset, crc uint32) error {
	if err := g.fill(buf, offset); err != nil {
		return err
	}
	if checksum(buf) != crc {
		return errBadRecord
	}
	return nil
}

// fill fills buf with the data at offset, unchecked.
func (g *segment) fill(buf []byte, offset uint32) error {
	n, err := g.file.ReadAt(buf, int64(offset))
	switch {
	case n == len(buf):
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file ends early", errBadRecord)
	}
	return err
}

// joinBelow is the length of data up to which copying it behind its header is
// cheaper than a second system call.
const joinBelow = 32 << 10

// append writes a record and returns it with its offset. A failed write leaves
// the segment as it was.
func (g *segment) append(r record, data, scratch []byte) (record, error) {
	r.offset = uint32(g.end) + recordHeaderSize + uint32(len(r.hash))
	header := r.appendHeader(scratch[:0], g.nonce)
	var err error
	if len(data) <= joinBelow {
		_, err = g.file.WriteAt(append(header, data...), g.end)
	} else if _, err = g.file.WriteAt(header, g.end); err == nil {
		_, err = g.file.WriteAt(data, int64(r.offset))
	}
	if err != nil {
		return r, errors.Join(fmt.Errorf("write to segment %d: %w", g.id, err), g.file.Truncate(g.end))
	}
	g.end += r.size()
	g.entries = r.appendEntry(g.entries)
	g.count++
	g.dirty = true
	return r, nil
}

// seal writes the footer. When that fails, the segment works on without one: the
// entries stay in memory, and are found by reading the records after a restart.
func (g *segment) seal() error {
	if g.entries == nil {
		return nil
	}
	length := int64(len(g.entries))
	if _, err := g.file.WriteAt(appendTrailer(g.entries, g.count, g.nonce), g.end); err != nil {
		g.entries = g.entries[:length:length]
		return errors.Join(fmt.Errorf("seal segment %d: %w", g.id, err), g.file.Truncate(g.end))
	}
	g.entries, g.footer, g.dirty = nil, length, true
	return nil
}

// unseal takes the footer off again, so that records can be appended.
func (g *segment) unseal(entries []byte) error {
	if err := g.file.Truncate(g.end); err != nil {
		return fmt.Errorf("reopen segment %d: %w", g.id, err)
	}
	g.entries, g.footer = entries, 0
	return nil
}

// sync makes what was written durable.
func (g *segment) sync() error {
	if err := g.file.Sync(); err != nil {
		return fmt.Errorf("sync segment %d: %w", g.id, err)
	}
	return nil
}

// readFooter returns the entries of a sealed file of the given size, or false
// when it has no valid footer. It sets end, footer and count.
func (g *segment) readFooter(size int64) ([]byte, bool) {
	if size < segmentHeaderSize+trailerSize {
		return nil, false
	}
	tail := make([]byte, trailerSize)
	if _, err := g.file.ReadAt(tail, size-trailerSize); err != nil {
		return nil, false
	}
	t, ok := decodeTrailer(tail, g.nonce)
	if !ok || t.length < 0 || t.length > size-segmentHeaderSize-trailerSize {
		return nil, false
	}
	entries := make([]byte, t.length+trailerSize)
	end := size - int64(len(entries))
	if _, err := g.file.ReadAt(entries, end); err != nil || checksum(entries[:t.length+20]) != t.crc {
		return nil, false
	}
	g.end, g.footer, g.count = end, t.length, t.count
	return entries[:t.length:t.length], true
}

// scan reads the records one after the other, as far as their headers are valid,
// and sets end, entries and count. It returns how many had wrong data; they get
// no entry. A read error ends the scan like a bad header.
func (g *segment) scan(size int64) (bad int, err error) {
	g.end, g.entries, g.footer, g.count = segmentHeaderSize, []byte{}, 0, 0
	in := bufio.NewReaderSize(io.NewSectionReader(g.file, g.end, size-g.end), int(min(max(size, 1<<10), 256<<10)))
	crc := crc32.New(castagnoli)
	for {
		// Peek returns what there is when there is less.
		header, peekErr := in.Peek(recordHeaderSize + maxMultihash)
		r, headerErr := decodeRecord(header, g.end, g.nonce)
		if headerErr != nil {
			if peekErr == io.EOF {
				peekErr = nil
			}
			return bad, peekErr
		}
		in.Discard(recordHeaderSize + len(r.hash))
		crc.Reset()
		if _, err := io.CopyN(crc, in, int64(r.length)); err != nil {
			if err == io.EOF {
				err = nil
			}
			return bad, err
		}
		g.end += r.size()
		if crc.Sum32() != r.crc {
			bad++
			continue
		}
		g.entries = r.appendEntry(g.entries)
		g.count++
	}
}

// list returns the entries, from memory or from disk. When the footer on disk has
// gone bad since it was written, it returns what the records say, and an error.
func (g *segment) list() ([]byte, error) {
	if g.footer == 0 {
		return g.entries, nil
	}
	// The copy keeps scan and readFooter from touching this segment's state.
	probe := &segment{segmentHeader: g.segmentHeader, file: g.file}
	if entries, ok := probe.readFooter(g.size()); ok && probe.footer == g.footer {
		return entries, nil
	}
	if _, err := probe.scan(g.end); err != nil {
		return probe.entries, err
	}
	return probe.entries, errBadFooter
}

// eachEntry calls f for every record that entries describe.
func eachEntry(entries []byte, f func(record) error) error {
	for len(entries) > 0 {
		r, rest, err := nextEntry(entries)
		if err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
		entries = rest
	}
	return nil
}
