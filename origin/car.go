package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// maxCopies is how many damaged copies of one block are tried before giving up.
const maxCopies = 8

// archives is one CAR file, or a folder of them, served in place. The files are
// laid end to end, so that one number says which file and where in it.
type archives struct {
	files []archive
	index *index
	roots []cid.Cid
	meter *meter
}

type archive struct {
	name string
	base int64 // where this file begins when all are laid end to end
	size int64
	file *os.File
	info os.FileInfo // when it was opened
}

// openCAR opens and indexes the archive at path, or all *.car files below it.
func openCAR(path string, log *slog.Logger, m *meter) (*archives, error) {
	started := time.Now()
	paths, err := findCARs(path)
	if err != nil {
		return nil, err
	}
	a := &archives{index: newIndex(), meter: m}
	skipped := 0
	for _, p := range paths {
		n, err := a.add(p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open archive %s: %w", p, err), a.close())
		}
		skipped += n
	}
	a.index.seal()
	log.Info("archives opened", "path", path, "files", len(a.files), "blocks", a.index.len,
		"skipped", skipped, "roots", len(a.roots), "index_bytes", a.index.bytes(), "took", time.Since(started))
	return a, nil
}

// changed reports whether the files at path are other ones than those that were
// opened. What cannot be read now counts as changed: opening it will say why.
func (a *archives) changed(path string) bool {
	paths, err := findCARs(path)
	if err != nil || len(paths) != len(a.files) {
		return true
	}
	for i, p := range paths {
		now, err := os.Stat(p)
		was := a.files[i]
		if err != nil || p != was.name || !os.SameFile(now, was.info) || now.Size() != was.size || !now.ModTime().Equal(was.info.ModTime()) {
			return true
		}
	}
	return false
}

// findCARs returns path itself, or the *.car files below it in lexical order.
func findCARs(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	// WalkDir does not follow a link, not even its root.
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("archives: %w", err)
	}
	var paths []string
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.EqualFold(filepath.Ext(p), ".car") {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("archives below %s: %w", path, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("archives below %s: no *.car file there", path)
	}
	return paths, nil
}

// add opens and indexes one file. It returns how many sections nobody can ask for.
func (a *archives) add(path string) (skipped int, err error) {
	// Checked before opening: opening a named pipe waits for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("not a regular file (%s)", info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	// Listed first, so that close closes it whatever happens next.
	file := archive{name: path, file: f}
	if n := len(a.files); n > 0 {
		file.base = a.files[n-1].base + a.files[n-1].size
	}
	if info, err = f.Stat(); err == nil {
		file.size, file.info = info.Size(), info
	}
	a.files = append(a.files, file)
	if err != nil {
		return 0, err
	}
	roots, skipped, err := a.index.addArchive(f, file.size, file.base)
	a.roots = append(a.roots, roots...)
	return skipped, err
}

// addArchive indexes an archive of size bytes that begins at base.
func (x *index) addArchive(r io.ReaderAt, size, base int64) (roots []cid.Cid, skipped int, err error) {
	roots, start, end, err := readHeader(r, size)
	if err != nil {
		return nil, 0, err
	}
	s := &scanner{r: r, pos: start, end: end}
	for {
		sec, err := s.next()
		if err == io.EOF {
			return roots, skipped, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if !askable(sec.cid) {
			skipped++
			continue
		}
		if err := x.add(sec.cid.Hash(), base+sec.offset, sec.length); err != nil {
			return nil, 0, err
		}
	}
}

func (a *archives) get(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	if err := ctx.Err(); err != nil {
		return nil, &failure{outcome: outcomeCanceled, err: context.Cause(ctx)}
	}
	started := time.Now()
	b, err := a.read(ctx, c)
	a.meter.request(outcomeOf(err), started)
	return b, err
}

// read returns the first copy of the block that is intact.
func (a *archives) read(ctx context.Context, c cid.Cid) (*block.Verified, error) {
	var bad *failure
	tried := 0
	for p := range a.index.places(c.Hash()) {
		b, err := a.readAt(ctx, c, p)
		if err == nil {
			return b, nil
		}
		bad = cmp.Or(bad, err)
		if tried++; tried == maxCopies {
			break
		}
	}
	if bad != nil {
		return nil, bad
	}
	return nil, block.NotFound(c)
}

func (a *archives) readAt(ctx context.Context, c cid.Cid, p place) (*block.Verified, *failure) {
	if err := block.Reserve(ctx, int64(p.length())); err != nil {
		return nil, &failure{outcome: outcomeCanceled, err: err}
	}
	f := a.at(p.offset())
	offset := p.offset() - f.base
	data := make([]byte, p.length())
	n, err := f.file.ReadAt(data, offset)
	a.meter.bytes.Add(float64(n))
	// ReadAt may say io.EOF about a read that is complete.
	if n < len(data) {
		return nil, &failure{outcome: outcomeError, err: fmt.Errorf(
			"archive %s: read %d bytes at offset %d: %w%s", f.name, len(data), offset, err, changed(err))}
	}
	b, err := block.New(c, data)
	if err != nil {
		return nil, &failure{outcome: outcomeMismatch, err: fmt.Errorf(
			"archive %s: %d bytes at offset %d are damaged, or were changed since the archive was opened: %w", f.name, len(data), offset, err)}
	}
	return b, nil
}

// changed explains an end of file where there was none at opening.
func changed(err error) string {
	if errors.Is(err, io.EOF) {
		return ": it was cut short since it was opened"
	}
	return ""
}

// at returns the file that holds the payload at offset: the last one that begins
// before it. (Not at it: a payload of no bytes may lie at the very end of a file.)
func (a *archives) at(offset int64) *archive {
	i, _ := slices.BinarySearchFunc(a.files, offset, func(f archive, offset int64) int {
		return cmp.Compare(f.base, offset)
	})
	return &a.files[i-1]
}

func (a *archives) close() error {
	var errs []error
	for _, f := range a.files {
		errs = append(errs, f.file.Close())
	}
	return errors.Join(errs...)
}
