package blockstore

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/shoal-cdn/shoal/problem"
)

// Errors of the store. They arrive wrapped, with what was being done to what.
var (
	// ErrLocked says that another process has the folder open.
	ErrLocked = errors.New("block store is in use by another process")
	// ErrForeign says that the folder holds something that this store did not
	// write, or that a newer version wrote. Nothing in it was changed.
	ErrForeign = errors.New("not a block store of this version")
	// ErrReadOnly says that the folder cannot be written to.
	ErrReadOnly = errors.New("block store folder is not writable")
	// ErrClosed says that the store was used after Close.
	ErrClosed = errors.New("block store is closed")
	// ErrPinned says that a block cannot be deleted while an owner holds it.
	ErrPinned = errors.New("block is pinned")
	// ErrDiskFull says that the disk under the store has no space left, although
	// the store is within its capacity: somebody else took it. Reads go on; a later
	// write makes room first, and tries again.
	ErrDiskFull = errors.New("disk full")
	// ErrFull is what a [*FullError] is recognised by with errors.Is.
	ErrFull = errors.New("block store full of pinned blocks")
)

// FullError says that a write does not fit because what is pinned fills the
// store. All figures are bytes.
type FullError struct {
	Needed   int64 // what the write takes on disk
	Free     int64 // what could be used without dropping a pinned block
	Pinned   int64 // what pinned blocks take
	Capacity int64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%v: %d bytes needed, %d free; %s pinned of %s: unpin something or raise the capacity",
		ErrFull, e.Needed, e.Free, humanize.IBytes(uint64(e.Pinned)), humanize.IBytes(uint64(e.Capacity)))
}

// Reason has the admin API answer 507, not 500.
func (e *FullError) Reason() problem.Reason { return problem.StorageFull }

// Space returns the figures for those who do not import this package: what the
// write takes, and what could be used for it, in bytes.
func (e *FullError) Space() (needed, free int64) { return e.Needed, e.Free }

// Is lets errors.Is(err, ErrFull) recognise any FullError.
func (e *FullError) Is(target error) bool { return target == ErrFull }

// writeError marks a failed write with what it means for the caller.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case isDiskFull(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case isReadOnly(err):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}
