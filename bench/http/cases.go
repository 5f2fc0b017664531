package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A benchCase is one request, made over and over.
type benchCase struct {
	name string
	path string
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

// A part is the cases that one edge and one bare server are measured with.
type part struct {
	title string
	// fromDisk has the bare server serve files instead of bytes in memory.
	fromDisk bool
	set      settings // of the edge
	cases    []benchCase
}

var parts = []part{
	{title: "In memory", cases: []benchCase{
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
	{title: "From disk, nothing in memory but the kernel's pages", fromDisk: true, set: settings{"cache.memory=0"}, cases: []benchCase{
		{name: "100 KiB from disk", path: "/100k.bin"},
		{name: "96 MiB from disk", path: "/96m.bin", few: true},
		{name: "64 KiB at 90 MiB of it, from disk", path: "/96m.bin", from: 90 << 20, to: 90<<20 + 64<<10 - 1},
	}},
}

// writeFiles makes the files of the cases. Their bytes are random, so that nothing
// is the same block twice, and the same each time.
func writeFiles(dir string) error {
	for name, size := range map[string]int{
		"1k.bin": 1 << 10, "4k.bin": 4 << 10, "10k.bin": 10 << 10, "a/b/c/d/e/f/4k.bin": 4 << 10, "100k.bin": 100 << 10, "1m.bin": 1 << 20, "96m.bin": 96 << 20,
	} {
		var seed [32]byte
		copy(seed[:], name)
		data := make([]byte, size)
		if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// request returns the bytes that a client sends.
func (c benchCase) request(s *server, etag string) []byte {
	host, path := s.host, c.path
	if s.root != "" { // an edge
		switch c.by {
		case byPath:
			host, path = "127.0.0.1", "/ipfs/"+s.root+c.path
		case bySubdomain:
			host = s.root + ".ipfs.localhost"
		}
	}
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n", path, host)
	if c.to > 0 {
		text += fmt.Sprintf("Range: bytes=%d-%d\r\n", c.from, c.to)
	}
	if c.revalidate {
		text += "If-None-Match: " + etag + "\r\n"
	}
	return []byte(text + "\r\n")
}
