package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if strings.HasSuffix(name, ".gz") {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		w.Write(data)
		w.Close()
		data = buf.Bytes()
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func record(object uint64, size uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 7)
	b = binary.LittleEndian.AppendUint64(b, object)
	b = binary.LittleEndian.AppendUint32(b, size)
	return binary.LittleEndian.AppendUint64(b, 0)
}

func TestTracesAreRead(t *testing.T) {
	records := slices.Concat(record(9, 100), record(1<<40, 200), record(9, 100))
	for name, data := range map[string][]byte{"a.bin": records, "a.bin.gz": records} {
		tr, err := readTrace(write(t, name, data))
		if err != nil {
			t.Fatal(err)
		}
		if tr.name != "a" || !slices.Equal(tr.requests, []int32{0, 1, 0}) || tr.content.bytes() != 300 {
			t.Errorf("%s: got %s, %v, %d bytes", name, tr.name, tr.requests, tr.content.bytes())
		}
	}
	tr, err := readTrace(write(t, "b.gz", []byte("5 3 0 1\n\n6 1 0 2\n")))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tr.requests, []int32{0, 1, 2, 1}) {
		t.Errorf("got %v", tr.requests)
	}
}

func TestBadTracesAreRefused(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty.txt":    nil,
		"word.txt":     []byte("x 1"),
		"short.txt":    []byte("1"),
		"negative.txt": []byte("1 -1"),
		"endless.txt":  []byte("1 4294967295"),
		"cut.bin":      record(1, 1)[:20],
		"none.bin":     record(1, 0),
		"large.bin":    record(1, 3<<20),
	} {
		if tr, err := readTrace(write(t, name, data)); err == nil {
			t.Errorf("%s: got %d requests", name, len(tr.requests))
		}
	}
	if _, err := readTrace(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a trace that is not there was read")
	}
}
