package origin

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// writeCAR writes blocks with go-car and returns the path.
func writeCAR(t testing.TB, path string, bs []*block.Verified, opts ...car.Option) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := storage.NewReadableWritable(f, []cid.Cid{bs[0].Cid()}, append(opts, car.AllowDuplicatePuts(true))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bs {
		if err := w.Put(context.Background(), b.Cid().KeyString(), b.RawData()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finalize(); err != nil {
		t.Fatal(err)
	}
	return path
}

func carOptions(paths ...string) Options {
	o := DefaultOptions()
	for _, p := range paths {
		o.Origins = append(o.Origins, Spec{Type: TypeCAR, Path: p})
	}
	return o
}

// someBlocks returns blocks of many sizes: none, tiny, around the buffers of the
// scanner, and the largest.
func someBlocks(t testing.TB) []*block.Verified {
	var bs []*block.Verified
	for _, size := range []int{100, 0, 1, 127, 128, 4 << 10, farAway - 1, farAway, nearRead - 40, nearRead, 256 << 10, 7, 8, block.MaxSize, 9, 10} {
		bs = append(bs, makeBlock(t, size))
	}
	return bs
}

var flavours = map[string][]car.Option{
	"v1":                 {car.WriteAsCarV1(true)},
	"v2":                 {},
	"v2 padded":          {car.UseDataPadding(1413), car.UseIndexPadding(42)},
	"v2 with identities": {car.StoreIdentityCIDs(true)},
}

func TestCARServesEveryBlock(t *testing.T) {
	bs := someBlocks(t)
	for name, opts := range flavours {
		t.Run(name, func(t *testing.T) {
			s := open(t, carOptions(writeCAR(t, filepath.Join(t.TempDir(), "x.car"), bs, opts...)))
			for _, b := range bs {
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Error(err)
				}
			}
			if err := fetch(t, s, t.Context(), makeBlock(t, 10).Cid()); !ipld.IsNotFound(err) {
				t.Errorf("a block that is not there: %v", err)
			}
			if roots := s.Roots(); len(roots) != 1 || roots[0] != bs[0].Cid() {
				t.Errorf("roots: %s", roots)
			}
			if ok, nf := requests(s, outcomeOK), requests(s, outcomeNotFound); ok != len(bs) || nf != 1 {
				t.Errorf("%d ok, %d not found", ok, nf)
			}
		})
	}
}

func TestCARIsLookedUpByMultihash(t *testing.T) {
	b := makeBlock(t, 1000)
	s := open(t, carOptions(writeCAR(t, t.TempDir()+"/x.car", []*block.Verified{b})))
	for _, c := range []cid.Cid{cid.NewCidV0(b.Cid().Hash()), cid.NewCidV1(cid.DagCBOR, b.Cid().Hash())} {
		if err := fetch(t, s, t.Context(), c); err != nil {
			t.Error(err)
		}
	}
}

func TestIdentityCIDsNeedNoOrigin(t *testing.T) {
	s := open(t, DefaultOptions())
	mh, _ := multihash.Sum([]byte("inline"), multihash.IDENTITY, -1)
	if err := fetch(t, s, t.Context(), cid.NewCidV1(cid.Raw, mh)); err != nil {
		t.Error(err)
	}
	mh, _ = multihash.Sum(make([]byte, 200), multihash.IDENTITY, -1)
	if err := fetch(t, s, t.Context(), cid.NewCidV1(cid.Raw, mh)); !errors.Is(err, block.ErrUnsupported) {
		t.Errorf("oversized: %v", err)
	}
	if err := fetch(t, s, t.Context(), makeBlock(t, 1).Cid()); !ipld.IsNotFound(err) {
		t.Errorf("no origins: %v", err)
	}
}

func TestCARFolder(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	bs := someBlocks(t)
	shared := bs[3]
	os.MkdirAll(filepath.Join(dir, "deep", "er"), 0o755)
	writeCAR(t, filepath.Join(dir, "a.car"), append([]*block.Verified{shared}, bs[:8]...), flavours["v1"]...)
	// A block of no bytes at the very end of a file, and a link as in a mounted volume.
	writeCAR(t, filepath.Join(dir, "deep", "er", "b.CAR"), []*block.Verified{shared, shared, bs[8], bs[1]}, flavours["v1"]...)
	writeCAR(t, filepath.Join(elsewhere, "c"), bs[8:])
	os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("not an archive"), 0o644)
	if err := os.Symlink(filepath.Join(elsewhere, "c"), filepath.Join(dir, "deep", "c.car")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(elsewhere, "link")
	os.Symlink(dir, link)
	for _, path := range []string{dir, link} {
		s := open(t, carOptions(path))
		for _, b := range bs {
			if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCARDamagedCopyIsReplacedByAnother(t *testing.T) {
	dir := t.TempDir()
	b := makeBlock(t, 1000)
	first := writeCAR(t, filepath.Join(dir, "1.car"), []*block.Verified{b})
	writeCAR(t, filepath.Join(dir, "2.car"), []*block.Verified{b})
	s := open(t, carOptions(dir))
	overwrite(t, first, 500, []byte("damage"))
	if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t testing.TB, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

func TestCARChangedWhileServing(t *testing.T) {
	b, other := makeBlock(t, 10_000), makeBlock(t, 10_000)
	for name, tc := range map[string]struct {
		change func(path string) error
		want   string // "" when the block is still served
	}{
		"cut short":   {func(p string) error { return os.Truncate(p, 5000) }, "cut short since it was opened"},
		"emptied":     {func(p string) error { return os.Truncate(p, 0) }, "cut short since it was opened"},
		"overwritten": {func(p string) error { overwrite(t, p, 4000, []byte("damage")); return nil }, "damaged"},
		"another one in place": {func(p string) error {
			data, err := os.ReadFile(writeCAR(t, t.TempDir()+"/y.car", []*block.Verified{other}))
			overwrite(t, p, 0, data)
			return err
		}, "damaged"},
		"renamed over": {func(p string) error {
			return os.Rename(writeCAR(t, p+".new", []*block.Verified{other}), p)
		}, ""},
		"removed": {os.Remove, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeCAR(t, t.TempDir()+"/x.car", []*block.Verified{b})
			s := open(t, carOptions(path))
			if err := tc.change(path); err != nil {
				t.Fatal(err)
			}
			err := fetch(t, s, t.Context(), b.Cid())
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var unavailable *block.UnavailableError
			if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want ...%s...", err, tc.want)
			}
		})
	}
}

func TestCARAfterClose(t *testing.T) {
	b := makeBlock(t, 10)
	s := open(t, carOptions(writeCAR(t, t.TempDir()+"/x.car", []*block.Verified{b})))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for fetch(t, s, context.Background(), b.Cid()) == nil {
			}
		})
	}
	s.Close()
	wg.Wait()
	var unavailable *block.UnavailableError
	if err := fetch(t, s, t.Context(), b.Cid()); !errors.As(err, &unavailable) {
		t.Fatalf("got %v", err)
	}
}

