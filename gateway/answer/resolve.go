package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/gateway/hot"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

const (
	// maxSymlinks bounds the symbolic links on one path, as operating systems do.
	maxSymlinks = 40
	// maxTarget bounds the target of one, in bytes, as they do, too: each of its names is a
	// step.
	maxTarget = 4 << 10
	// maxStands is how many blocks a step or an answer stands for at most.
	maxStands = 64
	// maxFollowed bounds the bytes that are looked through to follow a path into values.
	maxFollowed = 64 << 20
	// stepCost is what a step takes in memory, in bytes, besides its names.
	stepCost = 128
	// cidCost is what a CID takes in a list, in bytes.
	cidCost = 16 + 48
)

var (
	// errOutside says that a symbolic link leads out of its site.
	errOutside = fmt.Errorf("%w: a symbolic link leads out of the site", unixfs.ErrNoName)
	// errTarget says that a symbolic link is longer than paths are.
	errTarget = fmt.Errorf("%w: a symbolic link has a target of more than %d bytes", unixfs.ErrNode, maxTarget)
	// errLoop says that there are too many symbolic links.
	errLoop = fmt.Errorf("%w: more than %d symbolic links on one path", unixfs.ErrNode, maxSymlinks)
)

// place is where a path has led.
type place struct {
	// stack are the blocks that each name led to, from the root on. Links out of the first
	// floor of them are not followed.
	stack  []cid.Cid
	floor  int
	passed []cid.Cid // all blocks that were read on the way, in order, without the last
	// rest are names that lie inside the last block, which has no block of its own there.
	rest   []string
	follow bool // symbolic links
	links  int  // followed
	read   int  // bytes of values that were looked through
}

func (p *place) cid() cid.Cid { return p.stack[len(p.stack)-1] }

// found is where a path leads.
type found struct {
	CID    cid.Cid
	Roots  []cid.Cid // what each name before led to
	Passed []cid.Cid // the blocks on the way, without CID
	Rest   []string  // names inside the block
	floor  int       // of the place
}

func (p *place) found() *found {
	last := len(p.stack) - 1
	return &found{CID: p.stack[last], Roots: p.stack[:last:last], Passed: p.passed, Rest: p.rest, floor: p.floor}
}

// root begins a path at a root.
func root(c cid.Cid, follow bool) *place { return &place{stack: []cid.Cid{c}, follow: follow} }

// below returns a copy that goes on by itself. Its links stay below the first place.
func (p *place) below() *place {
	c := *p
	c.stack, c.passed = slices.Clone(p.stack), slices.Clone(p.passed)
	return &c
}

// names follows names from a place, which it does not change. An error wraps
// [unixfs.ErrNoName] when they lead nowhere; the place that was reached comes with it.
func (b *Builder) names(ctx context.Context, reads *Reads, from *place, names []string) (*found, error) {
	at := from.below()
	err := b.walk(ctx, reads, at, names)
	return at.found(), err
}

// walk goes along names.
func (b *Builder) walk(ctx context.Context, reads *Reads, at *place, names []string) error {
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == "..": // in the target of a link only
			if len(at.stack) <= max(at.floor, 1) {
				return errOutside
			}
			at.stack = at.stack[:len(at.stack)-1]
			continue
		}
		next, rest, err := b.step(ctx, reads, at, name, names)
		if err != nil {
			return err
		}
		if names = rest; next == nil {
			return nil // inside a block
		}
		if next.link == "" || !at.follow { // others may have found out that it is a link
			at.stack = append(at.stack, next.to)
			continue
		}
		if at.links++; at.links > maxSymlinks {
			return errLoop
		}
		if strings.HasPrefix(next.link, "/") {
			return errOutside
		}
		names = append(strings.Split(next.link, "/"), names...)
	}
	return nil
}

// step is where a name in a folder leads. Steps never become wrong, so they end only when
// others need the room, or with a purge. Taking one is a use of the blocks that it stands
// for.
type step struct {
	to     cid.Cid
	passed []cid.Cid // the blocks that it led through, without to
	link   string    // the target, if it is a symbolic link
	looked bool      // it is known whether it is one
	used   Moment
}

// Moment says when something was last used, in seconds, so that uses are counted once
// in each.
type Moment struct{ at atomic.Int64 }

// First reports whether this is the first use in its second.
func (m *Moment) First(now time.Time) bool {
	s := now.Unix()
	return m.at.Load() != s && m.at.Swap(s) != s
}

