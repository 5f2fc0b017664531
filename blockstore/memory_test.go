package blockstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memoryFolder is a fileSystem in memory that can fail, fill up, lose what was
// not synced, and tell what happened to it step by step.
type memoryFolder struct {
	mu      sync.Mutex
	files   map[string]*memoryFile
	durable map[string]*memoryFile // the names that survive a power failure
	locked  bool
	fits    int64 // bytes that fit; 0 is without end

	// fault is asked before every operation that changes something, and before
	// reads. "write", "sync", "create", "remove", "rename", "truncate", "syncdir", "read".
	fault func(operation, name string) error
	steps []step // all changes, when recording
	// recording is off by default: it keeps a copy of everything written.
	recording bool
}

// step is one change. A kill can come between any two, or within a write.
type step struct {
	do   func(*memoryFolder, int)
	size int // of a write, which can be cut short
}

type memoryFile struct {
	folder *memoryFolder
	name   string
	data   []byte
	synced []byte
}

func newMemoryFolder() *memoryFolder {
	return &memoryFolder{files: map[string]*memoryFile{}, durable: map[string]*memoryFile{}}
}

// after returns a folder as it is after the first n steps and the given part of
// the next.
func after(steps []step, n, part int) *memoryFolder {
	m := newMemoryFolder()
	for i := range n {
		steps[i].do(m, steps[i].size)
	}
	if part > 0 {
		steps[n].do(m, part)
	}
	return m
}

// clone copies the files, without locks and faults.
func (m *memoryFolder) clone() *memoryFolder {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemoryFolder()
	for name, f := range m.files {
		c.files[name] = &memoryFile{folder: c, name: name, data: slices.Clone(f.data)}
	}
	return c
}

// powerFailure returns what is left after one: names and contents as last synced.
func (m *memoryFolder) powerFailure() *memoryFolder {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemoryFolder()
	for name, f := range m.durable {
		c.files[name] = &memoryFile{folder: c, name: name, data: slices.Clone(f.synced)}
	}
	c.durable = maps.Clone(c.files)
	return c
}

func (m *memoryFolder) size() (total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		total += int64(len(f.data))
	}
	return total
}

func (m *memoryFolder) check(operation, name string) error {
	if m.fault == nil {
		return nil
	}
	return m.fault(operation, name)
}

// change applies a step. The caller holds mu.
func (m *memoryFolder) change(size int, do func(*memoryFolder, int)) {
	do(m, size)
	if m.recording {
		m.steps = append(m.steps, step{do, size})
	}
}

type memoryEntry struct{ name string }

func (e memoryEntry) Name() string               { return e.name }
func (e memoryEntry) IsDir() bool                { return false }
func (e memoryEntry) Type() fs.FileMode          { return 0 }
func (e memoryEntry) Info() (fs.FileInfo, error) { return nil, fs.ErrInvalid }

func (m *memoryFolder) list() ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []fs.DirEntry
	for name := range m.files {
		entries = append(entries, memoryEntry{name})
	}
	return entries, nil
}

func (m *memoryFolder) open(name string, flag int) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, exists := m.files[name]
	switch {
	case flag&os.O_CREATE == 0 && !exists:
		return nil, fs.ErrNotExist
	case flag&os.O_EXCL != 0 && exists:
		return nil, fs.ErrExist
	case flag&os.O_CREATE == 0:
		return f, nil
	}
	if err := m.check("create", name); err != nil {
		return nil, err
	}
	m.change(0, func(m *memoryFolder, _ int) { m.files[name] = &memoryFile{folder: m, name: name} })
	return m.files[name], nil
}

func (m *memoryFolder) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return fs.ErrNotExist
	}
	if err := m.check("remove", name); err != nil {
		return err
	}
	m.change(0, func(m *memoryFolder, _ int) { delete(m.files, name) })
	return nil
}

func (m *memoryFolder) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("rename", from); err != nil {
		return err
	}
	m.change(0, func(m *memoryFolder, _ int) {
		m.files[to] = m.files[from]
		m.files[to].name = to
		delete(m.files, from)
	})
	return nil
}

func (m *memoryFolder) syncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("syncdir", ""); err != nil {
		return err
	}
	m.durable = maps.Clone(m.files)
	return nil
}

func (m *memoryFolder) space() (free, total int64, err error) {
	m.mu.Lock()
	fits := m.fits
	m.mu.Unlock()
	if fits == 0 {
		return 0, 0, errors.ErrUnsupported
	}
	return max(0, fits-m.size()), fits, nil
}

func (m *memoryFolder) lock(string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("create", lockName); err != nil {
		return nil, err
	}
	if m.locked {
		return nil, ErrLocked
	}
	m.locked = true
	return memoryLock{m}, nil
}

type memoryLock struct{ *memoryFolder }

func (l memoryLock) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locked = false
	return nil
}

func (f *memoryFile) Close() error { return nil }

func (f *memoryFile) ReadAt(b []byte, offset int64) (int, error) {
	f.folder.mu.Lock()
	defer f.folder.mu.Unlock()
	if err := f.folder.check("read", f.name); err != nil {
		return 0, err
	}
	if offset >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as much as there is space for. A fault writes half.
func (f *memoryFile) WriteAt(b []byte, offset int64) (int, error) {
	m := f.folder
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.check("write", f.name)
	n := len(b)
	if err != nil {
		n /= 2
	}
	if m.fits > 0 && err == nil {
		total := int64(0)
		for _, other := range m.files {
			total += int64(len(other.data))
		}
		grows := offset + int64(n) - int64(len(f.data))
		if over := total + grows - m.fits; grows > 0 && over > 0 {
			n, err = max(0, n-int(over)), syscall.ENOSPC
		}
	}
	name, data := f.name, slices.Clone(b[:n])
	m.change(n, func(m *memoryFolder, n int) {
		f := m.files[name]
		if grow := int(offset) + n - len(f.data); grow > 0 {
			f.data = append(f.data, make([]byte, grow)...)
		}
		copy(f.data[offset:], data[:n])
	})
	return n, err
}

func (f *memoryFile) Truncate(size int64) error {
	f.folder.mu.Lock()
	defer f.folder.mu.Unlock()
	if err := f.folder.check("truncate", f.name); err != nil {
		return err
	}
	name := f.name
	f.folder.change(0, func(m *memoryFolder, _ int) {
		f := m.files[name]
		if int64(len(f.data)) < size {
			f.data = append(f.data, make([]byte, size-int64(len(f.data)))...)
		}
		f.data = f.data[:size:size]
	})
	return nil
}

func (f *memoryFile) Sync() error {
	f.folder.mu.Lock()
	defer f.folder.mu.Unlock()
	if err := f.folder.check("sync", f.name); err != nil {
		return err
	}
	f.synced = slices.Clone(f.data)
	return nil
}

func (f *memoryFile) Stat() (fs.FileInfo, error) {
	f.folder.mu.Lock()
	defer f.folder.mu.Unlock()
	return memoryInfo{f.name, int64(len(f.data))}, nil
}

type memoryInfo struct {
	name string
	size int64
}

func (i memoryInfo) Name() string       { return i.name }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o644 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }

// tiny are the options of a store that fills up after a few small blocks.
var tiny = Options{Dir: "memory", Capacity: 36 << 10, segment: 4 << 10}

func openMemory(t testing.TB, m *memoryFolder) *Store {
	t.Helper()
	s, err := newStore(tiny, m, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (m *memoryFolder) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := ""
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		text += fmt.Sprintf("%s %d\n", name, len(m.files[name].data))
	}
	return text
}
