package ingest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	cbor "github.com/ipfs/go-ipld-cbor"
	"github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// section is one block of a test archive.
type section struct {
	c    cid.Cid
	data []byte
}

func makeCAR(t testing.TB, roots []cid.Cid, sections ...section) []byte {
	t.Helper()
	header, err := cbor.DumpObject(map[string]any{"version": 1, "roots": roots})
	if err != nil {
		t.Fatal(err)
	}
	out := append(binary.AppendUvarint(nil, uint64(len(header))), header...)
	for _, s := range sections {
		out = binary.AppendUvarint(out, uint64(s.c.ByteLen()+len(s.data)))
		out = append(append(out, s.c.Bytes()...), s.data...)
	}
	return out
}

// asCARv2 wraps a CARv1, with padding before it and an index after it.
func asCARv2(t testing.TB, v1 []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	h := car.NewHeader(uint64(len(v1))).WithDataPadding(100)
	buf.Write(car.Pragma)
	if _, err := h.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	buf.Write(make([]byte, 100))
	buf.Write(v1)
	buf.WriteString("an index, which is not looked at")
	return buf.Bytes()
}

// siteCAR returns the sections of a small site, root first, and its root.
func siteCAR(t testing.TB) (cid.Cid, []section) {
	t.Helper()
	m := newMemory()
	res := importTar(t, newIngester(t, m), task.Import{Pin: true}, file("a", "1"), file("b/c", randomText(1<<20+5)), file("b/d", "1"))
	sections := []section{{res.CID, m.blocks[string(res.CID.Hash())].RawData()}}
	for _, key := range slices.Sorted(maps.Keys(m.blocks)) {
		if b := m.blocks[key]; b.Cid() != res.CID {
			sections = append(sections, section{b.Cid(), b.RawData()})
		}
	}
	return res.CID, sections
}

// node returns a dag-pb block.
func node(t testing.TB, data []byte) section {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return section{cid.NewCidV1(cid.DagProtobuf, mh), data}
}

// linkTo is a dag-pb node with one link.
func linkTo(c cid.Cid) []byte {
	n := len(c.Bytes())
	return append([]byte{0x12, byte(n + 2), 0x0a, byte(n)}, c.Bytes()...)
}

func rawSection(t testing.TB, text string) section {
	t.Helper()
	mh, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return section{cid.NewCidV1(cid.Raw, mh), []byte(text)}
}

func importCAR(t testing.TB, m *memory, data []byte) (task.Imported, error) {
	t.Helper()
	return newIngester(t, m).CAR(t.Context(), bytes.NewReader(data), task.Import{Pin: true}, nil)
}

var siteFiles = map[string]string{"": "/", "a": "1", "b": "/", "b/c": randomText(1<<20 + 5), "b/d": "1"}

func TestCARRoundTrip(t *testing.T) {
	root, sections := siteCAR(t)
	v1 := makeCAR(t, []cid.Cid{root}, sections...)
	twice := makeCAR(t, []cid.Cid{root, root}, append(slices.Clone(sections), sections...)...)
	stray := makeCAR(t, []cid.Cid{root}, append(slices.Clone(sections), rawSection(t, "stray"))...)
	for name, data := range map[string][]byte{"v1": v1, "v2": asCARv2(t, v1), "blocks twice": twice, "a block of no root": stray} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			res, err := importCAR(t, m, data)
			if err != nil {
				t.Fatal(err)
			}
			if res.CID != root || len(res.Roots) != 1 || res.Files != 0 {
				t.Errorf("result %+v", res)
			}
			m.restart()
			wantContents(t, m, root, siteFiles)
			if m.size() != len(sections) {
				t.Errorf("%d blocks stay, want %d", m.size(), len(sections))
			}
		})
	}
}

func TestCARWithSeveralRoots(t *testing.T) {
	root, sections := siteCAR(t)
	one := rawSection(t, "one")
	m := newMemory()
	res, err := importCAR(t, m, makeCAR(t, []cid.Cid{one.c, root}, append(sections, one)...))
	if err != nil {
		t.Fatal(err)
	}
	if res.CID != one.c || !slices.Equal(res.Roots, []cid.Cid{one.c, root}) || len(m.Owners()) != 2 {
		t.Errorf("result %+v, owners %q", res, m.Owners())
	}
}

