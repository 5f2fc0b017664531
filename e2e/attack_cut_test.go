//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// lackingFolder is a folder of a file of 4 MiB, and what there is of it: the last block is
// not.
func lackingFolder(t *testing.T) (cid.Cid, []ipld.Node) {
	t.Helper()
	const chunk = 256 << 10
	file, inner := merkledag.NodeWithData(nil), unixfs.NewFSNode(unixfs.TFile)
	var held []ipld.Node
	for i := range 16 {
		leaf := rawNode(t, cid.Raw, bytes.Repeat([]byte{byte(i)}, chunk))
		if err := file.AddRawLink("", &ipld.Link{Cid: leaf.Cid(), Size: chunk}); err != nil {
			t.Fatal(err)
		}
		inner.AddBlockSize(chunk)
		held = append(held, leaf)
	}
	data, err := inner.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	file.SetData(data)
	folder := unixfs.EmptyDirNode()
	for _, n := range []*merkledag.ProtoNode{file, folder} {
		if err := n.SetCidBuilder(merkledag.V1CidPrefix()); err != nil {
			t.Fatal(err)
		}
	}
	if err := folder.AddNodeLink("file.bin", file); err != nil {
		t.Fatal(err)
	}
	return folder.Cid(), append(held[:15], file, folder)
}

// cutExports asks for exports that cannot be completed. Nobody may take what comes for
// complete: in HTTP/1.1 the last chunk lacks (RFC 9112, section 8), in HTTP/1.0 the
// connection is reset instead of ended, and in HTTP/2 the stream is (RFC 9113, section 8.1).
func (a *attacked) cutExports(t *testing.T) {
	for _, path := range []string{a.cut + "?format=car", a.cut + "?format=tar", a.cut + "/file.bin?format=tar", a.cut + "/file.bin"} {
		for _, version := range []string{"1.0", "1.1"} {
			c, err := net.Dial("tcp", a.Gateway)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience / 2))
			_, _ = io.WriteString(c, "GET "+path+" HTTP/"+version+"\r\nHost: 127.0.0.1\r\n\r\n")
			said, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s in HTTP/%s: %v", path, version, err)
			}
			n, err := io.Copy(io.Discard, said.Body)
			c.Close()
			reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) && said.ContentLength > 0
			if version == "1.0" && !reset || version == "1.1" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s in HTTP/%s: %d, %d bytes, and then %v", path, version, said.StatusCode, n, err)
			}
		}
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		said, err := (&http.Client{Transport: tr}).Get("http://" + a.Gateway + path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, said.Body)
		if err == nil || !strings.Contains(err.Error(), "stream error") {
			t.Errorf("%s in HTTP/2: %d, and then %v", path, said.StatusCode, err)
		}
		said.Body.Close()
		tr.CloseIdleConnections()
	}
}

// redirects asks in every way for one that leads to another host: a Location that begins
// with two slashes names one (RFC 3986, section 4.2), and browsers take a backslash for a
// slash. Control characters would end the field (RFC 9110, section 5.5).
func (a *attacked) redirects(t *testing.T) {
	evil := []string{
		"//other.host/..", "/%2Fother.host/..", "/%5Cother.host/..", `/\other.host/..`, "/%5C%5Cother.host/..", "/.//other.host/..", "/%2e%2f/other.host/..",
		"/%09/other.host/..%2F..", "/%0d%0aLocation:%20http:%2F%2Fother.host%2f/..", "/x%00/..", "//other.host%2f..", "/%E2%80%AE/..", "/;//other.host/..", "/x/..//other.host/../",
	}
	led := 0
	for host, prefix := range map[string]string{
		"www.example.org": "", a.root + ".ipfs.localhost": "", "localhost": "/ipfs/" + a.root, "127.0.0.1": "/ipfs/" + a.root, "LOCALHOST:80": "/ipfs/" + a.root,
	} {
		for _, start := range evil {
			for _, end := range []string{"/media", "/a/b", "%2Fmedia", "%2fmedia%2F..%2fa", "/old", "/media?x=%0d%0a//y", "/", ""} {
				for _, path := range []string{prefix + start + end, start + "%2F.." + prefix + end, start + prefix + end} {
					said, _, err := a.hear("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
					if err != nil {
						t.Fatalf("%s%s: %v", host, path, err)
					}
					to := said.Header.Get("Location")
					if to != "" {
						led++
					}
					away := strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.Contains(to, "://") && !strings.HasPrefix(strings.ToLower(to), "http://"+a.root+".ipfs.localhost")
					if away || strings.ContainsFunc(to, func(c rune) bool { return c < ' ' || c == 0x7f }) || len(said.Header["Location"]) > 1 {
						t.Errorf("%s%s: %d to %q", host, path, said.StatusCode, said.Header["Location"])
					}
				}
			}
		}
	}
	if led < 100 {
		t.Errorf("only %d redirects", led)
	}
}
