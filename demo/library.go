package demo

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"strings"
	"time"
)

// A library is a tree of made-up files, the same ones for the same seed. Their
// bytes are random and are made again whenever they are read, so that a library
// takes no memory. It is an [fs.FS] for its files; folders cannot be opened.
type library struct {
	seed  uint64
	files []file
	index map[string]int
}

const (
	// A shelf is a folder of the library with shelfFiles files.
	shelfFiles  = 64
	libraryRoot = "library"
	// The sizes of files spread evenly on a logarithmic scale, the largest being
	// sizeSpread times the smallest: like the images and scripts of a website.
	sizeSpread = 32
)

// newLibrary returns a library of n files with some total bytes altogether.
func newLibrary(n int, total int64, seed uint64) *library {
	l := &library{seed: seed, index: map[string]int{}}
	rng := rand.New(rand.NewPCG(seed, 0x11b))
	relative, sum := make([]float64, n), 0.0
	for i := range relative {
		relative[i] = math.Pow(sizeSpread, rng.Float64())
		sum += relative[i]
	}
	for i, r := range relative {
		f := file{
			name: fmt.Sprintf("%s/%02d/%04d.bin", libraryRoot, i/shelfFiles, i),
			size: max(1, int64(r/sum*float64(total))),
		}
		l.files = append(l.files, f)
		l.index[f.name] = i
	}
	return l
}

// Open implements [fs.FS].
func (l *library) Open(name string) (fs.File, error) {
	i, ok := l.index[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f := &madeUpFile{file: l.files[i], seed: l.seed, number: uint64(i)}
	return f, f.rewind()
}

// madeUpFile is an open file of a library. It seeks, too.
type madeUpFile struct {
	file
	seed, number uint64
	random       *rand.ChaCha8
	at           int64
}

var _ io.Seeker = (*madeUpFile)(nil)

func (f *madeUpFile) rewind() error {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("shoal %d/%d", f.seed, f.number))
	f.random, f.at = rand.NewChaCha8(seed), 0
	return nil
}

func (f *madeUpFile) Read(p []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	n, _ := f.random.Read(p[:min(int64(len(p)), f.size-f.at)])
	f.at += int64(n)
	return n, nil
}

// Seek implements [io.Seeker] by reading what lies before, for files are small.
func (f *madeUpFile) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, fmt.Errorf("seek in %s: only from the start", f.name)
	}
	_ = f.rewind()
	_, err := io.CopyN(io.Discard, f, min(offset, f.size))
	return offset, err
}

func (f *madeUpFile) Close() error               { return nil }
func (f *madeUpFile) Stat() (fs.FileInfo, error) { return madeUpInfo{f.file}, nil }

type madeUpInfo struct{ file }

func (i madeUpInfo) Name() string       { return path.Base(i.file.name) }
func (i madeUpInfo) Size() int64        { return i.file.size }
func (i madeUpInfo) Mode() fs.FileMode  { return 0o444 }
func (i madeUpInfo) ModTime() time.Time { return time.Time{} }
func (i madeUpInfo) IsDir() bool        { return false }
func (i madeUpInfo) Sys() any           { return nil }

// withLibrary returns content that has the library's files too.
func (c *content) withLibrary(l *library) (*content, error) {
	for _, f := range c.files {
		if f.name == libraryRoot || strings.HasPrefix(f.name, libraryRoot+"/") {
			return nil, fmt.Errorf("%s: has %s, where the made-up files would go", c.title, f.name)
		}
	}
	with := *c
	with.fsys = shelved{c.fsys, l}
	with.files = append(c.files[:len(c.files):len(c.files)], l.files...)
	with.madeUp = len(l.files)
	for _, f := range l.files {
		with.bytes += f.size
	}
	return &with, nil
}

// whole names the content, and says so if some of it was made up.
func (c *content) whole() string {
	if c.madeUp > 0 {
		return fmt.Sprintf("%s and %s", c.title, count(c.madeUp, "made-up file"))
	}
	return c.title
}

// shelved is a file system with a library beside its own files.
type shelved struct {
	fs.FS
	library *library
}

func (s shelved) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, libraryRoot+"/") {
		return s.library.Open(name)
	}
	return s.FS.Open(name)
}
