//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// ask1 sends a request in HTTP/1.1 on a connection of its own. Little of the answer fits
// between the two.
func (a *attacked) ask1(t *testing.T, host, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", a.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// longPaths asks for 10 000 different paths with names of 30 000 bytes, where every path
// leads somewhere, where none does, and where much of it does not matter. What is
// remembered of them has a bound.
func (a *attacked) longPaths(t *testing.T) {
	var all sync.WaitGroup
	defer all.Wait()
	for first := range 4 {
		c, err := net.Dial("tcp", a.Gateway)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		all.Go(func() {
			defer c.Close()
			from := bufio.NewReader(c)
			for i := first; i < 10_000; i += 4 {
				if status, err := a.longPath(c, from, i); err != nil || status != http.StatusOK && status != http.StatusNotFound {
					t.Errorf("path %d: %d, %v", i, status, err)
					return
				}
			}
		})
	}
}

// longPath asks for one of them.
func (a *attacked) longPath(c net.Conn, from *bufio.Reader, i int) (int, error) {
	name := fmt.Sprintf("%05d%s", i, strings.Repeat("x", 29_900))
	host, path := "127.0.0.1", "/ipfs/"+a.root+"/"+name
	switch i / 4 % 4 {
	case 1:
		host, path = "www.example.org", "/"+name
	case 2:
		path = "/ipfs/" + a.root + strings.Repeat("/", 29_000-i) + "style.css"
	case 3:
		path = a.page + "?filename=" + name
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host); err != nil {
		return 0, err
	}
	said, err := http.ReadResponse(from, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, said.Body)
	return said.StatusCode, err
}

// aborts hangs up in the middle of 500 large answers.
func (a *attacked) aborts(t *testing.T) {
	for i := range 500 {
		path := "/ipfs/" + a.large[i%len(a.large)].String()
		if i%2 == 1 {
			path = "/ipfs/" + a.root + []string{"/media/large.bin", "?format=car", "?format=tar"}[i/2%3]
		}
		c := a.ask1(t, "127.0.0.1", path)
		if _, err := io.ReadFull(c, make([]byte, 2000)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if i%3 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}
		c.Close()
	}
}

// slowReaders asks for large answers 500 times over and takes a byte of them at a time. It
// asks for one after the other: what is measured is what answers hold, and not what it
// takes to read so many blocks at once.
func (a *attacked) slowReaders(t *testing.T) {
	var all []net.Conn
	for i := range 500 {
		path := "/ipfs/" + a.large[i%len(a.large)].String()
		if i%4 == 3 {
			path = "/ipfs/" + a.root + []string{"/media/large.bin", "?format=car", "?format=tar"}[i/4%3]
		}
		c := a.ask1(t, "127.0.0.1", path)
		defer c.Close()
		all = append(all, c)
		time.Sleep(5 * time.Millisecond)
	}
	for range 20 {
		for _, c := range all {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}
