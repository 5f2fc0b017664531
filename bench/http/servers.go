package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A server is a process that is measured.
type server struct {
	name        string
	addr, host  string // where it listens, and the name to ask for
	admin, root string // of an edge: where to ask for figures, and the CID of what it serves
	log         string // the file
	etag        string // of the file of the case under way
	length      int64  // of the body of an answer in the case under way
	cmd         *exec.Cmd
}

// stop ends the process, which has nothing to lose.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// begin starts a process that is to listen on addr, and waits until it does.
func begin(ctx context.Context, name, addr, log string, cmd *exec.Cmd) (*server, error) {
	s, err := start(name, addr, log, cmd)
	if err != nil {
		return nil, err
	}
	return s, s.listens(ctx)
}

// start starts a process. Its log goes to a file.
func start(name, addr, log string, cmd *exec.Cmd) (*server, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &server{name: name, addr: addr, host: "bench.localhost", log: log, cmd: cmd}, nil
}

// listens waits until the process listens, and stops it if it does not.
func (s *server) listens(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			return conn.Close()
		}
	}
	s.stop()
	data, _ := os.ReadFile(s.log)
	return errors.Join(ctx.Err(), fmt.Errorf("it does not listen on %s; its log: %.2000s", s.addr, data))
}

// freeAddr returns a loopback address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// self is this program in one of its other modes.
func self(ctx context.Context, args ...string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, program, args...), nil
}

// startBare starts this program as a bare server, in its mode bare, files or plain.
func (b *bench) startBare(ctx context.Context, files, mode string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd, err := self(ctx, mode, files, addr)
	if err != nil {
		return nil, err
	}
	return begin(ctx, "net/http", addr, filepath.Join(b.dir, "bare.log"), cmd)
}

// startEdge adds the files to an edge and starts it again as their site.
func (b *bench) startEdge(ctx context.Context, files string, set settings) (*server, error) {
	root, err := b.addFiles(ctx, files, set)
	if err != nil {
		return nil, err
	}
	s, err := b.serveEdge(ctx, set, root)
	if err != nil {
		return nil, err
	}
	return s, s.listens(ctx)
}

// addFiles has an edge import the files, and returns the CID of their folder.
func (b *bench) addFiles(ctx context.Context, files string, set settings) (string, error) {
	s, err := b.serveEdge(ctx, set, "")
	if err != nil {
		return "", err
	}
	defer s.stop()
	if err := s.listens(ctx); err != nil {
		return "", err
	}
	add := exec.CommandContext(ctx, b.Binary, "add", "--quiet", "--edge", "http://"+s.admin, files)
	add.Stderr = os.Stderr
	id, err := add.Output()
	if err != nil {
		return "", fmt.Errorf("add the files: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// serveEdge starts an edge over the part's folder, with a site if there is a root.
// Whether it listens is for the caller to find out.
func (b *bench) serveEdge(ctx context.Context, set settings, root string) (*server, error) {
	public, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	all := append(settings{"data=" + b.data(), "gateway.listen=" + public, "admin.listen=" + admin, "gateway.shutdown_delay=0s"}, set...)
	if root != "" {
		all = append(all, "sites=[{host: bench.localhost, content: /ipfs/"+root+"}]")
	}
	args := []string{"serve"}
	for _, s := range append(all, b.Set...) {
		args = append(args, "--set", s)
	}
	cmd := exec.CommandContext(ctx, b.Binary, args...)
	cmd.Dir = b.dir // so that no config.yaml is found
	s, err := start("edge", public, filepath.Join(b.dir, "edge.log"), cmd)
	if err != nil {
		return nil, err
	}
	s.admin, s.root = admin, root
	return s, nil
}

// data is the folder of the part's edge.
func (b *bench) data() string { return filepath.Join(b.dir, "data") }

// serveFiles serves a folder from disk until it is killed.
func serveFiles(folder, addr string) error {
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(filepath.Join(folder, filepath.FromSlash(filepath.Clean("/"+r.URL.Path))))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	}))
}

// servePlain serves a folder from disk until it is killed.
func servePlain(folder, addr string) error { return http.ListenAndServe(addr, plain(folder)) }

// plain gives files and listings of folders as net/http does by itself.
func plain(folder string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(folder, filepath.FromSlash(filepath.Clean("/"+r.URL.Path))))
	})
}

// serveBare serves the files in a folder from memory until it is killed.
func serveBare(folder, addr string) error {
	handlers := map[string]http.Handler{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		handlers["/"+filepath.ToSlash(name)] = inMemory(data)
		return err
	})
	if err != nil {
		return err
	}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := handlers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// inMemory writes the same bytes each time; what is asked for in part, or is large,
// goes through http.ServeContent.
func inMemory(data []byte) http.Handler {
	etag := fmt.Sprintf(`"%016x"`, xxhash.Sum64(data))
	length := strconv.Itoa(len(data))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Etag", etag)
		h.Set("Cache-Control", "public, max-age=29030400, immutable")
		switch {
		case r.Header.Get("If-None-Match") == etag:
			w.WriteHeader(http.StatusNotModified)
		case len(data) > 1<<20 || r.Header.Get("Range") != "":
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		default:
			h.Set("Content-Length", length)
			_, _ = w.Write(data)
		}
	})
}