// section returns a section of an archive, with a length of its own if given.
func sectionOf(c cid.Cid, data []byte, length ...uint64) []byte {
	n := uint64(c.ByteLen() + len(data))
	if len(length) > 0 {
		n = length[0]
	}
	return append(append(varint.ToUvarint(n), c.Bytes()...), data...)
}

func headerV1(t testing.TB, root cid.Cid) []byte {
	var buf bytes.Buffer
	w, err := storage.NewWritable(&buf, []cid.Cid{root}, car.WriteAsCarV1(true))
	if err != nil {
		t.Fatal(err)
	}
	_ = w
	return buf.Bytes()
}

func headerV2(offset, size, index uint64) []byte {
	h := append([]byte(nil), car.Pragma...)
	h = append(h, make([]byte, 16)...)
	for _, v := range []uint64{offset, size, index} {
		h = binary.LittleEndian.AppendUint64(h, v)
	}
	return h
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestMalformedCARIsRefused(t *testing.T) {
	a, b := makeBlock(t, 100), makeBlock(t, 200)
	head := headerV1(t, a.Cid())
	good := sectionOf(a.Cid(), a.RawData())
	at := fmt.Sprintf("offset %d: ", len(head)+len(good))
	big := make([]byte, block.MaxSize+1)
	after := func(tail ...byte) []byte { return join(head, good, tail) }
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"empty file":              {nil, "offset 0: "},
		"a web page":              {[]byte("<!doctype html><html><head><title>Not a CAR"), "not a CAR file?"},
		"header of a gigabyte":    {join(varint.ToUvarint(1<<30), head), "not a CAR file?"},
		"header cut":              {head[:20], "cut short within the header"},
		"header is no CBOR":       {join([]byte{5}, []byte("hello")), "offset 0: malformed archive: header"},
		"version 3":               {append([]byte{0x0a, 0xa1, 0x67}, "version\x03"...), "invalid car version"},
		"payload cut":             {join(head, good, sectionOf(b.Cid(), b.RawData())[:50]), at + "malformed archive: cut short"},
		"CID cut":                 {join(head, good, sectionOf(b.Cid(), nil)[:10]), at + "malformed archive: cut short"},
		"section past the end":    {join(head, good, sectionOf(b.Cid(), b.RawData(), 100_000)), at + "malformed archive: cut short"},
		"section of 2^62":         {join(head, good, sectionOf(b.Cid(), b.RawData(), 1<<62)), at + "malformed archive: cut short"},
		"varint too long":         {after(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), at + "malformed archive: length"},
		"varint not minimal":      {after(0x81, 0x00), at + "malformed archive: length"},
		"varint cut":              {after(0x81), at + "malformed archive: length"},
		"section without CID":     {join(head, good, []byte{3, 1, 0x55, 0x12}), at + "malformed archive: CID"},
		"CID longer than section": {join(head, good, sectionOf(b.Cid(), b.RawData(), 20)), at + "malformed archive: CID"},
		"zero then data":          {join(head, good, []byte{0, 0}, sectionOf(b.Cid(), b.RawData())), at + "malformed archive: a section of length zero"},
		"block too large":         {join(head, good, sectionOf(cidOf(t, big), big)), at + "block "},
		"v2 cut in its header":    {headerV2(51, 100, 0)[:30], "offset 11: "},
		"v2 cut in its data":      {join(headerV2(51, uint64(len(head)+1000), 0), head), "offset 11: malformed archive: cut short"},
		"v2 data past the end":    {join(headerV2(1<<40, 100, 0), head), "offset 11: malformed archive: cut short"},
		"v2 lengths overflow":     {join(headerV2(1<<62, 1<<63-1, 0), head), "offset 11: malformed archive: cut short"},
		"v2 offset in its header": {join(headerV2(3, 100, 0), head), "offset 11: "},
		"v2 within v2":            {join(headerV2(51, 62, 0), headerV2(51, 100, 0), head), "invalid data payload header version"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/bad.car"
			if err := os.WriteFile(path, tc.data, 0o644); err != nil {
				t.Fatal(err)
			}
			good := writeCAR(t, t.TempDir()+"/good.car", []*block.Verified{a})
			files := openFiles(t)
			s, err := New(carOptions(good, path), nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err == nil || s != nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want ...%s...", err, tc.want)
			}
			if len(err.Error()) > 600 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			if n := openFiles(t); n != files {
				t.Errorf("%d files open, %d before", n, files)
			}
		})
	}
}

