package ingest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestPurgeForgetsWhatIsCached(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	res := importTar(t, in, task.Import{}, file("index.html", "<h1>"), file("img/a", randomText(3<<20)), file("img/b", "b"))
	all := m.size()
	done, err := in.Purge(t.Context(), m, "/ipfs/"+res.CID.String()+"/img/", false)
	if err != nil {
		t.Fatal(err)
	}
	// The folder, the file's root, its three chunks, and the other file.
	if done.Removed != 6 || done.Bytes < 3<<20 || done.Kept != 0 || all-m.size() != 6 {
		t.Errorf("%+v; %d blocks of %d are left", done, m.size(), all)
	}
	// What is left of the tree goes too, although a part of it is missing.
	done, err = in.Purge(t.Context(), m, res.CID.String(), false)
	if err != nil || done.Removed != 2 || m.size() != 0 {
		t.Errorf("%+v, %v; %d blocks are left", done, err, m.size())
	}
	_, err = in.Purge(t.Context(), m, res.CID.String(), false)
	if absent, ok := errors.AsType[*ingest.AbsentError](err); !ok || absent.CID != res.CID || absent.Reason() != problem.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestPurgeOfPinnedContent(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	site := importTar(t, in, task.Import{Pin: true}, file("index.html", "<h1>"), file("logo.svg", "<svg>"))
	other := importTar(t, in, task.Import{Pin: true}, file("main.html", "<p>"), file("logo.svg", "<svg>"))
	m.restart()
	all := m.size()
	path := "/ipfs/" + site.CID.String()

	for _, p := range []string{path, path + "/index.html"} {
		_, err := in.Purge(t.Context(), m, p, false)
		if pinned, ok := errors.AsType[*ingest.PinnedError](err); !ok || pinned.Reason() != problem.Pinned || !strings.Contains(err.Error(), "unpin=true") || !strings.Contains(err.Error(), site.CID.String()) {
			t.Errorf("%s: got %v", p, err)
		}
	}
	if m.size() != all || len(m.Owners()) != 2 {
		t.Fatalf("%d blocks of %d, owners %q after a refusal", m.size(), all, m.Owners())
	}

	// CIDv0 has no base32 form in an owner's name; it is the same import.
	done, err := in.Purge(t.Context(), m, cid.NewCidV0(site.CID.Hash()).String(), true)
	if err != nil || done.Removed != 2 || done.Kept != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if owners := m.Owners(); len(owners) != 1 || owners[0] != ingest.Owner(other.CID) {
		t.Errorf("owners %q", owners)
	}
	wantContents(t, m, other.CID, map[string]string{"": "/", "main.html": "<p>", "logo.svg": "<svg>"})

	// The logo is the other site's now.
	logo, err := in.Purge(t.Context(), m, rawSection(t, "<svg>").c.String(), true)
	if pinned, ok := errors.AsType[*ingest.PinnedError](err); !ok || len(pinned.Imports) != 1 || pinned.Imports[0] != other.CID {
		t.Errorf("%+v, %v", logo, err)
	}
	// By its path the import that is meant is known.
	if done, err = in.Purge(t.Context(), m, "/ipfs/"+other.CID.String()+"/logo.svg", true); err != nil || done.Removed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	m.protectsNothing(t)
}

func TestPurgeOfWhatAPinHolds(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	res := importTar(t, in, task.Import{}, file("a", "1"))
	if err := errors.Join(m.Hold("pin/7", res.CID), m.Commit("pin/7")); err != nil {
		t.Fatal(err)
	}
	_, err := in.Purge(t.Context(), m, res.CID.String(), true)
	if err == nil || !strings.Contains(err.Error(), "unpin it first") || m.size() != 1 {
		t.Errorf("got %v", err)
	}
}

func TestPurgeInALargeFolder(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	var entries []entry
	for i := range 6000 {
		entries = append(entries, file(fmt.Sprintf("page-%d.html", i), fmt.Sprint(i)))
	}
	res := importTar(t, in, task.Import{}, entries...)
	before := m.size()
	done, err := in.Purge(t.Context(), m, "/ipfs/"+res.CID.String()+"/page-4711.html", false)
	if err != nil || done.Removed != 1 || done.Bytes != 4 || m.size() != before-1 {
		t.Errorf("%+v, %v", done, err)
	}
	_, err = in.Purge(t.Context(), m, "/ipfs/"+res.CID.String()+"/page-6000.html", false)
	if problem.Of(err) != problem.BadRequest || !strings.Contains(err.Error(), `no entry "page-6000.html"`) {
		t.Errorf("got %v", err)
	}
}

func TestBadPurgesAreRefused(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	res := importTar(t, in, task.Import{}, file("a", "1"), file("b", "2"))
	for path, want := range map[string]string{
		"":                                   "not a CID",
		"/ipfs/":                             "not a CID",
		"/ipns/example.org":                  "expected a CID or /ipfs/",
		"nonsense":                           "not a CID",
		res.CID.String()[:20]:                "not a CID",
		"/ipfs/" + res.CID.String() + "/c":   `no entry "c"`,
		"/ipfs/" + res.CID.String() + "/a/x": `no entry "x"`,
		strings.Repeat("x", 10_000):          "not a CID",
	} {
		_, err := in.Purge(t.Context(), m, path, true)
		if problem.Of(err) != problem.BadRequest || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
			t.Errorf("%.40q: got %.300v, want %q", path, err, want)
		}
	}
	if m.size() != 3 {
		t.Errorf("%d blocks are left of 3", m.size())
	}
	absent := "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
	for _, path := range []string{absent, "/ipfs/" + absent + "/a"} {
		if _, err := in.Purge(t.Context(), m, path, true); err == nil || err.Error() != absent+" is not on this edge" {
			t.Errorf("%s: got %v", path, err)
		}
	}
	broken := errors.New("the disk is broken")
	m.onGet = func(cid.Cid) (blocks.Block, error) { return nil, broken }
	for _, path := range []string{res.CID.String(), "/ipfs/" + res.CID.String() + "/a"} {
		if _, err := in.Purge(t.Context(), m, path, false); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// What cannot be decoded can be purged, with whatever leads to it.
func TestPurgeOfAMalformedBlock(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	broken := node(t, []byte("odd"))
	root := node(t, linkTo(broken.c))
	for _, s := range []section{broken, root} {
		b, err := block.New(s.c, s.data)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.PutHeld(t.Context(), "test", b); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Release("test"); err != nil {
		t.Fatal(err)
	}
	done, err := in.Purge(t.Context(), m, root.c.String(), false)
	if err != nil || done.Removed != 2 || m.size() != 0 {
		t.Errorf("%+v, %v, %d left", done, err, m.size())
	}
}
