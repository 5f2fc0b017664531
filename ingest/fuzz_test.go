package ingest_test

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/task"
)

// Whatever comes, an import ends in an error that protects nothing, or in a DAG
// that can be read back after a restart.

func FuzzTar(f *testing.F) {
	f.Add(makeTar(f, dir("./"), file("./a", "1"), file("b/c", "2"), special(tar.TypeSymlink, "s", "../x"), special(tar.TypeLink, "h", "a")))
	f.Add(makeTar(f, file("only", "1")))
	f.Add(makeTar(f, file("a", "1"), file("a/b", "1")))
	f.Add(makeTar(f, file("../a", "1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemory()
		res, err := newIngester(t, m).Tar(t.Context(), bytes.NewReader(data), task.Import{Pin: true}, nil)
		checkFuzzed(t, m, res, err)
		if err == nil {
			contents(t, m, res.CID)
		}
	})
}

func FuzzCAR(f *testing.F) {
	root, sections := siteCAR(f)
	small := sections[:1]
	for _, s := range sections[1:] {
		if len(s.data) < 1000 {
			small = append(small, s)
		}
	}
	a := rawSection(f, "a")
	v1 := makeCAR(f, []cid.Cid{a.c}, a)
	f.Add(v1)
	f.Add(asCARv2(f, v1))
	f.Add(makeCAR(f, []cid.Cid{root}, small...))
	f.Add(makeCAR(f, []cid.Cid{a.c, root}, a))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemory()
		res, err := newIngester(t, m).CAR(t.Context(), bytes.NewReader(data), task.Import{Pin: true}, nil)
		checkFuzzed(t, m, res, err)
	})
}

func checkFuzzed(t *testing.T, m *memory, res task.Imported, err error) {
	t.Helper()
	if err != nil {
		m.protectsNothing(t)
		if len(err.Error()) > 4096 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		return
	}
	m.restart()
	for _, root := range res.Roots {
		if b, err := m.Get(t.Context(), root); err != nil || len(res.Roots) == 0 || !res.CID.Defined() {
			t.Errorf("root %s: %v, %v", root, b, err)
		}
	}
}
