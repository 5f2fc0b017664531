//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package blockstore

import (
	"errors"
	"fmt"
	"io"
	"runtime"
)

// lock refuses: without flock(2), two processes could share a folder and ruin it.
func (f folder) lock(string) (io.Closer, error) {
	return nil, fmt.Errorf("lock %s: %w on %s: it has no flock", string(f), errors.ErrUnsupported, runtime.GOOS)
}
