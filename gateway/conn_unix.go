//go:build unix

package gateway

import (
	"errors"
	"io"
	"syscall"
)

// readMore reads what has arrived, and waits if that is nothing. A connection that waits
// without having read anything needs no buffer: it gets one from get when there are bytes.
func (w *wire) readMore(into **[]byte, get func() *[]byte, give func(*[]byte)) error {
	c, ok := w.Conn.(syscall.Conn)
	if !ok {
		return w.readDirectly(into, get)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	_, err = w.reads.do(func() (n int, err error) {
		outer := raw.Read(func(fd uintptr) bool {
			b := *into
			if b == nil {
				b = get()
			}
			n, err = readFd(fd, b)
			if n <= 0 && *into == nil {
				give(b)
			}
			if errors.Is(err, syscall.EAGAIN) {
				return false
			}
			if n > 0 {
				*into = b
			}
			return true
		})
		if outer != nil {
			return 0, outer
		}
		if n == 0 && err == nil {
			err = io.EOF
		}
		return n, err
	})
	return err
}

// readFd reads into a buffer, behind what it has.
func readFd(fd uintptr, b *[]byte) (n int, err error) {
	space := room(b)
	for {
		n, err = syscall.Read(int(fd), space)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if n > 0 {
		*b = (*b)[:len(*b)+n]
	}
	return max(n, 0), err
}
