package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

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

// Resolver finds the CIDs that an operator means by a path.
type Resolver struct {
	Blocks block.Getter // for the folders on the way
	// Names says what an IPNS path leads to.
	Names func(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, error)
	// Timeout bounds one answer.
	Timeout func() time.Duration
}

// Resolve returns the CID that a path names as it is now: a CID, /ipfs/CID or /ipns/NAME,
// each with a path below it or without.
func (r Resolver) Resolve(ctx context.Context, target string) (cid.Cid, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout())
	defer cancel()
	if strings.HasPrefix(target, "/ipns/") {
		name, err := path.NewPath(target)
		if err != nil {
			return cid.Undef, badInput("path %q: %w", target, err)
		}
		to, _, err := r.Names(ctx, name)
		if err != nil {
			return cid.Undef, badInput("resolve %s: %w", target, err)
		}
		target = to.String()
	}
	root, names, err := parsePath(target)
	if err != nil {
		return cid.Undef, err
	}
	return resolve(ctx, func(ctx context.Context, c cid.Cid) (*block.Verified, error) {
		b, _, err := r.Blocks.Get(ctx, c)
		return b, err
	}, root, names)
}

// resolve follows names from root through folders that get has.
func resolve(ctx context.Context, get getter[*block.Verified], root cid.Cid, names []string) (cid.Cid, error) {
	at := root
	dag := merkledag.NewReadOnlyDagService(reader{get})
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

// reader is a DAG service that reads.
type reader struct{ get getter[*block.Verified] }

func (d reader) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	b, err := d.get(ctx, c)
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

func (d reader) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	defer close(out)
	for _, c := range cids {
		nd, err := d.Get(ctx, c)
		out <- &ipld.NodeOption{Node: nd, Err: err}
	}
	return out
}
