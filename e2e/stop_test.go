//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// The addresses of a container and of its other end, see halves.
const inContainerAddr, hereToContainer = "198.18.0.18", "198.18.0.17"

// download asks for a path and reads the answer at a rate in bytes per second.
func download(addr, path string, rate int) ([]byte, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var got bytes.Buffer
	for begin := time.Now(); ; {
		if _, err := io.CopyN(&got, res.Body, 16<<10); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return got.Bytes(), err
		}
		time.Sleep(time.Until(begin.Add(time.Duration(got.Len()) * time.Second / time.Duration(rate))))
	}
}

// keepAsking sends one request after the other on one connection until an answer says
// that it is the last, and returns how many were answered.
func keepAsking(addr, path string) (answered int, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for in := bufio.NewReader(c); ; time.Sleep(20 * time.Millisecond) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return answered, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return answered, fmt.Errorf("status %d, %w", res.StatusCode, err)
		}
		if answered++; res.Close {
			return answered, nil
		}
	}
}

var errElsewhere = errors.New("the client goes elsewhere")

// keepAskingHTTP2 sends requests, some at once, on one connection in HTTP/2 until a GOAWAY
// makes the client want another one.
func keepAskingHTTP2(addr, path string) (answered int, err error) {
	var once sync.Once
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tr.DialContext = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = errElsewhere
		once.Do(func() { c, err = new(net.Dialer).DialContext(ctx, network, addr) })
		return c, err
	}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: patience}
	ask := func() error {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			return err
		}
		req.Host = "127.0.0.1"
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %d, %w", res.Proto, res.StatusCode, err)
		}
		return nil
	}
	if err := ask(); err != nil { // makes the connection
		return 0, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		wg.Go(func() {
			for {
				one := ask()
				mu.Lock()
				if one == nil {
					answered++
				} else if !errors.Is(one, errElsewhere) {
					err = errors.Join(err, one)
				}
				mu.Unlock()
				if one != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return answered, err
}

// A container's network is taken away as soon as its process has ended. Nobody loses
// anything by that: downloads that the edge has written to the end are whole, and
// connections that are kept are told to go elsewhere before they close.
func TestAStopInAContainerCutsNobody(t *testing.T) {
	needNamespaces(t)
	h := &halves{t: t}
	ns := h.addNamespace("container")
	h.wire(ns, inContainerAddr, "", hereToContainer)
	process, err := lab.Start(inTime(t), lab.Plan{Binary: binary, Dir: t.TempDir(), Namespace: ns, Host: inContainerAddr,
		Set: []string{"gateway.serve=any", "gateway.shutdown_delay=2s"}})
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, process)
	e := &edge{process, t}
	dir, files := website(t)
	site := "/ipfs/" + e.add(dir) + "/"

	const slow, rate = 12, 1 << 20
	var clients sync.WaitGroup
	for i := range slow {
		clients.Go(func() {
			time.Sleep(time.Duration(i) * 300 * time.Millisecond) // some are nearly done at the stop
			got, err := download(e.Gateway, site+"media/large.bin", rate)
			if want := files["media/large.bin"]; err != nil || !bytes.Equal(got, want) {
				t.Errorf("download %d: %d of %d bytes, %v", i, len(got), len(want), err)
			}
		})
	}
	for range 4 {
		clients.Go(func() {
			if n, err := keepAsking(e.Gateway, site+"style.css"); err != nil {
				t.Errorf("a kept connection, after %d answers: %v", n, err)
			}
		})
		clients.Go(func() {
			if n, err := keepAskingHTTP2(e.Gateway, site+"style.css"); err != nil {
				t.Errorf("a connection in HTTP/2, after %d answers: %v", n, err)
			}
		})
	}
	time.Sleep(slow * 300 * time.Millisecond)
	code := e.stop()
	h.ip("link", "del", link(hereToContainer))
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	clients.Wait()
}