func TestCARFollowsOtherCodecs(t *testing.T) {
	leaf := rawSection(t, "leaf")
	inside, err := multihash.Sum([]byte("in the CID"), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	nd, err := cbor.WrapObject(map[string]any{"to": leaf.c, "inline": cid.NewCidV1(cid.Raw, inside)}, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	json := []byte(`{"link":{"/":"` + nd.Cid().String() + `"}}`)
	mh, _ := multihash.Sum(json, multihash.SHA2_256, -1)
	root := section{cid.NewCidV1(cid.DagJSON, mh), json}
	middle := section{nd.Cid(), nd.RawData()}

	m := newMemory()
	if _, err := importCAR(t, m, makeCAR(t, []cid.Cid{root.c}, root, middle, leaf)); err != nil {
		t.Fatal(err)
	}
	m.restart()
	if m.size() != 3 {
		t.Errorf("%d blocks stay, want 3", m.size())
	}
	_, err = importCAR(t, newMemory(), makeCAR(t, []cid.Cid{root.c}, root, middle))
	if err == nil || !strings.Contains(err.Error(), "block "+leaf.c.String()+" is missing") {
		t.Errorf("got %v", err)
	}
}

// A CAR may leave out what is here already: that is how a small change to a large
// site is sent.
func TestCARMayRelyOnLocalBlocks(t *testing.T) {
	root, sections := siteCAR(t)
	leaf := slices.IndexFunc(sections, func(s section) bool { return s.c.Type() == cid.Raw })
	m := newMemory()
	for _, data := range [][]byte{
		makeCAR(t, []cid.Cid{sections[leaf].c}, sections[leaf]),
		makeCAR(t, []cid.Cid{root}, slices.Delete(slices.Clone(sections), leaf, leaf+1)...),
	} {
		if _, err := importCAR(t, m, data); err != nil {
			t.Fatal(err)
		}
	}
	m.restart()
	wantContents(t, m, root, siteFiles)
}

func TestBadCARIsRefused(t *testing.T) {
	root, sections := siteCAR(t)
	roots := []cid.Cid{root}
	v1 := makeCAR(t, roots, sections...)
	v2 := asCARv2(t, v1)
	header := len(makeCAR(t, roots))
	leaf := rawSection(t, "leaf")
	lying := makeCAR(t, roots, append(slices.Clone(sections), section{leaf.c, []byte("loaf")})...)
	big := make([]byte, block.MaxSize+1)
	bigMH, _ := multihash.Sum(big, multihash.SHA2_256, -1)
	md5, _ := multihash.Sum([]byte("x"), multihash.MD5, -1)
	inside, _ := multihash.Sum(nil, multihash.IDENTITY, -1)
	odd, _ := multihash.Sum([]byte("odd"), multihash.SHA2_256, -1)
	oddCodec := section{cid.NewCidV1(0x78, odd), []byte("odd")}
	brokenPB := section{cid.NewCidV1(cid.DagProtobuf, odd), []byte("odd")}
	manyLinks := node(t, bytes.Repeat([]byte{0x12, 6, 0x0a, 4, 1, 0x55, 0, 0}, block.MaxSize/8))
	carried, err := multihash.Sum(oddCodec.data, multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	brokenInside := node(t, linkTo(cid.NewCidV1(cid.DagProtobuf, carried)))
	unverifiable := node(t, linkTo(cid.NewCidV1(cid.Raw, md5)))
	chain := []section{leaf}
	for range 4097 {
		chain = append(chain, node(t, linkTo(chain[len(chain)-1].c)))
	}
	slices.Reverse(chain)
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"a quarter of a million links", makeCAR(t, []cid.Cid{manyLinks.c}, manyLinks), "more than 65536 links"},
		{"a damaged node inside a CID", makeCAR(t, []cid.Cid{brokenInside.c}, brokenInside), "not valid dag-pb"},
		{"a link that cannot be verified", makeCAR(t, []cid.Cid{unverifiable.c}, unverifiable), "not supported"},
		{"a long chain", makeCAR(t, []cid.Cid{chain[0].c}, chain...), "more than 4096 links away"},
		{"nothing", nil, "cut off"},
		{"html", []byte(strings.Repeat("<html>no</html>", 100)), "header"},
		{"cut off in the header", v1[:20], "cut off"},
		{"header of a gigabyte", binary.AppendUvarint(nil, 1<<30), "header"},
		{"endless length", bytes.Repeat([]byte{0xff}, 100), "header"},
		{"version 3", bytes.Replace(v1, []byte("version\x01"), []byte("version\x03"), 1), "version"},
		{"no roots", makeCAR(t, []cid.Cid{}, sections...), "no root"},
		{"identity root", makeCAR(t, []cid.Cid{cid.NewCidV1(cid.Raw, inside)}), "identity"},
		{"unsupported root", makeCAR(t, []cid.Cid{cid.NewCidV1(cid.Raw, md5)}), "not supported"},
		{"no blocks", makeCAR(t, roots), "block " + root.String() + " is missing"},
		{"one block missing", makeCAR(t, roots, sections[:len(sections)-1]...), "block " + sections[len(sections)-1].c.String() + " is missing"},
		{"cut off in a length", append(v1[:len(v1):len(v1)], 0x80), "cut off"},
		{"cut off after a length", append(v1[:len(v1):len(v1)], 0x40), "cut off"},
		{"cut off in a CID", append(v1[:len(v1):len(v1)], 0x40, 0x01, 0x55), "cut off"},
		{"cut off in a block", v1[:header+50], "cut off"},
		{"a section without a CID", append(v1[:len(v1):len(v1)], 3, 'a', 'b', 'c'), "block"},
		{"an empty section", append(v1[:len(v1):len(v1)], 0), "block"},
		{"a lying block", lying, leaf.c.String()},
		{"a block over the limit", makeCAR(t, roots, section{cid.NewCidV1(cid.Raw, bigMH), big}), "too large"},
		{"a section of a gigabyte", binary.AppendUvarint(makeCAR(t, roots), 1<<30), "block 0"},
		{"a broken hash function", makeCAR(t, roots, section{cid.NewCidV1(cid.Raw, md5), []byte("x")}), "not supported"},
		{"an unknown codec", makeCAR(t, []cid.Cid{oddCodec.c}, oddCodec), "codec"},
		{"a damaged node", makeCAR(t, []cid.Cid{brokenPB.c}, brokenPB), "not valid dag-pb"},
		{"v2 cut off in its header", v2[:30], "cut off"},
		{"v2 cut off in its padding", v2[:80], "cut off"},
		{"v2 cut off between blocks", v2[:51+100+header], "cut off"},
		{"v2 cut off in a block", v2[:51+100+header+60], "cut off"},
		{"v2 without a payload", asCARv2(t, nil), "payload"},
		{"v2 in v2", asCARv2(t, v2), "version 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMemory()
			_, err := importCAR(t, m, tc.data)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q in it", err, tc.want)
			}
			if problem.Of(err) != problem.BadRequest {
				t.Errorf("%v does not blame the archive", err)
			}
			m.protectsNothing(t)
			m.restart()
			if m.size() != 0 {
				t.Errorf("%d blocks cannot be evicted", m.size())
			}
		})
	}
}

