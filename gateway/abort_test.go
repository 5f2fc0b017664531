package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// In HTTP/1.0 the end of the connection is the end of the message (RFC 9112, section 6.3,
// item 8), so a message that breaks off must not end in order: the connection is reset.
func TestHTTP10IsResetWhenAnAnswerBreaksOff(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.Compression = false })
	files := map[string]string{"a.txt": big, "b.txt": lines(3000)}
	root := e.shelf.tree(t, files)
	last := e.shelf.lastLeaf(t, []byte(files["b.txt"]))
	addr, _, _ := e.serve()
	ask := func(request string) (status string, n int64, err error) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		var head [12]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return "", 0, err
		}
		n, err = io.Copy(io.Discard, conn)
		return string(head[9:]), n, err
	}
	for _, path := range []string{"/?format=car", "/b.txt?format=car&dag-scope=entity", "/?format=tar", "/b.txt?format=tar", "/b.txt"} {
		for _, fields := range []string{"", "Connection: keep-alive\r\n", "Accept-Encoding: gzip\r\n"} {
			request := fmt.Sprintf("GET /ipfs/%s%s HTTP/1.0\r\nHost: 127.0.0.1\r\n%s\r\n", root, path, fields)
			if !strings.Contains(fields, "keep-alive") {
				e.shelf.hook(nil)
				if status, n, err := ask(request); status != "200" || n < 60_000 || err != nil {
					t.Errorf("%q, whole: %s, %d bytes, %v", request, status, n, err)
				}
			}
			e.shelf.hook(func(_ context.Context, c cid.Cid) error {
				if c.Equals(last) {
					return &block.UnavailableError{Cid: c, From: secretAddress, Err: errors.New("cut")}
				}
				return nil
			})
			e.Forget()
			// A reset discards what was not read: also the beginning may be lost.
			if status, n, err := ask(request); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%q, cut: %s, %d bytes, ended with %v", request, status, n, err)
			}
		}
	}
	// What fails before its header is an answer like others.
	e.shelf.hook(func(context.Context, cid.Cid) error {
		return &block.UnavailableError{From: secretAddress, Err: errors.New("down")}
	})
	e.Forget()
	for _, query := range []string{"?format=car", "?format=tar", ""} {
		if status, _, err := ask(fmt.Sprintf("GET /ipfs/%s%s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", root, query)); status != "502" || err != nil {
			t.Errorf("%s: %s, %v", query, status, err)
		}
	}
}
