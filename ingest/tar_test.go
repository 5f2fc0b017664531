package ingest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestRootRule(t *testing.T) {
	site := []entry{file("index.html", "<h1>"), file("css/main.css", "body{}")}
	under := func(prefix string) []entry {
		var moved []entry
		for _, e := range site {
			moved = append(moved, file(prefix+e.name, e.body))
		}
		return moved
	}
	siteFiles := map[string]string{"": "/", "index.html": "<h1>", "css": "/", "css/main.css": "body{}"}
	for _, tc := range []struct {
		name    string
		entries []entry
		wrap    bool
		want    map[string]string
	}{
		{"one file is the root", []entry{file("a.txt", "1")}, false, map[string]string{"": "1"}},
		{"one file, wrapped", []entry{file("a.txt", "1")}, true, map[string]string{"": "/", "a.txt": "1"}},
		{"one file of a named folder", []entry{dir("./"), file("./a.txt", "1")}, false, map[string]string{"": "/", "a.txt": "1"}},
		{"a folder's contents", append([]entry{dir("./")}, under("./")...), false, siteFiles},
		{"several paths", site, false, siteFiles},
		{"one folder is the root", append([]entry{dir("public/")}, under("public/")...), false, siteFiles},
		{"one folder, never named", under("public/"), false, siteFiles},
		{"children before their folder", append(under("public/"), dir("public/")), false, siteFiles},
		{"an empty folder", []entry{dir("./")}, false, map[string]string{"": "/"}},
		{"empty folders inside", []entry{dir("./"), dir("a/"), dir("a/b/")}, false, map[string]string{"": "/", "a": "/", "a/b": "/"}},
		{"slashes and dots that mean nothing", []entry{file(".//x/./a", "1"), file("b", "2")}, false, map[string]string{"": "/", "x": "/", "x/a": "1", "b": "2"}},
		{"hidden files and odd names", []entry{file(".well-known/x", "1"), file("a b&c?#\\日本", "2")}, false,
			map[string]string{"": "/", ".well-known": "/", ".well-known/x": "1", "a b&c?#\\日本": "2"}},
		{"symlinks stay", []entry{file("a", "1"), special(tar.TypeSymlink, "up", "../../etc/passwd"), special(tar.TypeSymlink, "b", "a")}, false,
			map[string]string{"": "/", "a": "1", "up": "-> ../../etc/passwd", "b": "-> a"}},
		{"hard links become files", []entry{file("x/a", "1"), special(tar.TypeLink, "b", "./x/a")}, false, map[string]string{"": "/", "x": "/", "x/a": "1", "b": "1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMemory()
			res := importTar(t, newIngester(t, m), task.Import{Pin: true, Wrap: tc.wrap}, tc.entries...)
			m.restart()
			wantContents(t, m, res.CID, tc.want)
		})
	}
}

func TestSameContentSameCID(t *testing.T) {
	in := newIngester(t, newMemory())
	a := importTar(t, in, task.Import{}, dir("./"), file("./a", "1"), file("./b/c", "2"))
	b := importTar(t, in, task.Import{}, file("site/b/c", "2"), file("site/a", "1"))
	if a.CID != b.CID {
		t.Errorf("%s and %s", a.CID, b.CID)
	}
}