// openFiles counts this process's file descriptors, where the system shows them.
func openFiles(t testing.TB) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}

func TestPaddedCARIsAccepted(t *testing.T) {
	a, b := makeBlock(t, 100), makeBlock(t, 0)
	data := join(headerV1(t, a.Cid()), sectionOf(a.Cid(), a.RawData()), sectionOf(b.Cid(), b.RawData()), make([]byte, 200_000))
	path := t.TempDir() + "/x.car"
	os.WriteFile(path, data, 0o644)
	s := open(t, carOptions(path))
	for _, x := range []*block.Verified{a, b} {
		if err := fetch(t, s, t.Context(), x.Cid()); err != nil {
			t.Error(err)
		}
	}
}

func TestSectionsNobodyCanAskForAreSkipped(t *testing.T) {
	a := makeBlock(t, 100)
	inline, _ := multihash.Sum(make([]byte, 500), multihash.IDENTITY, -1)
	md5, _ := multihash.Sum([]byte("x"), multihash.MD5, -1)
	data := join(headerV1(t, a.Cid()), sectionOf(cid.NewCidV1(cid.Raw, inline), make([]byte, 500)),
		sectionOf(cid.NewCidV1(cid.Raw, md5), []byte("x")), sectionOf(a.Cid(), a.RawData()))
	path := t.TempDir() + "/x.car"
	os.WriteFile(path, data, 0o644)
	s := open(t, carOptions(path))
	if err := fetch(t, s, t.Context(), a.Cid()); err != nil {
		t.Error(err)
	}
	if n := s.origins()[0].source.(*archives).index.len; n != 1 {
		t.Errorf("%d blocks indexed, want 1", n)
	}
}

