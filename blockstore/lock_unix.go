//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package blockstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// lock uses flock(2): the kernel lets go of it when the process ends, however it
// ends, so that a kill leaves no stale lock behind.
func (f folder) lock(name string) (io.Closer, error) {
	path := filepath.Join(string(f), name)
	lockFile, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lockFile.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lockFile.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: stop the other process or give this one a folder of its own", ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return lockFile, nil
}