func TestBadTarIsRefused(t *testing.T) {
	good := makeTar(t, file("a", randomText(3000)), file("b", "2"))
	damaged := bytes.Clone(good)
	damaged[0] ^= 0xff
	gz := func() []byte {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, _ = w.Write(good)
		_ = w.Close()
		return buf.Bytes()
	}()
	for _, tc := range []struct {
		name string
		data []byte
		want string // in the error
	}{
		{"nothing", nil, "no bytes came"},
		{"no entries", makeTar(t), "no entries"},
		{"not a tar", []byte(strings.Repeat("<html>no</html>", 100)), "not a tar archive"},
		{"damaged header", damaged, "not a tar archive, or a damaged one"},
		{"short garbage", []byte("hello"), "cut off"},
		{"gzip", gz, "compressed"},
		{"zip", []byte("PK\x03\x04 and so on"), "zip"},
		{"cut off in a file", good[:700], `file "a", after 188 bytes`},
		{"cut off in padding", good[:512+3000+20], "cut off"},
		{"cut off in a header", good[:512+3072+100], "cut off"},
		{"cut off between entries", good[:512+3072], "end marker"},
		{"cut off after half the end marker", makeTar(t, file("a", "1"))[:1024+512], "end marker"},
		{"empty name", makeTar(t, entry{name: "", hdr: &tar.Header{Typeflag: tar.TypeReg}}), "empty name"},
		{"absolute", makeTar(t, file("/etc/passwd", "x")), `"/etc/passwd": the path is absolute`},
		{"upwards", makeTar(t, file("a/../../b", "x")), `"a/../../b": the path leads out`},
		{"twice", makeTar(t, file("a/b", "1"), file("./a/b", "2")), `"./a/b": an earlier entry has the same name`},
		{"file, then folder", makeTar(t, file("a", "1"), dir("a/")), `"a" is not a folder`},
		{"folder, then file", makeTar(t, dir("a/"), file("a", "1")), `"a": an earlier entry`},
		{"below a file", makeTar(t, file("a", "1"), file("a/b", "1")), `"a/b": "a" is not a folder`},
		{"through a symlink", makeTar(t, special(tar.TypeSymlink, "a", "/etc"), file("a/passwd", "1")), `"a" is not a folder`},
		{"a file without a name", makeTar(t, special(tar.TypeSymlink, ".", "x")), "needs a name"},
		{"not UTF-8", makeTar(t, file("a\xff", "1")), "not UTF-8"},
		{"long name", makeTar(t, file(strings.Repeat("n", 1025), "1")), "1025 bytes, the limit is 1024"},
		{"long path", makeTar(t, file(strings.Repeat("n/", 2500)+"n", "1")), "the limit is 4096"},
		{"pipe", makeTar(t, special(tar.TypeFifo, "p", "")), `"p" is a named pipe`},
		{"device", makeTar(t, special(tar.TypeChar, "null", "")), `"null" is a device`},
		{"block device", makeTar(t, special(tar.TypeBlock, "sda", "")), `"sda" is a device`},
		{"unknown kind", makeTar(t, special('Q', "q", "")), "unknown kind"},
		{"dangling hard link", makeTar(t, special(tar.TypeLink, "h", "nowhere")), `no file "nowhere"`},
		{"hard link to a folder", makeTar(t, dir("d/"), special(tar.TypeLink, "h", "d")), `no file "d"`},
		{"hard link upwards", makeTar(t, special(tar.TypeLink, "h", "../x")), "leads out"},
		{"symlink to nothing", makeTar(t, special(tar.TypeSymlink, "s", "")), "target has 0 bytes"},
		{"long symlink", makeTar(t, special(tar.TypeSymlink, "s", strings.Repeat("x", 5000))), "target has 5000 bytes"},
		{"sparse", sparseTar(t), "sparse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMemory()
			_, err := newIngester(t, m).Tar(t.Context(), bytes.NewReader(tc.data), task.Import{Pin: true}, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q in it", err, tc.want)
			}
			if problem.Of(err) != problem.BadRequest {
				t.Errorf("%v does not blame the archive", err)
			}
			if len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			m.protectsNothing(t)
		})
	}
}

// sparseTar returns an archive with a few bytes that claim to be 8 EiB, as GNU tar
// writes a file with holes (PAX format 0.1).
func sparseTar(t *testing.T) []byte {
	// archive/tar refuses to write such records, so they are put in afterwards:
	// another key of the same length is written, and replaced.
	plain := makeTar(t, entry{name: "hole", hdr: &tar.Header{Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"XXX.sparse.major": "0", "XXX.sparse.minor": "1", "XXX.sparse.size": "9223372036854775807",
		"XXX.sparse.numblocks": "1", "XXX.sparse.map": "0,0",
	}}})
	return bytes.ReplaceAll(plain, []byte("XXX.sparse"), []byte("GNU.sparse"))
}

func TestTooManyEntries(t *testing.T) {
	m := newMemory()
	o := ingest.DefaultOptions()
	o.MaxEntries = 3
	in, err := ingest.New(o, m, discard)
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.Tar(t.Context(), bytes.NewReader(makeTar(t, file("a/b/c", ""), file("d", ""))), task.Import{}, nil)
	if err == nil || !strings.Contains(err.Error(), "more than 3 entries") {
		t.Errorf("got %v", err)
	}
}