func TestCARv2WithoutIndex(t *testing.T) {
	b := makeBlock(t, 100)
	v1 := join(headerV1(t, b.Cid()), sectionOf(b.Cid(), b.RawData()))
	path := t.TempDir() + "/x.car"
	os.WriteFile(path, join(headerV2(51, uint64(len(v1)), 0), v1, []byte("what follows the data does not matter")), 0o644)
	if err := fetch(t, open(t, carOptions(path)), t.Context(), b.Cid()); err != nil {
		t.Error(err)
	}
}

func TestLyingEmbeddedIndexChangesNothing(t *testing.T) {
	bs := someBlocks(t)
	path := writeCAR(t, t.TempDir()+"/x.car", bs)
	data, _ := os.ReadFile(path)
	var h car.Header
	if _, err := h.ReadFrom(bytes.NewReader(data[car.PragmaSize:])); err != nil {
		t.Fatal(err)
	}
	for i := h.IndexOffset; i < uint64(len(data)); i++ {
		data[i] ^= 0x55
	}
	os.WriteFile(path, data, 0o644)
	s := open(t, carOptions(path))
	for _, b := range bs {
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
			t.Error(err)
		}
	}
}

// TestCutAndFlipped damages an archive everywhere: it is refused, or what it
// serves is right.
func TestCutAndFlipped(t *testing.T) {
	bs := []*block.Verified{makeBlock(t, 50), makeBlock(t, 0), makeBlock(t, 300), makeBlock(t, 20)}
	for name, opts := range flavours {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(writeCAR(t, t.TempDir()+"/x.car", bs, opts...))
			if err != nil {
				t.Fatal(err)
			}
			for i := range good {
				served(t, bytes.NewReader(good[:i]), bs)
				for _, mask := range []byte{0x01, 0x80, 0xff} {
					bad := bytes.Clone(good)
					bad[i] ^= mask
					served(t, bytes.NewReader(bad), bs)
				}
			}
		})
	}
}

// served indexes an archive in memory and reads every place that blocks are
// looked up at.
func served(t testing.TB, r *bytes.Reader, bs []*block.Verified) {
	x := newIndex()
	if _, _, err := x.addArchive(r, r.Size(), 0); err != nil {
		if !strings.Contains(err.Error(), "offset ") {
			t.Errorf("an error without an offset: %v", err)
		}
		return
	}
	x.seal()
	for _, shard := range x.shards {
		for _, e := range shard {
			data := make([]byte, e.place.length())
			if n, err := r.ReadAt(data, e.place.offset()); n < len(data) {
				t.Fatalf("an entry past the end: %d bytes at %d of %d: %v", len(data), e.place.offset(), r.Size(), err)
			}
		}
	}
	for _, b := range bs {
		for p := range x.places(b.Cid().Hash()) {
			data := make([]byte, p.length())
			r.ReadAt(data, p.offset())
			if _, err := block.New(b.Cid(), data); err != nil && !errors.Is(err, block.ErrMismatch) {
				t.Errorf("neither right nor a mismatch: %v", err)
			}
		}
	}
}

