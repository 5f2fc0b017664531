package demo

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

func treeOf(t *testing.T, files fstest.MapFS) *content {
	t.Helper()
	c, err := listContent("test", files, ".")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPagesHaveTheirAssets(t *testing.T) {
	c := treeOf(t, fstest.MapFS{
		"index.html": {Data: []byte(`<link rel=stylesheet href="css/a.css"><a href="sub/">x</a><a href="paper.pdf">y</a>
			<img src="pic.png?v=2#frag"><img src="https://elsewhere.example/x.png"><script src=missing.js></script><audio src="a%20b.wav">`)},
		"css/a.css":         {Data: []byte(`@import "more.css"; body { background: url( '../bg.jpg' ) }`)},
		"css/more.css":      {},
		"bg.jpg":            {},
		"pic.png":           {},
		"paper.pdf":         {},
		"a b.wav":           {},
		"sub/index.html":    {Data: []byte(`<div data-src="../data.json"></div><img src="/pic.png">`)},
		"data.json":         {},
		"left/alone.txt":    {},
		"_redirects":        {Data: []byte("/* /404.html 404")},
		"broken/page.html":  {Data: []byte("<img src='%zz'><a href=")},
		"sub/deep/page.htm": {},
	})
	want := []page{
		{file: "index.html", assets: []string{"bg.jpg", "css/a.css", "css/more.css", "pic.png"}, media: []string{"a b.wav", "paper.pdf"}},
		{file: "broken/page.html"},
		{file: "sub/index.html", assets: []string{"data.json", "pic.png"}},
		{file: "sub/deep/page.htm"},
		{file: "left/alone.txt"},
	}
	if got := c.pages(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

func TestURLPath(t *testing.T) {
	for name, want := range map[string]string{
		"index.html":        "/",
		"a/index.html":      "/a/",
		"a/xindex.html":     "/a/xindex.html",
		"a b/50%?#.txt":     "/a%20b/50%25%3F%23.txt",
		"ünder/index.html":  "/%C3%BCnder/",
		"a/index.html/file": "/a/index.html/file",
	} {
		if got := urlPath(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestCrowdIsDeterministic(t *testing.T) {
	c, _ := bundledSite(t)
	a, b := planCrowd(c, 50, time.Second, 7), planCrowd(c, 50, time.Second, 7)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed plans another crowd")
	}
	if reflect.DeepEqual(a, planCrowd(c, 50, time.Second, 8)) {
		t.Error("another seed plans the same crowd")
	}
}

func TestCrowdIsLikeOne(t *testing.T) {
	c, _ := bundledSite(t)
	crowd := planCrowd(c, 2000, 2*time.Second, 1)
	opened := map[string]int{}
	last := time.Duration(0)
	for _, v := range crowd {
		if v.arrives < last || v.arrives > 2*time.Second {
			t.Fatalf("a visitor arrives at %s, after one at %s", v.arrives, last)
		}
		last = v.arrives
		if n := len(v.loads); n < 1 || n > maxPages {
			t.Fatalf("a visitor opens %d pages", n)
		}
		var asked []string
		for _, l := range v.loads {
			opened[l.page.file]++
			asked = append(asked, l.page.file)
			for _, a := range l.assets {
				asked = append(asked, a.file)
			}
		}
		slices.Sort(asked)
		if n := len(asked); len(slices.Compact(asked)) != n {
			t.Fatal("a visitor asks twice for what the browser has")
		}
	}
	pages := c.pages()
	if first, second := opened[pages[0].file], opened[pages[1].file]; first < second*5/4 {
		t.Errorf("the front page was opened %d times, the next %d: too alike", first, second)
	}
	for _, p := range pages {
		if opened[p.file] == 0 {
			t.Errorf("nobody opened %s", p.file)
		}
	}
}

func TestLargeFilesAreAskedForInPart(t *testing.T) {
	const size = 5 << 30
	c := &content{files: []file{{"film.mkv", size}}}
	places := map[int64]bool{}
	for _, v := range planCrowd(c, 40, 0, 1) {
		for _, l := range v.loads {
			r := l.page
			if !r.part || r.length != rangeBytes || r.offset < 0 || r.offset+r.length > size {
				t.Fatalf("%+v", r)
			}
			places[r.offset] = true
		}
	}
	if len(places) < 30 {
		t.Errorf("only %d places", len(places))
	}
}

func TestCrowdOfManyFiles(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 3000 {
		files[fmt.Sprintf("%02d/%04d.bin", i%50, i)] = &fstest.MapFile{Data: []byte{1}}
	}
	n := 0
	for _, v := range planCrowd(treeOf(t, files), 80, time.Second, 1) {
		n += len(v.loads)
	}
	if n < 80 || n > 80*maxPages {
		t.Errorf("%d requests", n)
	}
}