func TestTenThousandFiles(t *testing.T) {
	var entries []entry
	want := map[string]string{"": "/"}
	for i := range 10_000 {
		name := fmt.Sprintf("d%02d/f%04d.html", i%50, i)
		want[name[:3]] = "/"
		want[name] = fmt.Sprintf("page %d", i)
		entries = append(entries, file(name, want[name]))
	}
	m := newMemory()
	res := importTar(t, newIngester(t, m), task.Import{Pin: true}, entries...)
	if res.Files != 10_000 {
		t.Errorf("%d files", res.Files)
	}
	m.restart()
	wantContents(t, m, res.CID, want)
}

// What follows the end marker is padding: it is read, so that the sender can
// finish, and means nothing.
func TestPaddingIsRead(t *testing.T) {
	r := bytes.NewReader(append(makeTar(t, file("a", "1")), make([]byte, 1<<20)...))
	if _, err := newIngester(t, newMemory()).Tar(t.Context(), r, task.Import{}, nil); err != nil {
		t.Fatal(err)
	}
	if r.Len() != 0 {
		t.Errorf("%d bytes were not read", r.Len())
	}
}

func TestGlobalHeaderIsNoFile(t *testing.T) {
	comment := entry{name: "pax_global_header", hdr: &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "1234"}}}
	m := newMemory()
	res := importTar(t, newIngester(t, m), task.Import{}, comment, file("a", "1"))
	wantContents(t, m, res.CID, map[string]string{"": "1"})
}

func TestReadErrorsAreNotTheArchivesFault(t *testing.T) {
	broken := errors.New("connection reset")
	good := makeTar(t, file("a", randomText(3<<20)))
	for _, n := range []int{0, 100, 600, 2 << 20, len(good) - 512} {
		m := newMemory()
		r := io.MultiReader(bytes.NewReader(good[:n]), readerFunc(func([]byte) (int, error) { return 0, broken }))
		_, err := newIngester(t, m).Tar(t.Context(), r, task.Import{Pin: true}, nil)
		if problem.Of(err) == problem.BadRequest || !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v", n, err)
		}
		m.protectsNothing(t)
	}
}

func form(t *testing.T, parts map[string]string, order ...string) (*multipart.Reader, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for _, name := range order {
		h := map[string][]string{"Content-Disposition": {fmt.Sprintf(`form-data; name="file"; filename=%q`, name)}}
		if name == "" {
			h["Content-Disposition"] = []string{`form-data; name="comment"`}
		}
		part, err := w.CreatePart(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, parts[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return multipart.NewReader(&buf, w.Boundary()), &buf
}

func TestMultipart(t *testing.T) {
	m := newMemory()
	in := newIngester(t, m)
	parts := map[string]string{"index.html": "<h1>", "css/main.css": "body{}", "": "ignored"}
	r, _ := form(t, parts, "index.html", "", "css/main.css")
	res, err := in.Multipart(t.Context(), r, task.Import{Pin: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, m, res.CID, map[string]string{"": "/", "index.html": "<h1>", "css": "/", "css/main.css": "body{}"})
	r, _ = form(t, parts, "index.html")
	res, err = in.Multipart(t.Context(), r, task.Import{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantContents(t, m, res.CID, map[string]string{"": "<h1>"})
}

func TestBadFormsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		order []string
		cut   int
		want  string
	}{
		"no files":  {[]string{""}, 0, "no files"},
		"twice":     {[]string{"a", "a"}, 0, "same name"},
		"upwards":   {[]string{"../a"}, 0, "leads out"},
		"cut off":   {[]string{"a", "b"}, 30, "cut off"},
		"in a file": {[]string{"a"}, 75, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			r, buf := form(t, map[string]string{"a": "content", "b": "2"}, tc.order...)
			buf.Truncate(buf.Len() - tc.cut)
			_, err := newIngester(t, m).Multipart(t.Context(), r, task.Import{Pin: true}, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q in it", err, tc.want)
			}
			if problem.Of(err) != problem.BadRequest {
				t.Errorf("%v does not blame the form", err)
			}
			m.protectsNothing(t)
		})
	}
}
