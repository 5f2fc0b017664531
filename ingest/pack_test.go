package ingest_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/task"
)

// folder writes files below a new folder and returns its path. A value that
// starts with "-> " becomes a symlink.
func folder(t *testing.T, entries map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, body := range entries {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(body, "-> "); ok {
			err = os.Symlink(target, path)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(body), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func TestPackedFoldersComeOutTheSame(t *testing.T) {
	top := folder(t, map[string]string{
		"site/index.html": "<h1>", "site/.hidden/x": "1", "site/empty/": "", "site/zero": "",
		"site/link": "-> index.html", "site/out": "-> /etc/passwd", "site/big": randomText(3<<20 + 7),
		"other/readme": "hi", "also": "-> site",
	})
	site := map[string]string{
		"": "/", "index.html": "<h1>", ".hidden": "/", ".hidden/x": "1", "empty": "/", "zero": "",
		"link": "-> index.html", "out": "-> /etc/passwd", "big": randomText(3<<20 + 7),
	}
	for name, tc := range map[string]struct {
		paths []string
		want  map[string]string
	}{
		"folder":             {[]string{"site"}, site},
		"folder with slash":  {[]string{"site/"}, site},
		"symlink to folder":  {[]string{"also"}, site},
		"file":               {[]string{"other/readme"}, map[string]string{"": "hi"}},
		"folder of one file": {[]string{"other"}, map[string]string{"": "/", "readme": "hi"}},
		"two":                {[]string{"other", "site/index.html"}, map[string]string{"": "/", "other": "/", "other/readme": "hi", "index.html": "<h1>"}},
	} {
		t.Run(name, func(t *testing.T) {
			var paths []string
			for _, p := range tc.paths {
				paths = append(paths, top+"/"+p)
			}
			total, err := ingest.Measure(t.Context(), paths)
			if err != nil {
				t.Fatal(err)
			}
			var last ingest.Packed
			pr, pw := io.Pipe()
			go func() {
				pw.CloseWithError(ingest.Pack(t.Context(), pw, paths, func(p ingest.Packed) { last = p }))
			}()
			m := newMemory()
			res, err := newIngester(t, m).Tar(t.Context(), pr, task.Import{Pin: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantContents(t, m, res.CID, tc.want)
			if last != total || total.Bytes != res.Bytes || total.Files != res.Files {
				t.Errorf("measured %+v, sent %+v, imported %+v", total, last, res)
			}
		})
	}
}

func TestPackIsDeterministic(t *testing.T) {
	a, b := folder(t, map[string]string{"x/1": "1", "y": "2"}), folder(t, map[string]string{"y": "2", "x/1": "1"})
	var one, two bytes.Buffer
	if err := errors.Join(ingest.Pack(t.Context(), &one, []string{a}, nil), ingest.Pack(t.Context(), &two, []string{b}, nil)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the archives differ")
	}
	var names []string
	for tr := tar.NewReader(&one); ; {
		hdr, err := tr.Next()
		if err != nil {
			break
		}
		names = append(names, hdr.Name)
	}
	if want := []string{"./", "x/", "x/1", "y"}; !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
}

func TestPackRefuses(t *testing.T) {
	top := folder(t, map[string]string{"a/x": "1", "b/x": "2"})
	for name, tc := range map[string]struct {
		paths []string
		want  string
	}{
		"nothing":   {nil, "no file or folder"},
		"missing":   {[]string{top + "/nowhere"}, "nowhere"},
		"same name": {[]string{top + "/a/x", top + "/b/x"}, "same name x"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ingest.Measure(t.Context(), tc.paths)
			perr := ingest.Pack(t.Context(), io.Discard, tc.paths, nil)
			if err == nil || perr == nil || err.Error() != perr.Error() || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v and %v, want %q", err, perr, tc.want)
			}
		})
	}
}

func TestPackNoticesFilesThatChange(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs a file whose size is not what it says")
	}
	// Its size is 0, and it has content.
	err := ingest.Pack(t.Context(), io.Discard, []string{"/proc/self/stat"}, nil)
	if err == nil || !strings.Contains(err.Error(), "size changed") {
		t.Errorf("got %v", err)
	}
}

func TestPackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	top := folder(t, map[string]string{"a": randomText(3 << 20)})
	err := ingest.Pack(ctx, io.Discard, []string{top}, func(p ingest.Packed) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("the edge went away")
	err = ingest.Pack(t.Context(), writerFunc(func([]byte) (int, error) { return 0, broken }), []string{top}, nil)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
