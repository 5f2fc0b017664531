package gateway

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
)

// many is a folder with so many names, in one block or sharded, and the names.
func (s *shelf) many(t testing.TB, n int, sharded bool) (c cid.Cid, names []string) {
	t.Helper()
	for i := range n {
		names = append(names, fmt.Sprintf("entry %05d & more", i))
	}
	file := merkledag.NewRawNode([]byte("x"))
	_ = dagWriter{s}.Add(t.Context(), file)
	if !sharded {
		h := handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true}
		for _, name := range names {
			h.links = append(h.links, handmadeLink{cid: file.Cid(), name: name, tsize: 1})
		}
		return s.handmade(t, h), names
	}
	dir, err := uio.NewHAMTDirectory(dagWriter{s}, 0, uio.WithCidBuilder(v1))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := dir.AddChild(context.Background(), name, file); err != nil {
			t.Fatal(err)
		}
	}
	node, err := dir.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	_ = dagWriter{s}.Add(t.Context(), node)
	return node.Cid(), names
}

var (
	nextLink  = regexp.MustCompile(`rel="next" href="([^"]*)"`)
	entryLink = regexp.MustCompile(`href="[^"?#]*entry%20(\d{5})`)
)

// listed are the entries on a page, each once.
func listed(page string) (names []string) {
	for _, m := range entryLink.FindAllStringSubmatch(strings.Split(page, `rel="next"`)[0], -1) {
		if name := "entry " + m[1] + " & more"; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// The pages of a large folder have every entry, once, and lead from one to the next.
func TestPagesOfALargeFolder(t *testing.T) {
	for _, sharded := range []bool{false, true} {
		for _, n := range []int{1000, 1001, 2500} {
			e := newEdge(t, nil)
			c, names := e.shelf.many(t, n, sharded)
			url := "http://127.0.0.1/ipfs/" + c.String() + "/"
			var seen []string
			query, pages := "", 0
			for more := true; more; pages++ {
				a := e.get(url+query).want(t, 200, "<html")
				on := listed(a.body)
				if len(on) > 1000 || pages > n/1000 || strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
					t.Fatalf("sharded %v, page %d of %d entries has %d, %s", sharded, pages, n, len(on), a.Header.Get("Cache-Control"))
				}
				e.do("HEAD", url+query).want(t, 200, "").header(t, "Etag", a.Header.Get("Etag"))
				e.get(url+query, "If-None-Match: "+a.Header.Get("Etag")).want(t, 304, "")
				seen = append(seen, on...)
				next := nextLink.FindStringSubmatch(a.body)
				if more = next != nil; more {
					query = strings.ReplaceAll(next[1], "&amp;", "&")
				}
			}
			if slices.Sort(seen); !slices.Equal(seen, names) || pages != (n+999)/1000 {
				t.Errorf("sharded %v: %d of %d entries on %d pages", sharded, len(seen), n, pages)
			}
		}
	}
}

// Behind a name that is not there, a page begins where it would be.
func TestAPageBehindNoName(t *testing.T) {
	e := newEdge(t, nil)
	c, names := e.shelf.many(t, 1500, false)
	url := "http://127.0.0.1/ipfs/" + c.String() + "/?after="
	for after, from := range map[string]int{
		"": 0, "a": 0, "entry": 0, "entry%2000499%20%26%20more": 500, "entry%2000499%20%26%20morf": 500, "entry%2000600": 600, "entry%2001499%20%26%20more": 1500, "z": 1500, "%FF": 1500,
	} {
		if got := listed(e.get(url+after).want(t, 200, "").body); !slices.Equal(got, names[from:min(from+1000, len(names))]) {
			t.Errorf("after=%s: %d entries, want those from %d on", after, len(got), from)
		}
	}
	// In a sharded folder, where the hash of the name would be: nothing is there twice.
	c, names = e.shelf.many(t, 1500, true)
	url = "http://127.0.0.1/ipfs/" + c.String() + "/?after="
	for _, after := range []string{"nobody", "entry%2000499%20%26%20morf", "%00", strings.Repeat("long", 200)} {
		got := listed(e.get(url+after).want(t, 200, "").body)
		for _, name := range got {
			if !slices.Contains(names, name) {
				t.Errorf("after=%s: %q", after, name)
			}
		}
	}
	// One file, no folder: after is the website's own parameter.
	file := e.shelf.raw(t, cid.Raw, []byte("text"))
	e.get("http://127.0.0.1/ipfs/"+file.String()+"?after=x").want(t, 200, "text")
}

// A folder whose links are in no order has all its entries on its pages, too.
func TestPagesOfAFolderInNoOrder(t *testing.T) {
	e := newEdge(t, nil)
	file := e.shelf.raw(t, cid.Raw, []byte("x"))
	h := handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true}
	var names []string
	for i := range 2300 {
		name := fmt.Sprintf("entry %05d & more", (i*1009)%2300)
		names = append(names, name)
		h.links = append(h.links, handmadeLink{cid: file, name: name, tsize: 1})
	}
	url, query := "http://127.0.0.1/ipfs/"+e.shelf.handmade(t, h).String()+"/", ""
	var seen []string
	for range 3 {
		a := e.get(url+query).want(t, 200, "")
		seen = append(seen, listed(a.body)...)
		if next := nextLink.FindStringSubmatch(a.body); next != nil {
			query = next[1]
		}
	}
	slices.Sort(seen)
	if slices.Sort(names); !slices.Equal(seen, names) {
		t.Errorf("%d of %d entries", len(seen), len(names))
	}
}

// A page of a sharded folder costs the shards that its entries lie in, those on the way to
// them, and those where an index.html would be.
func TestAPageReadsWhatItShows(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	c, names := e.shelf.many(t, 5000, true)
	holds, all := e.shelf.shards(t, c, "")
	url, query := "http://127.0.0.1/ipfs/"+c.String()+"/", ""
	for page := range 5 {
		before := e.shelf.gets()
		a := e.get(url+query).want(t, 200, "")
		read := e.shelf.gets() - before
		needed := map[string]bool{}
		for _, name := range listed(a.body) {
			for _, shard := range holds[name] {
				needed[shard] = true
			}
		}
		// Besides: the way to index.html, to the last page's end, and to the first entry that
		// is not shown.
		if most := len(needed) + 6; read > most || len(needed) > all/3 {
			t.Errorf("page %d: %d blocks were read, %d hold its entries, of %d shards", page, read, len(needed), all)
		}
		if next := nextLink.FindStringSubmatch(a.body); next != nil {
			query = strings.ReplaceAll(next[1], "&amp;", "&")
		}
	}
	if len(holds) != len(names) {
		t.Errorf("the fixture has %d entries", len(holds))
	}
}

// shards are the shards that each name of a sharded folder lies in, and how many there are.
func (s *shelf) shards(t testing.TB, c cid.Cid, above string) (holds map[string][]string, all int) {
	t.Helper()
	n, err := dagWriter{s}.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	holds, all = map[string][]string{}, 1
	for _, l := range n.Links() {
		if len(l.Name) > 2 {
			holds[l.Name[2:]] = []string{c.String()}
			continue
		}
		below, more := s.shards(t, l.Cid, c.String())
		all += more
		for name, shards := range below {
			holds[name] = append(shards, c.String())
		}
	}
	return holds, all
}
