package demo

import (
	"archive/tar"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The example website. "all:" takes files like _redirects along.
//
//go:embed all:site
var bundled embed.FS

// bundledTitle is what the example website calls itself.
const bundledTitle = "the website of Sildholm Field Station"

// content is what is published: a tree of files and how to read them again.
type content struct {
	title string
	fsys  fs.FS
	files []file // in walking order
	bytes int64
	// skipped counts what is neither a file nor a folder: symlinks, sockets.
	skipped int
	// madeUp counts the files, last in files, that were generated.
	madeUp int
}

type file struct {
	name string // slash-separated, relative to the root
	size int64
}

// openContent lists the file or folder at path, or the bundled website.
func openContent(path string) (*content, error) {
	if path == "" {
		sub, err := fs.Sub(bundled, "site")
		if err != nil {
			return nil, err
		}
		return listContent(bundledTitle, sub, ".")
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return listContent(path, os.DirFS(path), ".")
	case info.Mode().IsRegular():
		return listContent(path, os.DirFS(filepath.Dir(path)), filepath.Base(path))
	}
	return nil, fmt.Errorf("%s: neither a file nor a folder", path)
}

func listContent(title string, fsys fs.FS, root string) (*content, error) {
	c := &content{title: title, fsys: fsys}
	err := fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		// The named file itself may be a symlink; inside a folder they are not followed.
		if !d.Type().IsRegular() && name != root {
			c.skipped++
			return nil
		}
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return err
		}
		c.files = append(c.files, file{name, info.Size()})
		c.bytes += info.Size()
		return nil
	})
	if err == nil && len(c.files) == 0 {
		err = errors.New("there are no files in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", title, err)
	}
	return c, nil
}

// writeTar writes the content as a tar archive whose top is the root folder. sent
// is called with the number of bytes written so far.
func (c *content) writeTar(ctx context.Context, w io.Writer, sent func(int64)) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}); err != nil {
		return err
	}
	var total int64
	for _, f := range c.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.addFile(tw, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		total += f.size
		sent(total)
	}
	return tw.Close()
}

func (c *content) addFile(tw *tar.Writer, f file) error {
	src, err := c.fsys.Open(f.name)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.name, Size: f.size, Mode: 0o644}); err != nil {
		return err
	}
	_, err = io.Copy(tw, src)
	return err
}

// errDiffers says that a response is not what the source file holds.
var errDiffers = errors.New("differs from the source file")

// compare reads body to its end and reports how many bytes it had, and with
// errDiffers whether they are other ones than length bytes of the file from offset.
func (c *content) compare(name string, offset, length int64, body io.Reader) (int64, error) {
	src, err := c.fsys.Open(name)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	if offset > 0 {
		if _, err := src.(io.Seeker).Seek(offset, io.SeekStart); err != nil {
			return 0, err
		}
	}
	want := io.LimitReader(src, length)
	var read int64
	got, expected := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := body.Read(got)
		if n > 0 {
			if m, _ := io.ReadFull(want, expected[:n]); m < n || !bytes.Equal(got[:n], expected[:n]) {
				return read, fmt.Errorf("bytes from %d: %w", offset+read, errDiffers)
			}
			read += int64(n)
		}
		switch {
		case err == io.EOF && read < length:
			return read, fmt.Errorf("ends after %d of %d bytes: %w", read, length, errDiffers)
		case err == io.EOF:
			return read, nil
		case err != nil:
			return read, err
		}
	}
}
