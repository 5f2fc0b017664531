package ingest_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	unixfile "github.com/ipfs/boxo/ipld/unixfs/file"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

func newIngester(t testing.TB, store ingest.Store) *ingest.Ingester {
	t.Helper()
	in, err := ingest.New(ingest.DefaultOptions(), store, discard)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// entry is one entry of a test archive: a file unless its name ends in "/" or a
// header says otherwise.
type entry struct {
	name string
	body string
	hdr  *tar.Header
}

func file(name, body string) entry { return entry{name: name, body: body} }
func dir(name string) entry        { return entry{name: name} }
func special(flag byte, name, target string) entry {
	return entry{name: name, hdr: &tar.Header{Typeflag: flag, Linkname: target}}
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := e.hdr
		switch {
		case hdr != nil:
		case strings.HasSuffix(e.name, "/"):
			hdr = &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
		default:
			hdr = &tar.Header{Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(e.body))}
		}
		hdr.Name = e.name
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if e.body == "" {
			continue
		}
		if _, err := io.WriteString(tw, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func importTar(t testing.TB, in *ingest.Ingester, p task.Import, entries ...entry) task.Imported {
	t.Helper()
	res, err := in.Tar(t.Context(), bytes.NewReader(makeTar(t, entries...)), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// dag reads nodes from a store, for boxo's own UnixFS reader.
func dag(m *memory) ipld.DAGService {
	return merkledag.NewReadOnlyDagService(nodes{m})
}

type nodes struct{ m *memory }

func (n nodes) Get(ctx context.Context, c cid.Cid) (ipld.Node, error) {
	b, err := n.m.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.Type() == cid.Raw {
		return merkledag.DecodeRawBlock(b)
	}
	return merkledag.DecodeProtobufBlock(b)
}

func (n nodes) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	defer close(out)
	for _, c := range cids {
		nd, err := n.Get(ctx, c)
		out <- &ipld.NodeOption{Node: nd, Err: err}
	}
	return out
}

// contents reads everything below root: paths of files with their content, of
// symlinks with "-> target", of folders with "/".
func contents(t testing.TB, m *memory, root cid.Cid) map[string]string {
	t.Helper()
	nd, err := dag(m).Get(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	top, err := unixfile.NewUnixfsFile(t.Context(), dag(m), nd)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	found := map[string]string{}
	err = files.Walk(top, func(path string, nd files.Node) error {
		switch nd := nd.(type) {
		case *files.Symlink:
			found[path] = "-> " + nd.Target
		case files.File:
			data, err := io.ReadAll(nd)
			found[path] = string(data)
			return err
		case files.Directory:
			found[path] = "/"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantContents(t testing.TB, m *memory, root cid.Cid, want map[string]string) {
	t.Helper()
	got := contents(t, m, root)
	for path, data := range want {
		if got[path] != data {
			t.Errorf("%q is %.60q, want %.60q", path, got[path], data)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q should not be there", path)
		}
	}
}

func randomText(n int) string {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(data)
	return string(data)
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := ingest.New(ingest.Options{MaxEntries: -1}, newMemory(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "MaxEntries is -1") {
		t.Errorf("got %v, want an error with the field", err)
	}
}

func TestPinnedContentStaysAndUnpinnedGoes(t *testing.T) {
	for _, pin := range []bool{true, false} {
		t.Run(fmt.Sprintf("pin=%t", pin), func(t *testing.T) {
			m := newMemory()
			in := newIngester(t, m)
			res := importTar(t, in, task.Import{Pin: pin}, dir("./"), file("a/b", "x"), file("big", randomText(3<<20)))
			if m.size() != int(res.Blocks) {
				t.Errorf("%d blocks are stored, %d were reported", m.size(), res.Blocks)
			}
			wantContents(t, m, res.CID, map[string]string{"": "/", "a": "/", "a/b": "x", "big": randomText(3 << 20)})
			m.restart()
			if !pin {
				m.protectsNothing(t)
				if m.size() != 0 {
					t.Errorf("%d blocks could not be evicted", m.size())
				}
				return
			}
			if got := m.Owners(); len(got) != 1 || got[0] != "add/"+res.CID.String() || ingest.Owner(res.CID) != got[0] {
				t.Errorf("owners are %q", got)
			}
			wantContents(t, m, res.CID, map[string]string{"": "/", "a": "/", "a/b": "x", "big": randomText(3 << 20)})
			if pins := in.Held(); len(pins) != 1 || pins[0] != res.CID {
				t.Errorf("pins are %s", pins)
			}
		})
	}
}

func TestImportingTwiceChangesNothing(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	first := importTar(t, in, task.Import{Pin: true}, file("a", "1"), file("b", "2"))
	m.restart()
	before := m.size()
	second := importTar(t, in, task.Import{Pin: true}, file("b", "2"), file("a", "1"))
	if first.CID != second.CID || m.size() != before || len(m.Owners()) != 1 {
		t.Errorf("%s then %s; %d then %d blocks; owners %q", first.CID, second.CID, before, m.size(), m.Owners())
	}
	// Without Pin the content that was kept before stays kept.
	importTar(t, in, task.Import{}, file("b", "2"), file("a", "1"))
	m.restart()
	if m.size() != before {
		t.Errorf("%d blocks are left of %d", m.size(), before)
	}
}

func TestManyImportsAtOnce(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	archive := makeTar(t, file("a", randomText(2<<20)), file("b", "2"))
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			data := archive
			if i%2 == 1 {
				data = archive[:len(archive)-1024] // without its end marker
			}
			_, err := in.Tar(t.Context(), bytes.NewReader(data), task.Import{Pin: true}, nil)
			if (err != nil) != (i%2 == 1) {
				return fmt.Errorf("import %d: %v", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	m.restart()
	wantContents(t, m, in.Held()[0], map[string]string{"": "/", "a": randomText(2 << 20), "b": "2"})
	if len(m.Owners()) != 1 || len(m.holds) != 1 {
		t.Errorf("owners %q", m.Owners())
	}
}

func TestFailedImportLeavesAnEarlierOneAlone(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	res := importTar(t, in, task.Import{Pin: true}, file("a", "1"), file("b", "2"))
	m.onPut = func(b blocks.Block) error {
		if string(b.RawData()) == "2" {
			return syscall.ENOSPC
		}
		return nil
	}
	_, err := in.Tar(t.Context(), bytes.NewReader(makeTar(t, file("a", "1"), file("b", "2"))), task.Import{Pin: true}, nil)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	m.restart()
	wantContents(t, m, res.CID, map[string]string{"": "/", "a": "1", "b": "2"})
}

func TestStoreErrorsFailTheImport(t *testing.T) {
	full := errors.New("the store is full")
	archive := makeTar(t, file("a", randomText(20<<20)), file("b", "2"))
	for name, fail := range map[string]func(*memory){
		"put": func(m *memory) {
			n := 0
			m.onPut = func(blocks.Block) error {
				m.mu.Lock()
				defer m.mu.Unlock()
				if n++; n > 5 {
					return full
				}
				return nil
			}
		},
		"hold":   func(m *memory) { m.onHold = func(string, int) error { return full } },
		"commit": func(m *memory) { m.onCommit = func(string) error { return full } },
		"get":    func(m *memory) { m.onGet = func(cid.Cid) (blocks.Block, error) { return nil, full } },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			fail(m)
			_, err := newIngester(t, m).Tar(t.Context(), bytes.NewReader(archive), task.Import{Pin: true}, nil)
			if !errors.Is(err, full) {
				t.Errorf("got %v, want the store's error", err)
			}
			if problem.Of(err) == problem.BadRequest {
				t.Errorf("%v blames the sender", err)
			}
			m.protectsNothing(t)
			if name == "put" && m.held > 5 {
				t.Errorf("%d blocks were written after the failure", m.held)
			}
		})
	}
}

func TestCancelledImportLeavesNothing(t *testing.T) {
	m := newMemory()
	left := errors.New("the caller left")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := io.MultiReader(bytes.NewReader(makeTar(t, file("a", randomText(4<<20)))[:3<<20]), readerFunc(func([]byte) (int, error) {
		cancel(left)
		return 0, io.ErrUnexpectedEOF
	}))
	_, err := newIngester(t, m).Tar(ctx, r, task.Import{Pin: true}, nil)
	if !errors.Is(err, left) {
		t.Errorf("got %v", err)
	}
	m.protectsNothing(t)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestProgressGrows(t *testing.T) {
	m := newMemory()
	var last task.Progress
	calls := 0
	res, err := newIngester(t, m).Tar(t.Context(), bytes.NewReader(makeTar(t, file("a", randomText(3<<20)), file("b", "2"))), task.Import{},
		func(p task.Progress) {
			calls++
			if p.Bytes < last.Bytes || p.Files < last.Files || p.Blocks < last.Blocks {
				t.Errorf("%+v after %+v", p, last)
			}
			last = p
		})
	if err != nil {
		t.Fatal(err)
	}
	if calls < 5 || last != (task.Progress{Bytes: res.Bytes, Files: res.Files, Blocks: res.Blocks}) {
		t.Errorf("%d calls, the last %+v; result %+v", calls, last, res)
	}
	if res.Bytes != 3<<20+1 || res.Files != 2 {
		t.Errorf("result %+v", res)
	}
}
