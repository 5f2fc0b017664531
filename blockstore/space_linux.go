package blockstore

import "syscall"

// space uses statfs(2). Its counts are of fragments: the size of a block is what the
// file system likes to transfer.
func (f folder) space() (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(string(f), &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Bavail) * int64(s.Frsize), int64(s.Blocks) * int64(s.Frsize), nil
}
