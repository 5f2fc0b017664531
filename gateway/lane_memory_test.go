//go:build !race

package gateway

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

// An idle connection costs little: no buffer, and a small stack.
func TestMemoryOfIdleConnections(t *testing.T) {
	l := newLaned(t, nil)
	l.warm(t, "s.txt")
	dial(t, l.addr).send(l.ask("s.txt", "")).skip()
	const n = 2000
	before := inUse()
	conns := make([]io.ReadWriteCloser, n)
	buf := make([]byte, 4096)
	for i := range conns {
		c := dialPlain(t, l.addr)
		if _, err := io.WriteString(c, l.ask("s.txt", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n")); err != nil {
			t.Fatal(err)
		}
		for got := ""; !strings.HasSuffix(got, "\r\n\r\nsmall"); {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:k])
		}
		conns[i] = c
	}
	until(t, "the lane to be idle", func() bool { return l.listening() >= n })
	each := (inUse() - before) / n
	t.Logf("%d bytes for each idle connection, with the client's side of it", each)
	if each > 12<<10 {
		t.Errorf("%d bytes for each idle connection", each)
	}
	runtime.KeepAlive(conns)
}