// step takes one step, or as many as a block of values has of them: rest are the names that
// are left. Without a step, the path ends inside the block.
func (b *Builder) step(ctx context.Context, reads *Reads, at *place, name string, names []string) (s *step, rest []string, err error) {
	from := at.cid()
	if codec := from.Prefix().Codec; codec != cid.DagProtobuf && codec != cid.Raw {
		return b.stepInValue(ctx, reads, at, append([]string{name}, names...))
	}
	key := from.KeyString()
	e := b.hot.Find(key, name)
	if e != nil {
		if s, _ = e.Value.(*step); s != nil && (s.looked || !at.follow) {
			e.Mark()
			if s.used.First(time.Now()) {
				b.memory.Use(s.passed...)
			}
			at.pass(s.passed)
			return s, names, nil
		}
	}
	generation := b.hot.Generation()
	if s, err = b.look(ctx, reads, from, name, at.follow); err != nil {
		if s != nil {
			at.pass(s.passed)
		}
		return nil, names, err
	}
	at.pass(s.passed)
	s.used.First(time.Now()) // reading the blocks was a use
	if len(s.passed) <= maxStands {
		b.hot.Put(&hot.Entry{
			Space: key, Key: strings.Clone(name), Value: s,
			Charge: stepCost + int64(len(key)+len(name)+len(s.link)+cidCost*len(s.passed)),
		}, generation)
	}
	return s, names, nil
}

func (p *place) pass(cs []cid.Cid) {
	for _, c := range cs {
		if !slices.Contains(p.passed[max(0, len(p.passed)-maxStands):], c) {
			p.passed = append(p.passed, c)
		}
	}
}

// look finds a name in a folder. With an error it returns a step with the blocks that
// were read, if there are any.
func (b *Builder) look(ctx context.Context, reads *Reads, folder cid.Cid, name string, follow bool) (*step, error) {
	noName := func(err error) error {
		if errors.Is(err, unixfs.ErrNoName) || errors.Is(err, unixfs.ErrNoFolder) {
			return fmt.Errorf("%w: no link named %q under %s", unixfs.ErrNoName, Abbreviate(name), folder)
		}
		return err
	}
	s := &step{passed: []cid.Cid{folder}, looked: follow}
	blk, err := reads.Get(ctx, folder)
	if err != nil {
		return nil, err
	}
	if folder.Prefix().Codec == cid.Raw {
		return s, noName(unixfs.ErrNoName)
	}
	n, err := unixfs.ReadNode(folder.Prefix().Codec, blk.RawData())
	if err != nil && !n.IsPlain() {
		return s, err
	}
	to, passed, err := n.Find(ctx, reads, name)
	s.to, s.passed = to, append(s.passed, passed...)
	if err != nil {
		return s, noName(err)
	}
	if follow && to.Prefix().Codec == cid.DagProtobuf {
		target, err := reads.Get(ctx, to)
		if err != nil {
			return s, err
		}
		if n, err := unixfs.ReadNode(to.Prefix().Codec, target.RawData()); err == nil && n.IsSymlink() {
			if len(n.Content()) > maxTarget {
				return s, errTarget
			}
			s.link = string(n.Content())
			s.passed = append(s.passed, to)
		}
	}
	return s, nil
}

// stepInValue follows names into a value of CBOR or JSON, up to the first link in it.
func (b *Builder) stepInValue(ctx context.Context, reads *Reads, at *place, names []string) (*step, []string, error) {
	from := at.cid()
	blk, err := reads.Get(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	at.pass([]cid.Cid{from})
	if at.read += len(blk.RawData()); at.read > maxFollowed {
		return nil, nil, fmt.Errorf("%w: more than %d bytes of values on one path", unixfs.ErrNode, maxFollowed)
	}
	to, rest, err := dag.Find(from, blk.RawData(), names)
	switch {
	case errors.Is(err, dag.ErrInside):
		at.rest = names
		return nil, nil, nil
	case errors.Is(err, dag.ErrNoName):
		return nil, nil, fmt.Errorf("%w: no link named %q under %s", unixfs.ErrNoName, Abbreviate(names[0]), from)
	case errors.Is(err, dag.ErrCodec):
		f := Refuse(http.StatusNotImplemented, "block %s is in a format that this gateway cannot look into", from)
		f.Cause = err
		return nil, nil, f
	case err != nil:
		return nil, nil, err
	}
	return &step{to: to}, rest, nil
}
