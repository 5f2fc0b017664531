package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// What nobody has, or nobody can give, is no export: with HEAD neither, and for a client
// that has one already. RFC 9110, section 13.1.2: If-None-Match is about what there is;
// RFC 9111, section 4.2.2: an error is not kept as if it were the content.
func TestExportsOfWhatIsNotThere(t *testing.T) {
	refused := func(c cid.Cid) error {
		return &block.UnavailableError{Cid: c, From: "origin " + secretAddress, Err: errors.New("refused")}
	}
	slow := func(cid.Cid) error { return context.DeadlineExceeded }
	gone := func(c cid.Cid) error { return block.NotFound(c) }
	for _, tc := range []struct {
		name   string
		err    func(cid.Cid) error
		status int
	}{{"nobody has it", gone, 404}, {"the origin failed", refused, 502}, {"too slow", slow, 504}} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEdge(t, nil)
			root := website(t, e.shelf)
			guide := e.shelf.child(t, root, "docs", "guide")
			for _, lost := range []cid.Cid{root, e.shelf.child(t, root, "docs"), guide} {
				for _, q := range []string{"car", "car&dag-scope=block", "car&dag-scope=entity", "tar"} {
					url := "http://127.0.0.1/ipfs/" + root.String() + "/docs/guide?format=" + q
					e.shelf.hook(nil)
					etag := e.get(url).want(t, 200, "").Header.Get("Etag")
					e.Forget()
					e.shelf.hook(func(_ context.Context, c cid.Cid) error {
						if c.Equals(lost) {
							return tc.err(c)
						}
						return nil
					})
					for _, headers := range [][]string{nil, {"If-None-Match: " + etag}, {"If-None-Match: *"}} {
						for _, method := range []string{"GET", "HEAD"} {
							e.do(method, url, headers...).want(t, tc.status, "").
								header(t, "Cache-Control", "no-store").header(t, "Etag", "").header(t, "Content-Disposition", "")
						}
					}
				}
			}
			e.do("GET", "http://127.0.0.1/ipfs/"+guide.String(), "If-None-Match: *").want(t, tc.status, "")
		})
	}
}

func TestExportsThatAreUnchanged(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	for _, q := range []string{"car", "car&dag-scope=block", "tar"} {
		url := "http://127.0.0.1/ipfs/" + root.String() + "/docs?format=" + q
		etag := e.get(url).want(t, 200, "").Header.Get("Etag")
		for _, tag := range []string{etag, "*"} {
			e.get(url, "If-None-Match: "+tag).want(t, 304, "").header(t, "Etag", etag)
		}
	}
	// IPIP-402: the blocks that show that a path leads nowhere are an answer.
	a := e.get("http://127.0.0.1/ipfs/"+root.String()+"/docs/none/x?format=car").want(t, 200, "")
	if got := carBlocks(t, a.body); len(got) != 2 || got[0] != root {
		t.Errorf("a path that leads nowhere: %v", got)
	}
}

// HEAD says what GET would, and reads what GET reads before its header.
func TestHeadOfAnExport(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	for _, q := range []string{"/?format=car", "/?format=tar", "/big.txt?format=tar"} {
		url := "http://127.0.0.1/ipfs/" + root.String() + q
		before := e.shelf.gets()
		head := e.do("HEAD", url).want(t, 200, "")
		if n := e.shelf.gets() - before; n > 3 {
			t.Errorf("HEAD %s read %d blocks", q, n)
		}
		get := e.get(url)
		for _, name := range []string{"Etag", "Content-Type", "Content-Disposition", "X-Ipfs-Roots", "Cache-Control"} {
			head.header(t, name, get.Header.Get(name))
		}
	}
}

