package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// A benchCase is one request, made over and over.
type benchCase struct {
	name string
	// path is what is asked for; in the part "first" a format of two numbers, with a
	// slash at its end when it stands for a folder.
	path string
	// size is how many bytes each file of a case of the part "first" has.
	size int64
	// from and to are the first and last byte of a range; to = 0: no range.
	from, to int64
	// revalidate sends the ETag of a first answer, and expects 304.
	revalidate bool
	// few says to use few connections, because the bodies are large.
	few bool
	// by is how the edge is asked: by the site's host unless it says otherwise.
	by string
}

// The ways to ask an edge.
const (
	byPath      = "path"      // /ipfs/CID/... on an address
	bySubdomain = "subdomain" // CID.ipfs.localhost
)

// A part is what is measured with one edge.
type part struct {
	name, title string
	run         func(*bench, context.Context, part) error
	// fromDisk has the bare server serve files instead of bytes in memory.
	fromDisk bool
	set      settings // of the edge
	cases    []benchCase
	files    map[string]int64 // what is served, and how many bytes each file has
}

var small = map[string]int64{
	"1k.bin": 1 << 10, "4k.bin": 4 << 10, "10k.bin": 10 << 10, "a/b/c/d/e/f/4k.bin": 4 << 10, "100k.bin": 100 << 10, "1m.bin": 1 << 20, "96m.bin": 96 << 20,
}

var parts = []part{
	{name: "memory", title: "In memory", run: (*bench).hits, files: small, cases: []benchCase{
		{name: "1 KiB", path: "/1k.bin"},
		{name: "4 KiB", path: "/4k.bin"},
		{name: "4 KiB by path", path: "/4k.bin", by: byPath},
		{name: "4 KiB by subdomain", path: "/4k.bin", by: bySubdomain},
		{name: "4 KiB, six folders down", path: "/a/b/c/d/e/f/4k.bin"},
		{name: "4 KiB, not modified", path: "/4k.bin", revalidate: true},
		{name: "10 KiB", path: "/10k.bin"},
		{name: "100 KiB", path: "/100k.bin"},
		{name: "1 MiB", path: "/1m.bin"},
		{name: "96 MiB", path: "/96m.bin", few: true},
		{name: "64 KiB at 90 MiB of it", path: "/96m.bin", from: 90 << 20, to: 90<<20 + 64<<10 - 1},
	}},
	{name: "disk", title: "From disk, nothing in memory but the kernel's pages", run: (*bench).hits, fromDisk: true,
		set: settings{"cache.memory=0"}, files: small, cases: []benchCase{
			{name: "100 KiB from disk", path: "/100k.bin"},
			{name: "96 MiB from disk", path: "/96m.bin", few: true},
			{name: "64 KiB at 90 MiB of it, from disk", path: "/96m.bin", from: 90 << 20, to: 90<<20 + 64<<10 - 1},
		}},
	{name: "large", title: "A range in the middle of a large file, warm", run: (*bench).large, fromDisk: true, cases: []benchCase{
		{name: "64 KiB in the middle", path: "/large.bin"},
	}},
	{name: "first", title: "First answers", run: (*bench).first, cases: []benchCase{
		{name: "first 4 KiB", path: "/4k/%02d/%02d.bin", size: 4 << 10},
		{name: "first 100 KiB", path: "/100k/%02d/%02d.bin", size: 100 << 10},
		{name: "first 4 KiB, six folders down", path: "/deep/%02d/%02d/c/d/e/4k.bin", size: 4 << 10},
		{name: "first page of 100 entries", path: "/pages/%02d/%02d/"},
	}},
	{name: "budget", title: "More content than memory", run: (*bench).budget},
	{name: "misses", title: "Hits while misses saturate the edge", run: (*bench).beside, files: map[string]int64{"4k.bin": 4 << 10}},
	{name: "start", title: "A start with a full store", run: (*bench).start, files: map[string]int64{"4k.bin": 4 << 10}},
}

func partNames() string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

// writeFiles makes files in a folder. Their bytes are random, so that nothing is
// the same block twice, and the same each time.
func writeFiles(dir string, sizes map[string]int64) error {
	for name, size := range sizes {
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), name, size); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path, name string, size int64) error {
	var seed [32]byte
	copy(seed[:], name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8(seed), size); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}

// target returns the host and the path that a server is asked for.
func (c benchCase) target(s *server) (host, path string) {
	host, path = s.host, c.path
	if s.root != "" { // an edge
		switch c.by {
		case byPath:
			host, path = "127.0.0.1", "/ipfs/"+s.root+c.path
		case bySubdomain:
			host = s.root + ".ipfs.localhost"
		}
	}
	return host, path
}

// fields returns the header fields of the request, but for Host.
func (c benchCase) fields(etag string) []string {
	fields := []string{"User-Agent: bench", "Accept: */*"}
	if c.to > 0 {
		fields = append(fields, fmt.Sprintf("Range: bytes=%d-%d", c.from, c.to))
	}
	if c.revalidate {
		fields = append(fields, "If-None-Match: "+etag)
	}
	return fields
}

// request returns the bytes that a client sends.
func (c benchCase) request(s *server, etag string) []byte {
	host, path := c.target(s)
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", path, host, strings.Join(c.fields(etag), "\r\n"))
}

// status is what the answer has.
func (c benchCase) status() int {
	switch {
	case c.revalidate:
		return 304
	case c.to > 0:
		return 206
	}
	return 200
}
