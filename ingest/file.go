package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
)

// addFile stores what r gives, up to its end, as the file at path.
func (s *session) addFile(path string, r io.Reader) (storedNode, error) {
	in := &content{s: s, r: r}
	params := helpers.DagBuilderParams{
		Dagserv:    s.sink,
		Maxlinks:   profile.FileDAGWidth,
		RawLeaves:  profile.RawLeaves,
		CidBuilder: s.builder(),
	}
	builder, err := params.New(chunk.NewSizeSplitter(in, profile.ChunkSize))
	if err != nil {
		return storedNode{}, fmt.Errorf("file %s: %w", quote(path), err)
	}
	nd, err := balanced.Layout(builder)
	if in.err != nil {
		return storedNode{}, fmt.Errorf("file %s, after %d bytes: %w", quote(path), in.read, in.err)
	}
	if err != nil {
		return storedNode{}, fmt.Errorf("file %s: %w", quote(path), err)
	}
	s.Files++
	s.report(s.Progress)
	return link(nd)
}

// addSymlink stores a symlink to target, which may point anywhere: nothing on
// this side follows it.
func (s *session) addSymlink(path, target string) (storedNode, error) {
	if target == "" || len(target) > maxPath {
		return storedNode{}, badInput("symlink %s: its target has %d bytes, expected 1 to %d", quote(path), len(target), maxPath)
	}
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return storedNode{}, fmt.Errorf("symlink %s: %w", quote(path), err)
	}
	nd := merkledag.NodeWithData(data)
	if err := nd.SetCidBuilder(s.builder()); err != nil {
		return storedNode{}, fmt.Errorf("symlink %s: %w", quote(path), err)
	}
	if err := s.Add(s.ctx, nd); err != nil {
		return storedNode{}, err
	}
	s.Files++
	s.report(s.Progress)
	return link(nd)
}

var errCutOff = errors.New("reading the content failed")

// content counts a file's bytes and stops when the import does. It keeps read
// errors to itself: the chunker takes io.ErrUnexpectedEOF, however wrapped, for
// the end of the file, and a file that was cut off would pass for a whole one.
type content struct {
	s    *session
	r    io.Reader
	read int64
	err  error
}

func (c *content) Read(p []byte) (int, error) {
	if c.err = context.Cause(c.s.ctx); c.err != nil {
		return 0, errCutOff
	}
	n, err := c.r.Read(p)
	c.read += int64(n)
	c.s.Bytes += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
		return n, errCutOff
	}
	return n, err
}
