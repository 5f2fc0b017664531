package hold

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/dustin/go-humanize"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// Store is the block store. All of it may be called concurrently.
//
// Get reads a block and holds it against its checksum; one that is not here, or no
// longer good, is an error that ipld.IsNotFound recognises. GetSize reads no
// disk. Discard drops a block, held or not, whose bytes turned out to be wrong.
//
// References protect blocks in the name of an owner. PutHeld stores a block and holds it
// in one step. Hold holds blocks that are here; one that is not is an error that
// ipld.IsNotFound recognises. Commit makes durable what the owner holds so far, blocks
// and references. Release ends it all, durably. Owners lists those that committed,
// References what one of them holds.
//
// Room returns how many bytes could be held at most besides what is held now. Pinned
// reports whether any owner holds a block.
type Store interface {
	Get(ctx context.Context, c cid.Cid) (blocks.Block, error)
	GetSize(ctx context.Context, c cid.Cid) (int, error)
	Discard(ctx context.Context, c cid.Cid) error

	PutHeld(ctx context.Context, owner string, b blocks.Block) error
	Hold(owner string, cids ...cid.Cid) error
	Commit(owner string) error
	Release(owner string) error
	Owners() []string
	References(owner string, f func(multihash.Multihash) error) error

	Room() int64
	Pinned(c cid.Cid) bool
}

// refusal says that a DAG cannot be pinned, however often it is tried. Its text is
// for whoever pinned it.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// absence says that a block could not be had.
type absence struct {
	cid     cid.Cid
	nowhere bool  // all who were asked say that they do not have it
	err     error // for the log
}

func (a *absence) Error() string { return fmt.Sprintf("block %s: %v", a.cid, a.err) }
func (a *absence) Unwrap() error { return a.err }

// reason is the absence in words for whoever pinned it, without addresses.
func (a *absence) reason() string {
	if a.nowhere {
		return fmt.Sprintf("block %s was not found", a.cid)
	}
	return fmt.Sprintf("block %s cannot be fetched at the moment", a.cid)
}

// shortage says that a DAG does not fit.
type shortage struct {
	needed, free int64 // bytes
	atLeast      bool  // needed is not known to its end
}

func (s *shortage) Error() string {
	least := ""
	if s.atLeast {
		least = "at least "
	}
	return fmt.Sprintf("does not fit on this edge: %s%s needed, %s free (%d and %d bytes); unpin something or raise cache.disk",
		least, size(s.needed), size(s.free), s.needed, s.free)
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// asShortage recognises the errors of a store that has no room, in which a DAG takes
// what it holds already and the write that failed.
func asShortage(err error, held, free int64) (*shortage, bool) {
	var full interface {
		error
		Space() (needed, free int64)
	}
	switch {
	case errors.As(err, &full):
		needed, left := full.Space()
		return &shortage{needed: held + needed, free: max(min(free, held+left), 0), atLeast: true}, true
	case errors.Is(err, syscall.ENOSPC):
		return &shortage{needed: held + 1, free: held, atLeast: true}, true
	}
	return nil, false
}