// What breaks off is not a complete message: RFC 9112, section 8 (no last chunk, or fewer
// bytes than Content-Length says, and the connection closes), RFC 9113, section 8.1 (a
// stream that is reset).
func TestAnswersThatBreakOff(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Compression = false })
	leaves := map[string]string{"a.txt": big, "b.txt": lines(3000)}
	root := e.shelf.tree(t, leaves)
	last := e.shelf.lastLeaf(t, []byte(leaves["b.txt"]))
	e.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Equals(last) {
			return &block.UnavailableError{Cid: c, From: secretAddress, Err: errors.New("cut")}
		}
		return nil
	})
	addr, _, _ := e.serve()
	for _, major := range []int{1, 2} {
		c := speaking(t, major)
		for _, path := range []string{"/?format=car", "/b.txt?format=car&dag-scope=entity", "/?format=tar", "/b.txt?format=tar", "/b.txt"} {
			resp, err := c.Get("http://" + addr + "/ipfs/" + root.String() + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.ProtoMajor != major || len(body) < 1024 {
				t.Errorf("%s %s: %d, %d bytes", resp.Proto, path, resp.StatusCode, len(body))
			}
			if major == 1 && !errors.Is(err, io.ErrUnexpectedEOF) || major == 2 && (err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR")) {
				t.Errorf("%s %s: ended with %v", resp.Proto, path, err)
			}
			if bytes.Contains(body, []byte("10.66.77")) || bytes.Contains(body, []byte("Gateway Error")) {
				t.Errorf("%s %s: the body tells of the failure", resp.Proto, path)
			}
		}
		// The next request is answered, on a connection of its own or the same.
		resp, err := c.Get("http://" + addr + "/ipfs/" + root.String() + "/a.txt")
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
	}
}

// lastLeaf is the CID of the last of a file's chunks.
func (s *shelf) lastLeaf(t *testing.T, data []byte) cid.Cid {
	t.Helper()
	return s.raw(t, cid.Raw, data[(len(data)-1)/1024*1024:])
}

// speaking is a client that speaks one version of HTTP.
func speaking(t *testing.T, major int) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(major == 1)
	tr.Protocols.SetUnencryptedHTTP2(major == 2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// The blocks of an export are those that the specification asks for, in its order:
// https://specs.ipfs.tech/http-gateways/trustless-gateway/ and IPIP-412.
func TestWhatACARHolds(t *testing.T) {
	e := newEdge(t, nil)
	s := e.shelf
	deep := s.file(t, randomBytes(20*1024)) // 20 leaves of 1 KiB, 8 links to a node
	root := s.tree(t, map[string]string{"docs/a.txt": "a", "docs/b.txt": "b", "c.txt": "a"})
	docs, a := s.child(t, root, "docs"), s.child(t, root, "c.txt")
	index, top := s.below(t, deep.Cid())
	value := s.raw(t, cid.DagCBOR, append([]byte("\xa2\x61x\xd8\x2a\x58\x25\x00"), append(a.Bytes(), append([]byte("\x61y\xd8\x2a\x58\x25\x00"), docs.Bytes()...)...)...))
	leaf := func(from, to int) []cid.Cid { return index[from:to] }
	join := func(lists ...[]cid.Cid) (all []cid.Cid) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	one := func(c ...cid.Cid) []cid.Cid { return c }
	for _, tc := range []struct {
		path string
		want []cid.Cid
	}{
		{root.String() + "/docs/a.txt?format=car", one(root, docs, a)},
		{root.String() + "?format=car&dag-scope=block", one(root)},
		{root.String() + "/docs?format=car&dag-scope=entity", one(root, docs)},
		{root.String() + "?format=car", one(root, a, docs, s.child(t, docs, "b.txt"))},
		{root.String() + "?format=car&car-dups=y", one(root, a, docs, a, s.child(t, docs, "b.txt"))},
		{value.String() + "?format=car&dag-scope=entity", one(value)},
		{value.String() + "?format=car", one(value, a, docs, s.child(t, docs, "b.txt"))},
		{deep.Cid().String() + "?format=car&dag-scope=entity&entity-bytes=0:0", join(one(deep.Cid(), top[0]), leaf(0, 1))},
		{deep.Cid().String() + "?format=car&dag-scope=entity&entity-bytes=7168:8192", join(one(deep.Cid(), top[0]), leaf(7, 8), one(top[1]), leaf(8, 9))},
		{deep.Cid().String() + "?format=car&dag-scope=entity&entity-bytes=-1:*", join(one(deep.Cid(), top[2]), leaf(19, 20))},
		{deep.Cid().String() + "?format=car&dag-scope=entity&entity-bytes=19456:99999", join(one(deep.Cid(), top[2]), leaf(19, 20))},
		{deep.Cid().String() + "?format=car&dag-scope=entity&entity-bytes=99999:*", one(deep.Cid())},
		{deep.Cid().String() + "?format=car", join(one(deep.Cid(), top[0]), leaf(0, 8), one(top[1]), leaf(8, 16), one(top[2]), leaf(16, 20))},
		{"bafkqaaa?format=car", nil},
	} {
		got := carBlocks(t, e.get("http://127.0.0.1/ipfs/"+tc.path).want(t, 200, "").body)
		if fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.path, got, tc.want)
		}
	}
}