// However long the piece of an archive is, it is an import of everything or of nothing.
func TestCARCutAnywhere(t *testing.T) {
	a, b := rawSection(t, "a"), rawSection(t, "b")
	v1 := makeCAR(t, []cid.Cid{a.c}, a, b)
	for n := range len(v1) {
		whole := n == len(makeCAR(t, []cid.Cid{a.c}, a)) // complete, as far as anyone can tell
		if _, err := importCAR(t, newMemory(), v1[:n]); (err == nil) != whole {
			t.Errorf("v1, %d bytes of %d: got %v", n, len(v1), err)
		}
	}
	v2 := asCARv2(t, v1)
	for n := range 51 + 100 + len(v1) {
		if _, err := importCAR(t, newMemory(), v2[:n]); err == nil {
			t.Errorf("v2, %d bytes of %d: no error", n, len(v2))
		}
	}
}

func TestCARReadErrorsAreNotItsFault(t *testing.T) {
	broken := errors.New("connection reset")
	root, sections := siteCAR(t)
	good := makeCAR(t, []cid.Cid{root}, sections...)
	for _, n := range []int{0, 30, 200, 500_000, len(good)} {
		m := newMemory()
		r := io.MultiReader(bytes.NewReader(good[:n]), readerFunc(func([]byte) (int, error) { return 0, broken }))
		_, err := newIngester(t, m).CAR(t.Context(), r, task.Import{Pin: true}, nil)
		if problem.Of(err) == problem.BadRequest || !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v", n, err)
		}
		m.protectsNothing(t)
	}
}

func TestSecondRootFailingUndoesTheFirst(t *testing.T) {
	a, b := rawSection(t, "a"), rawSection(t, "b")
	m := newMemory()
	full := errors.New("full")
	m.onCommit = func(owner string) error {
		if owner == ingest.Owner(b.c) {
			return full
		}
		return nil
	}
	if _, err := importCAR(t, m, makeCAR(t, []cid.Cid{a.c, b.c}, a, b)); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	m.protectsNothing(t)
}

func TestCancelledCAR(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := rawSection(t, "a")
	m := newMemory()
	data := makeCAR(t, []cid.Cid{a.c}, a, rawSection(t, "b"))
	_, err := newIngester(t, m).CAR(ctx, bytes.NewReader(data), task.Import{Pin: true}, func(task.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	m.protectsNothing(t)
}
