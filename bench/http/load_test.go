package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBareServerGivesWhatTheCasesAskFor(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("herring\n"), 1<<10)
	if err := os.WriteFile(filepath.Join(dir, "f.bin"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(inMemory(data))
	defer web.Close()
	s := &server{name: "bare", addr: strings.TrimPrefix(web.URL, "http://"), host: "bench.localhost"}
	for _, c := range []benchCase{
		{name: "whole", path: "/f.bin"},
		{name: "range", path: "/f.bin", from: 100, to: 299},
		{name: "not modified", path: "/f.bin", revalidate: true},
		{name: "few", path: "/f.bin", few: true},
	} {
		s.cmd = thisProcess(t)
		if err := check(s, c, dir); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		b := &bench{Options: Options{Connections: 3}}
		r, err := load(t.Context(), s, b.requests(s, c), time.Millisecond)
		if err != nil || r.perSecond <= 0 || r.p50 <= 0 || r.p99 < r.p50 {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
		if row := (result{{r}, {r}}).row(c); !strings.Contains(row, "**1.00**") {
			t.Errorf("%s: %s", c.name, row)
		}
	}
}

func TestWrongAnswersAreNotMeasured(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f.bin"), []byte("right"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"other bytes": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "wrong") },
		"an error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "right", http.StatusBadGateway) },
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ri")
			w.(http.Flusher).Flush()
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		web := httptest.NewServer(answer)
		s := &server{name: name, addr: strings.TrimPrefix(web.URL, "http://"), host: "x", cmd: thisProcess(t)}
		if err := check(s, benchCase{path: "/f.bin"}, dir); err == nil {
			t.Errorf("%s: check accepts it", name)
		}
		if _, err := load(t.Context(), s, asking{[][]byte{benchCase{path: "/f.bin"}.request(s, "")}, 200, 1}, time.Millisecond); err == nil && name != "other bytes" {
			t.Errorf("%s: load accepts it", name)
		}
		web.Close()
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	blocked := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-blocked }))
	defer web.Close()
	defer close(blocked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &server{addr: strings.TrimPrefix(web.URL, "http://"), cmd: thisProcess(t)}
	if _, err := load(ctx, s, asking{[][]byte{benchCase{path: "/"}.request(s, "")}, 200, 2}, time.Hour); err == nil {
		t.Error("load did not notice that it was stopped")
	}
}

// thisProcess stands for a server that runs in the test itself.
func thisProcess(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Process: self}
}
