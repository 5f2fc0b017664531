package answer

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	gopath "path"
	"strings"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// errLeaves says that an entry would be unpacked outside of its folder (IPIP-288).
var errLeaves = fmt.Errorf("%w: an entry would be unpacked outside of its folder; ask for a CAR", unixfs.ErrNode)

// tar answers with a TAR of a file or folder, which is named by its CID in there.
func (b *Builder) tar(_ context.Context, reads *Reads, req *Request, at *found, blk *block.Verified) (*Answer, error) {
	n, err := unixfs.ReadNode(at.CID.Prefix().Codec, blk.RawData())
	if err != nil {
		return nil, err
	}
	size := n.Size()
	if n.IsFolder() {
		if size, err = n.TreeSize(blk.RawData()); err != nil {
			return nil, err
		}
		if err := checkNames(n, at.CID.String()); err != nil {
			return nil, err
		}
	}
	if err := b.tooLarge(size); err != nil {
		return nil, err
	}
	if isLarge(blk) && !reads.Hold(size) {
		return nil, errCrowded()
	}
	a := b.begin(req, at, TAR)
	a.Type, a.Modified, a.Keep = mediaTypes[TAR], n.ModTime(), false
	a.Stream = func(ctx context.Context, to io.Writer) error {
		w := tarWriter{ctx: ctx, reads: reads, parallel: b.parallel, to: tar.NewWriter(to), memory: exportMemory{reads: reads}}
		if err := w.write(blk, n, at.CID.String()); err != nil {
			return err
		}
		return w.to.Close()
	}
	name := req.filename()
	if name == "" {
		name = at.CID.String() + ".tar"
	}
	a.dispose("attachment", name)
	a.set("X-Content-Type-Options", "nosniff")
	return b.complete(a, req), nil
}

// checkNames refuses a root folder with an entry that leaves it. Those of sharded and of
// deeper folders are found when it is their turn.
func checkNames(n *unixfs.Node, root string) error {
	for name, err := range n.Names() {
		if err == nil {
			_, err = inside(root, root, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inside returns the path of an entry, which must be below the root of the TAR.
func inside(root, folder, name string) (string, error) {
	path := gopath.Join(folder, name)
	if !strings.HasPrefix(path, root+"/") {
		return "", errLeaves
	}
	return path, nil
}

// tarWriter writes a tree. It remembers the blocks of the folders that are open.
type tarWriter struct {
	ctx      context.Context
	reads    *Reads
	parallel int
	to       *tar.Writer
	memory   exportMemory
}

// maxTARDepth bounds the folders that are open.
const maxTARDepth = 1024

// write writes a file, folder or link under a path. An error leaves the TAR incomplete.
func (w *tarWriter) write(blk *block.Verified, n *unixfs.Node, path string) error {
	header := &tar.Header{Name: path, Mode: int64(n.Perm().Perm()), ModTime: n.ModTime(), Format: tar.FormatPAX}
	switch {
	case n.IsFolder():
		return w.folder(blk, n, header)
	case n.IsSymlink():
		header.Typeflag, header.Linkname = tar.TypeSymlink, string(n.Content())
		header.Mode = 0o777
		return w.to.WriteHeader(header)
	case !n.IsFile():
		return fmt.Errorf("%w: UnixFS of the kind %s", unixfs.ErrNode, n.Kind())
	}
	if header.Typeflag, header.Size = tar.TypeReg, n.Size(); header.Mode == 0 {
		header.Mode = 0o644
	}
	if err := w.to.WriteHeader(header); err != nil {
		return err
	}
	r, err := unixfs.NewReader(w.ctx, w.reads, blk, n, unixfs.Span{To: n.Size()}, w.parallel)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(w.to)
	return err
}

func (w *tarWriter) folder(blk *block.Verified, n *unixfs.Node, header *tar.Header) error {
	path := header.Name
	if header.Typeflag, header.Name = tar.TypeDir, path+"/"; header.Mode == 0 {
		header.Mode = 0o755
	}
	if strings.Count(path, "/") >= maxTARDepth {
		return fmt.Errorf("%w: more than %d folders in each other", unixfs.ErrNode, maxTARDepth)
	}
	if err := w.memory.add(w.ctx, int64(len(blk.RawData()))); err != nil {
		return err
	}
	if err := w.to.WriteHeader(header); err != nil {
		return err
	}
	list, err := unixfs.NewFolder(w.ctx, w.reads, n)
	if err != nil {
		return err
	}
	for {
		link, more, err := list.Next()
		if err != nil {
			return err
		}
		if !more {
			return w.memory.add(w.ctx, -int64(len(blk.RawData())))
		}
		if err := w.entry(link, path); err != nil {
			return err
		}
	}
}

func (w *tarWriter) entry(link dag.PBLink, folder string) error {
	root, _, _ := strings.Cut(folder, "/")
	path, err := inside(root, folder, string(link.Name))
	if err != nil {
		return err
	}
	c, err := link.CID()
	if err != nil {
		return err
	}
	blk, err := w.reads.Get(w.ctx, c)
	if err != nil {
		return err
	}
	n, err := unixfs.ReadNode(c.Prefix().Codec, blk.RawData())
	if err != nil {
		return err
	}
	return w.write(blk, n, path)
}
