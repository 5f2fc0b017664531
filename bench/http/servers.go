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
	"slices"
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
	etag        string // of the file of the case under way
	cmd         *exec.Cmd
}

// stop ends the process, which has nothing to lose.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
}

// cpu returns the CPU time that the process has used; 0 where /proc does not tell.
func (s *server) cpu() time.Duration {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0
	}
	// The second field is the program's name in brackets and may hold spaces;
	// utime and stime are the 14th and 15th, in hundredths of a second.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// begin starts a process that is to listen on addr, and waits until it does. Its log
// goes to a file.
func begin(ctx context.Context, name, addr, log string, cmd *exec.Cmd) (*server, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{name: name, addr: addr, host: "bench.localhost", cmd: cmd}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return s, conn.Close()
		}
	}
	s.stop()
	data, _ := os.ReadFile(log)
	return nil, errors.Join(ctx.Err(), fmt.Errorf("it does not listen on %s; its log: %.2000s", addr, data))
}

// freeAddr returns a loopback address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// memory returns the process's resident memory, in bytes; 0 where /proc does not tell.
func (s *server) memory() int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, _ := strconv.ParseInt(number, 10, 64)
	return kib << 10
}

func startBare(ctx context.Context, files string, fromDisk bool) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	mode := "bare"
	if fromDisk {
		mode = "files"
	}
	return begin(ctx, "net/http", addr, filepath.Join(filepath.Dir(files), "bare.log"), exec.CommandContext(ctx, self, mode, files, addr))
}

// startEdge adds the files to an edge and starts it again as their site.
func startEdge(ctx context.Context, o Options, dir, files string) (*server, error) {
	binary := o.Binary
	if binary == "" {
		binary = filepath.Join(dir, "shoal")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/shoal-cdn/shoal")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build: %w: %s", err, out)
		}
	}
	dir, err := os.MkdirTemp(dir, "edge-")
	if err != nil {
		return nil, err
	}
	s, err := serveEdge(ctx, binary, dir, o.Set)
	if err != nil {
		return nil, err
	}
	add := exec.CommandContext(ctx, binary, "add", "--quiet", "--edge", "http://"+s.admin, files)
	add.Stderr = os.Stderr
	id, err := add.Output()
	s.stop()
	if err != nil {
		return nil, fmt.Errorf("add the files: %w", err)
	}
	root := strings.TrimSpace(string(id))
	site := "sites=[{host: bench.localhost, content: /ipfs/" + root + "}]"
	s, err = serveEdge(ctx, binary, dir, append(slices.Clone(o.Set), site))
	if err == nil {
		s.root = root
	}
	return s, err
}

func serveEdge(ctx context.Context, binary, dir string, set []string) (*server, error) {
	public, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := []string{"serve"}
	for _, s := range append([]string{"data=" + filepath.Join(dir, "data"), "gateway.listen=" + public, "admin.listen=" + admin}, set...) {
		args = append(args, "--set", s)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir // so that no config.yaml is found
	s, err := begin(ctx, "edge", public, filepath.Join(dir, "edge.log"), cmd)
	if err == nil {
		s.admin = admin
	}
	return s, err
}

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