func FuzzOpenCAR(f *testing.F) {
	// Every fuzzing process must make the same ones.
	bs := []*block.Verified{rawBlock(f, []byte("herring")), rawBlock(f, nil), rawBlock(f, bytes.Repeat([]byte("sprat"), 60))}
	for _, opts := range flavours {
		data, err := os.ReadFile(writeCAR(f, f.TempDir()+"/x.car", bs, opts...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(headerV2(1<<62, 1<<63-1, 0))
	f.Add(join(headerV1(f, bs[0].Cid()), make([]byte, 100)))
	f.Fuzz(func(t *testing.T, data []byte) { served(t, bytes.NewReader(data), bs) })
}

func TestWrongPathsAreRefused(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.car")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Skip(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "no such file",
		t.TempDir():                   "no *.car file",
		pipe:                          "not a regular file",
	} {
		if _, err := New(carOptions(path), nil, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ...%s...", path, err, want)
		}
	}
}

// countingReader counts the bytes that are read of an archive that is mostly a
// hole.
type countingReader struct {
	io.ReaderAt
	n int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// TestOpeningSkipsThePayloads indexes 5 GiB of sections that exist only as a
// pattern.
func TestOpeningSkipsThePayloads(t *testing.T) {
	const blocks = 5 << 10
	head := headerV1(t, makeBlock(t, 1).Cid())
	prefix := sectionOf(makeBlock(t, 1).Cid(), nil, 36+1<<20)
	r := &patternReader{head: head, prefix: prefix, every: int64(len(prefix) + 1<<20)}
	c := &countingReader{ReaderAt: r}
	x := newIndex()
	if _, _, err := x.addArchive(c, int64(len(head))+blocks*r.every, 0); err != nil {
		t.Fatal(err)
	}
	x.seal()
	if x.len != blocks || x.bytes() != 16*blocks {
		t.Errorf("%d blocks in %d bytes", x.len, x.bytes())
	}
	if c.n > blocks*farRead+2*nearRead {
		t.Errorf("read %d bytes for %d blocks", c.n, blocks)
	}
}

// patternReader is an archive of any size: a header and then, every so many
// bytes, the prefix of a section.
type patternReader struct {
	head, prefix []byte
	every        int64
}

func (r *patternReader) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		if at < int64(len(r.head)) {
			p[i] = r.head[at]
			continue
		}
		p[i] = 0
		if in := (at - int64(len(r.head))) % r.every; in < int64(len(r.prefix)) {
			p[i] = r.prefix[in]
		}
	}
	return len(p), nil
}

// BenchmarkOpenCAR indexes an archive of small blocks and reports the memory that
// stays.
func BenchmarkOpenCAR(b *testing.B) {
	const blocks = 1 << 18
	var buf bytes.Buffer
	buf.Write(headerV1(b, makeBlock(b, 1).Cid()))
	for i := range uint64(blocks) {
		data := binary.LittleEndian.AppendUint64(make([]byte, 100), i)
		buf.Write(sectionOf(cidOf(b, data), data))
	}
	r := bytes.NewReader(buf.Bytes())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var x *index
	for b.Loop() {
		x = newIndex()
		if _, _, err := x.addArchive(r, r.Size(), 0); err != nil {
			b.Fatal(err)
		}
		x.seal()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/blocks, "B/block")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blocks, "ns/block")
	runtime.KeepAlive(x)
	runtime.KeepAlive(r)
}