// What nobody means in earnest is refused before a header goes out: more links than fit
// into a block without made-up CIDs, a malformed link, a codec that has links of unknown form.
func TestExportsOfHostileBlocks(t *testing.T) {
	e := newEdge(t, nil)
	link := "\xd8\x2a\x45\x00\x01\x55\x00\x00"
	for say, c := range map[string]cid.Cid{
		"more than 65536 links": e.shelf.raw(t, cid.DagCBOR, []byte("\x9a\x00\x01\x00\x01"+strings.Repeat(link, 1<<16+1))),
		"is not valid dag-cbor": e.shelf.raw(t, cid.DagCBOR, []byte("\x82"+link)),
		"codec git-raw":         e.shelf.raw(t, cid.GitRaw, []byte("blob 1\x00x")),
	} {
		e.get("http://127.0.0.1/ipfs/"+c.String()+"?format=car").want(t, 422, say)
		e.get("http://127.0.0.1/ipfs/"+c.String()+"?format=car&dag-scope=block").want(t, 200, "")
	}
}

// below returns the leaves and the inner nodes of a file with one level of them.
func (s *shelf) below(t *testing.T, c cid.Cid) (leaves, inner []cid.Cid) {
	t.Helper()
	n, err := dagWriter{s}.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range n.Links() {
		if l.Cid.Prefix().Codec == cid.Raw {
			leaves = append(leaves, l.Cid)
			continue
		}
		inner = append(inner, l.Cid)
		more, _ := s.below(t, l.Cid)
		leaves = append(leaves, more...)
	}
	return leaves, inner
}

// A TAR that would write outside of its folder (IPIP-288) is not complete without it.
func TestTARsThatLeaveTheirFolder(t *testing.T) {
	e := newEdge(t, nil)
	file := e.shelf.raw(t, cid.Raw, []byte("x"))
	for _, name := range []string{"../../x", "..", "a/../../x", strings.Repeat("../", 5)} {
		c := e.shelf.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: []handmadeLink{{cid: file, name: name}}})
		e.get("http://127.0.0.1/ipfs/"+c.String()+"?format=tar").want(t, 422, "outside of its folder").header(t, "Etag", "")
		above := e.shelf.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: []handmadeLink{{cid: c, name: "below"}}})
		if name == "a/../../x" || name == ".." {
			continue // goes up, and not out
		}
		if status, whole := e.ends("GET", "http://127.0.0.1/ipfs/"+above.String()+"?format=tar"); whole && status == 200 {
			t.Errorf("%q, deeper: %d, and complete", name, status)
		}
	}
	c := e.shelf.handmade(t, handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true, links: []handmadeLink{{cid: file, name: "a/../b"}}})
	e.get("http://127.0.0.1/ipfs/"+c.String()+"?format=tar").want(t, 200, "/b")
}
