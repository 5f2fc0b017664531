//go:build !(darwin || freebsd || linux)

package blockstore

import "errors"

func (f folder) space() (free, total int64, err error) { return 0, 0, errors.ErrUnsupported }
