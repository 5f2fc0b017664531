package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/problem"
)

// Local is what a purge needs of the layers that hold blocks on this edge, seen as
// one: a block is there when memory or disk has it, and Delete takes it out of
// both.
//
// Pinned reports whether some owner holds a block. Delete removes one that nobody
// holds and returns its size in bytes; a block that is not here, or that an owner
// has come to hold since, is left as it is and counts 0.
type Local interface {
	Blocks
	Pinned(c cid.Cid) bool
	Delete(ctx context.Context, c cid.Cid) (bytes int64, err error)
}

// Purged says what a purge did.
type Purged struct {
	CID    cid.Cid // what the path names
	Blocks int64   // removed
	Bytes  int64   // removed
	Kept   int64   // blocks that stay, because something else still holds them
}

// Purge makes this edge forget what path names: a CID, or /ipfs/CID and a path
// below it. The path is followed through local blocks, and of the DAG below it
// whatever is here is removed.
//
// Content that something holds is refused with a [*PinnedError]. With unpin, the
// import of the path's first CID and that of the CID that it leads to are released
// first; blocks that another import shares stay and are counted as kept. What is
// not here, and no import either, is an [*AbsentError].
func (in *Ingester) Purge(ctx context.Context, local Local, path string, unpin bool) (Purged, error) {
	root, names, err := parsePath(path)
	if err != nil {
		return Purged{}, err
	}
	target, err := resolve(ctx, local, root, names)
	if err != nil {
		return Purged{}, err
	}
	unpinned := false
	if unpin {
		if unpinned, err = in.Unpin(root, target); err != nil {
			return Purged{}, err
		}
	}
	if local.Pinned(target) {
		return Purged{}, &PinnedError{CID: target, Tried: unpin, Imports: in.holders(ctx, local, target)}
	}
	done, err := in.remove(ctx, local, target)
	if err != nil {
		return done, err
	}
	if done.Blocks == 0 && done.Kept == 0 && !unpinned {
		return done, &AbsentError{CID: target}
	}
	in.log.Info("purged", "path", path, "cid", target, "unpinned", unpinned, "blocks", done.Blocks, "bytes", done.Bytes, "kept", done.Kept)
	return done, nil
}

// parsePath splits CID, /ipfs/CID or /ipfs/CID/a/b.
func parsePath(path string) (cid.Cid, []string, error) {
	rest, isPath := strings.CutPrefix(path, "/ipfs/")
	if strings.HasPrefix(path, "/") && !isPath {
		return cid.Undef, nil, badInput("path %s: expected a CID or /ipfs/CID/path", quote(path))
	}
	text, below, _ := strings.Cut(rest, "/")
	root, err := cid.Decode(text)
	if err == nil {
		err = block.CheckCID(root)
	}
	if err != nil {
		return cid.Undef, nil, badInput("path %s: %s is not a CID: %w", quote(path), quote(text), err)
	}
	names := strings.FieldsFunc(below, func(r rune) bool { return r == '/' })
	return root, names, nil
}

// Resolve finds the CID that a path names, and the one that it begins with. It takes
// the paths that Purge takes and asks from for the folders on the way.
func Resolve(ctx context.Context, from Blocks, path string) (root, target cid.Cid, err error) {
	root, names, err := parsePath(path)
	if err != nil {
		return cid.Undef, cid.Undef, err
	}
	target, err = resolve(ctx, from, root, names)
	return root, target, err
}

// resolve follows names from root through folders that are on this edge.
func resolve(ctx context.Context, local Blocks, root cid.Cid, names []string) (cid.Cid, error) {
	at := root
	dag := merkledag.NewReadOnlyDagService(localDAG{local})
	for _, name := range names {
		nd, err := dag.Get(ctx, at)
		if ipld.IsNotFound(err) {
			return cid.Undef, &AbsentError{CID: at}
		}
		if err != nil {
			return cid.Undef, fmt.Errorf("open folder %s: %w", at, err)
		}
		next, err := entry(ctx, dag, nd, name)
		if ipld.IsNotFound(err) {
			return cid.Undef, &AbsentError{CID: at}
		}
		if err != nil {
			return cid.Undef, badInput("%s has no entry %s: %w", at, quote(name), err)
		}
		at = next
	}
	return at, nil
}

