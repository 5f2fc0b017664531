package sendqueue

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// tcpClosed is the state of a connection that was reset, or closed by both sides
// (TCP_CLOSE in linux/tcp.h).
const tcpClosed = 7

// Unacknowledged returns how many bytes were written to a TCP connection that the peer has
// not acknowledged; the end of the connection, once it was said, counts as one (SIOCOUTQ,
// tcp(7)). It is 0 for a connection that is no more.
func Unacknowledged(c syscall.Conn) (bytes int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if bytes, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil || bytes == 0 {
			return
		}
		// A reset leaves the count as it was.
		info, infoErr := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if infoErr != nil || info.State == tcpClosed {
			bytes = 0
		}
	})
	if err != nil {
		return 0
	}
	return bytes
}
