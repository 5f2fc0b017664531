package gateway

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"

	"github.com/shoal-cdn/shoal/dag"
)

// tarRoot returns what a TAR is to be made of. A folder with an entry that would be unpacked
// outside of it (IPIP-288) is refused; deeper ones, boxo's writer finds.
func tarRoot(ctx context.Context, service *blockService, b blocks.Block) (files.Node, error) {
	root, err := treeNode(ctx, service, b, &exportMemory{})
	f, ok := root.(*treeFolder)
	if err != nil || !ok || f.n.kind != unixfs.TDirectory {
		return root, err
	}
	for links := f.n.links; ; {
		link, more, err := links.Next()
		if err != nil {
			return nil, err
		}
		if !more {
			return root, nil
		}
		if p := path.Join("/root", string(link.Name)); p != "/root" && !strings.HasPrefix(p, "/root/") {
			return nil, fmt.Errorf("%w: %q would be unpacked outside of its folder; ask for a CAR", errNode, link.Name)
		}
	}
}

// treeNode returns a file or folder in the form that boxo's TAR writer takes. Whatever
// fails while it is read marks the answer as broken off. With HEAD there is nothing in it.
func treeNode(ctx context.Context, service *blockService, b blocks.Block, memory *exportMemory) (files.Node, error) {
	n, err := readNode(b.Cid().Prefix().Codec, b.RawData())
	if err != nil {
		return nil, err
	}
	head := recordOf(ctx).head
	switch {
	case n.kind == unixfs.TSymlink:
		return symlink(n), nil
	case n.isFolder():
		size, err := n.treeSize(b.RawData())
		if err != nil {
			return nil, err
		}
		f, err := openFolder(ctx, service, n)
		if err != nil {
			return nil, err
		}
		if head {
			f.open = nil
		}
		block := int64(len(b.RawData()))
		if err := memory.add(ctx, service.exports, block); err != nil {
			return nil, err
		}
		return &treeFolder{n, f, size, block, memory}, nil
	case n.isFile():
		part := span{0, n.size}
		if head {
			part.to = 0
		}
		r, err := newFileReader(ctx, service, b, n, part)
		if err != nil {
			return nil, err
		}
		return &treeFile{r, n}, nil
	}
	return nil, fmt.Errorf("%w: UnixFS of the kind %s", errNode, n.kind)
}

// treeFile is a file.
type treeFile struct {
	*fileReader
	n *node
}

func (f *treeFile) Mode() os.FileMode    { return f.n.perm() }
func (f *treeFile) ModTime() time.Time   { return f.n.modTime }
func (f *treeFile) Size() (int64, error) { return f.n.size, nil }

// treeFolder is a folder, whose entries are opened one after the other.
type treeFolder struct {
	n     *node
	list  *folder
	size  int64 // of its DAG
	block int64 // its size
	// memory is that of the whole export: the blocks of all folders that are open.
	memory *exportMemory
}

func (f *treeFolder) Mode() os.FileMode    { return f.n.perm() }
func (f *treeFolder) ModTime() time.Time   { return f.n.modTime }
func (f *treeFolder) Size() (int64, error) { return f.size, nil }

// Close implements io.Closer.
func (f *treeFolder) Close() error {
	return f.memory.add(f.list.ctx, f.list.blocks.exports, -f.block)
}

// Entries implements files.Directory.
func (f *treeFolder) Entries() files.DirIterator { return &treeIterator{folder: f} }

// treeIterator goes through a folder.
type treeIterator struct {
	folder *treeFolder
	name   string
	node   files.Node
	err    error
	done   bool
}

func (it *treeIterator) Name() string     { return it.name }
func (it *treeIterator) Node() files.Node { return it.node }
func (it *treeIterator) Err() error       { return it.err }

// Next implements files.DirIterator.
func (it *treeIterator) Next() bool {
	if it.node != nil {
		_ = it.node.Close()
		it.node = nil
	}
	if it.done {
		return false
	}
	list := it.folder.list
	link, ok, err := list.next()
	if err == nil && ok {
		it.name = string(link.Name)
		it.node, err = openEntry(list.ctx, list.blocks, link, it.folder.memory)
	}
	if err != nil {
		it.fail(err)
	}
	if err != nil || !ok {
		it.done = true
		return false
	}
	return true
}

func openEntry(ctx context.Context, service *blockService, link dag.PBLink, memory *exportMemory) (files.Node, error) {
	c, err := link.CID()
	if err != nil {
		return nil, err
	}
	b, err := service.GetBlock(ctx, c)
	if err != nil {
		return nil, err
	}
	return treeNode(ctx, service, b, memory)
}

func (it *treeIterator) fail(err error) {
	it.done = true
	it.err = recordOf(it.folder.list.ctx).brokeOff(lying(err))
}