// entry finds name in a plain or sharded folder, without loading what it names.
func entry(ctx context.Context, dag ipld.DAGService, nd ipld.Node, name string) (cid.Cid, error) {
	fs, err := unixfs.ExtractFSNode(nd)
	if err != nil {
		return cid.Undef, err
	}
	switch fs.Type() {
	case unixfs.TDirectory:
		l, _, err := nd.ResolveLink([]string{name})
		if err != nil {
			return cid.Undef, err
		}
		return l.Cid, nil
	case unixfs.THAMTShard:
		shard, err := hamt.NewHamtFromDag(dag, nd)
		if err != nil {
			return cid.Undef, err
		}
		l, err := shard.Find(ctx, name)
		if err != nil {
			return cid.Undef, err
		}
		return l.Cid, nil
	}
	return cid.Undef, errors.New("it is not a folder")
}

// Unpin releases the imports of the given roots and reports whether there were any.
func (in *Ingester) Unpin(roots ...cid.Cid) (bool, error) {
	in.keep.Lock()
	defer in.keep.Unlock()
	released := false
	for _, committed := range in.store.Owners() {
		for _, root := range roots {
			if committed != Owner(root) {
				continue
			}
			if err := in.store.Release(committed); err != nil {
				return released, fmt.Errorf("release the import of %s: %w", root, err)
			}
			released = true
			break
		}
	}
	return released, nil
}

// remove deletes what is here of the DAG below root. A block that cannot be decoded goes,
// too, with what it is seen to link to.
func (in *Ingester) remove(ctx context.Context, local Local, root cid.Cid) (Purged, error) {
	done := Purged{CID: root}
	var here []cid.Cid
	err := visit(ctx, local, root, func(v dag.Visited) error {
		switch {
		case isFault(v.Err):
			in.log.Warn("purge: what a block links to is not known and stays", "error", v.Err)
		case ipld.IsNotFound(v.Err):
			return nil
		case v.Err != nil:
			return v.Err
		}
		if !v.Inline {
			here = append(here, v.CID)
		}
		return nil
	})
	if err != nil {
		return done, fmt.Errorf("list the blocks below %s: %w", root, err)
	}
	for _, c := range here {
		if err := context.Cause(ctx); err != nil {
			return done, err
		}
		if local.Pinned(c) {
			done.Kept++
			continue
		}
		n, err := local.Delete(ctx, c)
		if err != nil {
			return done, fmt.Errorf("remove block %s: %w", c, err)
		}
		if n > 0 {
			done.Blocks++
			done.Bytes += n
		}
	}
	return done, nil
}

var errFound = errors.New("found")

// holders returns the roots of the imports that hold c.
func (in *Ingester) holders(ctx context.Context, local Local, c cid.Cid) []cid.Cid {
	var roots []cid.Cid
	for _, root := range in.Pins() {
		err := visit(ctx, local, root, func(v dag.Visited) error {
			if string(v.CID.Hash()) == string(c.Hash()) {
				return errFound
			}
			return nil
		})
		if errors.Is(err, errFound) {
			roots = append(roots, root)
		}
	}
	return roots
}

// PinnedError says that a purge was refused because something holds the content.
type PinnedError struct {
	CID     cid.Cid
	Tried   bool      // unpin was asked for, and did not release it
	Imports []cid.Cid // roots of the imports that hold it; none when a pin does
}

func (e *PinnedError) Error() string {
	switch {
	case len(e.Imports) == 0:
		return fmt.Sprintf("%s is pinned; unpin it first, or purge it with unpin=true if the pin is the operator's", e.CID)
	case e.Tried || e.Imports[0] != e.CID:
		return fmt.Sprintf("%s is kept as part of the import of %s; purge that with unpin=true, or leave it", e.CID, e.Imports[0])
	}
	return fmt.Sprintf("%s is kept because it was imported here; purge it with unpin=true to release that import", e.CID)
}

// Reason implements [problem.Of]'s interface.
func (e *PinnedError) Reason() problem.Reason { return problem.Pinned }

// AbsentError says that content is not on this edge.
type AbsentError struct{ CID cid.Cid }

func (e *AbsentError) Error() string { return fmt.Sprintf("%s is not on this edge", e.CID) }

// Reason implements [problem.Of]'s interface.
func (e *AbsentError) Reason() problem.Reason { return problem.NotFound }

// localDAG reads nodes from local blocks.
type localDAG struct{ from Blocks }

func (d localDAG) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	b, err := d.from.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.Type() != cid.DagProtobuf {
		return merkledag.NewRawNode(b.RawData()), nil
	}
	// boxo builds all of a node, however many links there are in it.
	if err := dag.Scan(c, b.RawData(), dag.MaxLinks, func(dag.Link) error { return nil }); err != nil {
		return nil, err
	}
	return merkledag.DecodeProtobufBlock(b)
}

func (d localDAG) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	defer close(out)
	for _, c := range cids {
		nd, err := d.Get(ctx, c)
		out <- &ipld.NodeOption{Node: nd, Err: err}
	}
	return out
}
