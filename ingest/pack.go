package ingest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Packed counts what [Pack] has read, or will read.
type Packed struct {
	Bytes int64 // of file content
	Files int64 // files and symlinks
}

// Measure walks paths as [Pack] would and returns what it would send. It fails
// where Pack would: on what cannot be sent, or when the names clash.
func Measure(ctx context.Context, paths []string) (Packed, error) {
	var total Packed
	err := walkPaths(ctx, paths, func(_, _ string, info fs.FileInfo) error {
		if info.Mode().IsRegular() {
			total.Bytes += info.Size()
		}
		if !info.IsDir() {
			total.Files++
		}
		return nil
	})
	return total, err
}

// Pack writes files and folders to w as the tar archive that [Ingester.Tar] reads.
//
// One folder is sent as its contents and becomes the root; one file becomes the
// root itself; several paths are sent under their last names, and a folder around
// them becomes the root. Everything below a folder is sent, hidden files too.
// Symlinks are sent as symlinks and never followed, except a path that is one
// itself: naming it means what it points to. A device, socket or named pipe is an
// error. Entries come in the order of their names, without owners and times, so
// that the same content gives the same bytes.
//
// progress may be nil. Pack stops at the next read when ctx ends.
func Pack(ctx context.Context, w io.Writer, paths []string, progress func(Packed)) error {
	if progress == nil {
		progress = func(Packed) {}
	}
	p := &packer{ctx: ctx, tw: tar.NewWriter(w), buf: make([]byte, 256<<10), progress: progress}
	if err := walkPaths(ctx, paths, p.add); err != nil {
		return err
	}
	if err := p.tw.Close(); err != nil {
		return fmt.Errorf("send the end of the archive: %w", err)
	}
	return nil
}

type packer struct {
	ctx      context.Context
	tw       *tar.Writer
	buf      []byte
	done     Packed
	progress func(Packed)
}

// add sends one entry.
func (p *packer) add(name, file string, info fs.FileInfo) error {
	hdr := &tar.Header{Name: name, ModTime: time.Unix(0, 0)}
	switch {
	case info.IsDir():
		hdr.Typeflag, hdr.Mode, hdr.Name = tar.TypeDir, 0o755, name+"/"
		return p.header(hdr, file)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		hdr.Typeflag, hdr.Mode, hdr.Linkname = tar.TypeSymlink, 0o777, filepath.ToSlash(target)
		p.done.Files++
		defer func() { p.progress(p.done) }()
		return p.header(hdr, file)
	}
	return p.addFile(hdr, file)
}

func (p *packer) addFile(hdr *tar.Header, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// The size of what was opened; the file may have been replaced since the walk.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: it was replaced while it was being read", file)
	}
	hdr.Typeflag, hdr.Mode, hdr.Size = tar.TypeReg, 0o644, info.Size()
	if err := p.header(hdr, file); err != nil {
		return err
	}
	// Hide tar.Writer's ReadFrom and os.File's WriteTo, which do without the buffer.
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, &packedFile{p: p, r: f}, p.buf)
	switch {
	case errors.Is(err, tar.ErrWriteTooLong), err == nil && n < hdr.Size:
		return fmt.Errorf("%s: its size changed while it was being read", file)
	case err != nil:
		return fmt.Errorf("send %s: %w", file, err)
	}
	p.done.Files++
	p.progress(p.done)
	return nil
}

func (p *packer) header(hdr *tar.Header, file string) error {
	if err := p.tw.WriteHeader(hdr); err != nil {
		return fmt.Errorf("send %s: %w", file, err)
	}
	return nil
}

// packedFile counts what is read and stops when the context ends.
type packedFile struct {
	p *packer
	r io.Reader
}

func (f *packedFile) Read(b []byte) (int, error) {
	if err := context.Cause(f.p.ctx); err != nil {
		return 0, err
	}
	n, err := f.r.Read(b)
	f.p.done.Bytes += int64(n)
	f.p.progress(f.p.done)
	return n, err
}

// walkPaths calls visit for everything that paths name, with its name in the
// archive and its path on this machine.
func walkPaths(ctx context.Context, paths []string, visit func(name, file string, info fs.FileInfo) error) error {
	if len(paths) == 0 {
		return errors.New("no file or folder to add")
	}
	taken := map[string]string{}
	for _, p := range paths {
		// Stat follows a symlink that was named itself, and only that.
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		name := "."
		if !info.IsDir() || len(paths) > 1 {
			if name, err = baseName(p); err != nil {
				return err
			}
			if other, clash := taken[name]; clash {
				return fmt.Errorf("%s and %s have the same name %s; add them one by one, or put them in a folder", other, p, name)
			}
			taken[name] = p
		}
		if err := walkPath(ctx, name, p, info, visit); err != nil {
			return err
		}
	}
	return nil
}

// baseName returns the last name of p, also when p is "." or "..".
func baseName(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	name := filepath.Base(abs)
	if name == string(filepath.Separator) {
		return "", fmt.Errorf("%s has no name to add it under; add it alone", p)
	}
	return name, nil
}

func walkPath(ctx context.Context, name, file string, info fs.FileInfo, visit func(name, file string, info fs.FileInfo) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if mode := info.Mode(); !mode.IsRegular() && !mode.IsDir() && mode&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s: it is a device, socket or named pipe; only files, folders and symlinks can be added", file)
	}
	if err := visit(name, file, info); err != nil || !info.IsDir() {
		return err
	}
	entries, err := os.ReadDir(file)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		// path.Join would clean "./x" to "x", which is the same to Tar.
		if err := walkPath(ctx, path.Join(name, e.Name()), filepath.Join(file, e.Name()), info, visit); err != nil {
			return err
		}
	}
	return nil
}
