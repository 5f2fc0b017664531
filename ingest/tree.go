package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
)

// profile is how files and folders become DAGs. Its settings are given to each
// builder; boxo's globals stay as they are.
var profile = io.UnixFS_v1_2025

// node is what is known of one entry: a folder that still grows, or a file or
// symlink that is stored.
type node struct {
	dir    *folder // nil for a file or symlink
	stored storedNode
	file   bool // a regular file, which a hard link may name
}

// folder holds the entries of a folder until all of them are known.
type folder struct{ entries map[string]node }

func newFolder() *folder { return &folder{entries: make(map[string]node)} }

// tree collects the entries of an import, in whatever order they come.
type tree struct {
	top   *folder
	named bool // the stream had an entry for the top folder itself
	count int
	limit int
}

func newTree(limit int) *tree { return &tree{top: newFolder(), limit: limit} }

// empty reports that no entry came at all.
func (t *tree) empty() bool { return !t.named && len(t.top.entries) == 0 }

// folder returns the folder at names, made where missing.
func (t *tree) folder(path string, names []string) (*folder, error) {
	at := t.top
	for i, name := range names {
		n, ok := at.entries[name]
		if !ok {
			if err := t.grow(); err != nil {
				return nil, err
			}
			n = node{dir: newFolder()}
			at.entries[name] = n
		}
		if n.dir == nil {
			return nil, badInput("entry %s: %s is not a folder: an earlier entry has that name",
				quote(path), quote(strings.Join(names[:i+1], "/")))
		}
		at = n.dir
	}
	return at, nil
}

// addFolder notes that path is a folder. A folder may be named more than once.
func (t *tree) addFolder(path string, names []string) error {
	if len(names) == 0 {
		t.named = true
		return nil
	}
	_, err := t.folder(path, names)
	return err
}

// vacant checks that path can become a file or symlink, before its content is
// read, and returns the folder that it goes in and its name there.
func (t *tree) vacant(path string, names []string) (*folder, string, error) {
	if len(names) == 0 {
		return nil, "", badInput("entry %s: a file needs a name", quote(path))
	}
	last := len(names) - 1
	dir, err := t.folder(path, names[:last])
	if err != nil {
		return nil, "", err
	}
	if _, taken := dir.entries[names[last]]; taken {
		return nil, "", badInput("entry %s: an earlier entry has the same name", quote(path))
	}
	return dir, names[last], t.grow()
}

// find returns the stored file at names, for a hard link.
func (t *tree) find(names []string) (node, bool) {
	at := node{dir: t.top}
	for _, name := range names {
		if at.dir == nil {
			return node{}, false
		}
		at = at.dir.entries[name]
	}
	return at, at.file
}

func (t *tree) grow() error {
	if t.count++; t.count > t.limit {
		return badInput("the import has more than %d entries, which is the limit", t.limit)
	}
	return nil
}

// root builds the folders and returns the root: the entry itself when it is the
// only one at the top and the top folder was not named as such, else the top
// folder. wrap asks for the top folder in any case.
func (t *tree) root(ctx context.Context, s *sink, wrap bool) (cid.Cid, error) {
	if len(t.top.entries) == 1 && !t.named && !wrap {
		for name, n := range t.top.entries {
			stored, err := n.build(ctx, s, name)
			return stored.cid, err
		}
	}
	stored, err := node{dir: t.top}.build(ctx, s, "")
	return stored.cid, err
}

// build stores a folder after everything in it, so that whatever is stored has
// its children. It returns a file as it is.
func (n node) build(ctx context.Context, s *sink, path string) (storedNode, error) {
	if n.dir == nil {
		return n.stored, nil
	}
	dir, err := newDirectory(s)
	if err != nil {
		return storedNode{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(n.dir.entries)) {
		child, err := n.dir.entries[name].build(ctx, s, path+"/"+name)
		if err != nil {
			return storedNode{}, err
		}
		if err := dir.AddChild(ctx, name, child); err != nil {
			return storedNode{}, fmt.Errorf("build folder %s: %w", quote(path), err)
		}
	}
	nd, err := dir.GetNode()
	if err != nil {
		return storedNode{}, fmt.Errorf("build folder %s: %w", quote(path), err)
	}
	if err := s.Add(ctx, nd); err != nil {
		return storedNode{}, err
	}
	return link(nd)
}

func newDirectory(dag *sink) (io.Directory, error) {
	dir, err := io.NewDirectory(dag,
		io.WithCidBuilder(dag.builder()),
		io.WithMaxHAMTFanout(profile.HAMTShardWidth),
		io.WithSizeEstimationMode(profile.HAMTSizeEstimation))
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	dir.SetHAMTShardingSize(profile.HAMTShardingSize)
	return dir, nil
}
