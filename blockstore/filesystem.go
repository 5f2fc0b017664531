package blockstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// fileSystem is what the store asks of a folder. Names are relative to it. The
// tests put a failing disk in its place.
type fileSystem interface {
	// list returns the entries of the folder, in any order.
	list() ([]fs.DirEntry, error)
	// open opens a file for reading and writing; with os.O_CREATE it makes it.
	open(name string, flag int) (file, error)
	remove(name string) error
	rename(from, to string) error
	// syncDir makes creations, renames and removals durable.
	syncDir() error
	// space returns how many bytes can still be written to the file system, and how
	// many it has in all; an error, or none in all, when that cannot be told.
	space() (free, total int64, err error)
	// lock takes the folder for this process until the closer is closed; it
	// returns an error that wraps [ErrLocked] when another process has it.
	lock(name string) (io.Closer, error)
}

// file is one file of the folder. It is read and written at offsets, by many
// goroutines at once.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// folder is the fileSystem of the operating system.
type folder string

func openFolder(dir string) (folder, error) {
	return folder(dir), os.MkdirAll(dir, 0o755)
}

func (f folder) list() ([]fs.DirEntry, error) { return os.ReadDir(string(f)) }

func (f folder) open(name string, flag int) (file, error) {
	// A typed nil inside the interface would hide the failure.
	if osFile, err := os.OpenFile(filepath.Join(string(f), name), os.O_RDWR|flag, 0o644); err != nil {
		return nil, err
	} else {
		return osFile, nil
	}
}

func (f folder) remove(name string) error { return os.Remove(filepath.Join(string(f), name)) }

func (f folder) rename(from, to string) error {
	return os.Rename(filepath.Join(string(f), from), filepath.Join(string(f), to))
}

func (f folder) syncDir() error {
	d, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// isDiskFull tells a disk (or a quota) without space from other failures.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isReadOnly tells a folder that this process may not write to.
func isReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
