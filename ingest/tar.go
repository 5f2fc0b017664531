package ingest

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/task"
)

// Tar imports an uncompressed tar archive.
//
// The root is the top folder when the archive names it ("./", as `tar c .` does)
// or has several entries at the top; a single file or folder at the top is the
// root itself. Symlinks are kept as such, hard links become the file that they
// name. Anything else but files and folders is refused, and so are paths that are
// absolute, lead upwards or come twice, and an archive that is cut off.
//
// progress may be nil; it is called from the goroutine that called Tar, often, and
// must return quickly.
func (in *Ingester) Tar(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	return in.run(ctx, p, progress, func(ctx context.Context, s *session) ([]cid.Cid, error) {
		archive := &tarStream{r: bufio.NewReaderSize(r, 64<<10)}
		if err := archive.open(); err != nil {
			return nil, err
		}
		t := newTree(s.limit)
		if err := s.readTar(archive, t); err != nil {
			return nil, err
		}
		if t.empty() {
			return nil, badInput("the archive has no entries")
		}
		root, err := t.root(ctx, s.sink, p.Wrap)
		return []cid.Cid{root}, err
	})
}

func (s *session) readTar(archive *tarStream, t *tree) error {
	tr := tar.NewReader(archive)
	for {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			return archive.close()
		}
		if err != nil {
			return tarError(err)
		}
		if err := s.addEntry(t, hdr, tr); err != nil {
			return tarError(err)
		}
	}
}

// addEntry takes one entry of the archive into the tree.
func (s *session) addEntry(t *tree, hdr *tar.Header, r io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment (git archive writes one), not a file
	}
	names, err := splitPath(hdr.Name)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		return t.addFolder(hdr.Name, names)
	}
	dir, name, err := t.vacant(hdr.Name, names)
	if err != nil {
		return err
	}
	added := node{file: hdr.Typeflag != tar.TypeSymlink}
	switch {
	case isSparse(hdr):
		// A few bytes can claim a hole of any size, and each byte of it would be hashed.
		return badInput("entry %s: sparse entries are not accepted; make the archive without --sparse", quote(hdr.Name))
	case hdr.Typeflag == tar.TypeReg:
		added.stored, err = s.addFile(hdr.Name, r)
	case hdr.Typeflag == tar.TypeSymlink:
		added.stored, err = s.addSymlink(hdr.Name, hdr.Linkname)
	case hdr.Typeflag == tar.TypeLink:
		added.stored, err = s.addHardLink(t, hdr)
	default:
		return badInput("entry %s is %s; only files, folders and symlinks are accepted", quote(hdr.Name), kindOf(hdr.Typeflag))
	}
	if err != nil {
		return err
	}
	dir.entries[name] = added
	return nil
}

func (s *session) addHardLink(t *tree, hdr *tar.Header) (storedNode, error) {
	names, err := splitPath(hdr.Linkname)
	if err != nil {
		return storedNode{}, fmt.Errorf("hard link %s: %w", quote(hdr.Name), err)
	}
	target, ok := t.find(names)
	if !ok {
		return storedNode{}, badInput("hard link %s: there is no file %s before it", quote(hdr.Name), quote(hdr.Linkname))
	}
	s.Files++
	s.report(s.Progress)
	return target.stored, nil
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func kindOf(flag byte) string {
	switch flag {
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	}
	return fmt.Sprintf("of the unknown kind %q", flag)
}

// tarError says what is wrong with an archive in words for whoever sent it.
func tarError(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader):
		return badInput("not a tar archive, or a damaged one: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badInput("the archive is cut off: %w", err)
	}
	return err
}

// tarStream watches how the stream ends. To archive/tar a stream that stops
// between two entries is as good as one with an end marker; here it is an archive
// whose maker died.
type tarStream struct {
	r   *bufio.Reader
	eof bool
}

// open looks at the first bytes for what people send by mistake.
func (t *tarStream) open() error {
	magic, err := t.r.Peek(4)
	switch {
	case len(magic) == 0 && err == io.EOF:
		return badInput("the archive is empty: no bytes came")
	case strings.HasPrefix(string(magic), "\x1f\x8b"), strings.HasPrefix(string(magic), "\x28\xb5\x2f\xfd"),
		strings.HasPrefix(string(magic), "BZh"), strings.HasPrefix(string(magic), "\xfd7zX"):
		return badInput("the archive is compressed; send it uncompressed")
	case strings.HasPrefix(string(magic), "PK\x03\x04"):
		return badInput("this is a zip archive; send a tar archive")
	}
	return nil
}

func (t *tarStream) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	// bufio gives the end with no bytes, so this is set only when bytes were missing.
	t.eof = t.eof || err == io.EOF
	return n, err
}

// close reads what pads the archive, so that the sender is not cut off while it
// still sends, and fails when the end marker was missing.
func (t *tarStream) close() error {
	if t.eof {
		return badInput("the archive is cut off: its end marker is missing")
	}
	if _, err := io.Copy(io.Discard, t.r); err != nil {
		return fmt.Errorf("read the end of the archive: %w", err)
	}
	return nil
}
