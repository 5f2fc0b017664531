package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

var firstCases = []benchCase{
	{name: "file", path: "/4k/%02d/%02d.bin", size: 4 << 10},
	{name: "page", path: "/pages/%02d/%02d/"},
}

// firstSide has the files of a case, and the server that the handler makes of them.
func firstSide(t *testing.T, b *bench, c benchCase, handler func(files string) http.Handler) (*server, questions) {
	t.Helper()
	dir := t.TempDir()
	if err := b.writeFirst(dir, c); err != nil {
		t.Fatal(err)
	}
	if err := writeFiles(dir, map[string]int64{"warm.bin": 1}); err != nil {
		t.Fatal(err)
	}
	q, err := b.questions(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(handler(dir))
	t.Cleanup(web.Close)
	return &server{name: "bare", addr: strings.TrimPrefix(web.URL, "http://"), host: "bench.localhost", cmd: thisProcess(t)}, q
}

func TestEachThingIsAskedForOnce(t *testing.T) {
	for _, c := range firstCases {
		b := &bench{Options: Options{Connections: 3, Files: 210}}
		asked := make(chan string, 1000)
		s, q := firstSide(t, b, c, func(files string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.URL.Path
				plain(files).ServeHTTP(w, r)
			})
		})
		r, err := b.askOnce(t.Context(), s, q)
		if err != nil || r.p50 <= 0 || r.p99 < r.p50 || r.perSecond <= 0 {
			t.Fatalf("%s: %+v, %v", c.name, r, err)
		}
		close(asked)
		times := map[string]int{}
		for path := range asked {
			times[path]++
		}
		if times["/warm.bin"] != 3 || len(times) != 1+b.count(c) {
			t.Errorf("%s: %d paths were asked for, /warm.bin %d times", c.name, len(times), times["/warm.bin"])
		}
		for path, n := range times {
			if n != 1 && path != "/warm.bin" {
				t.Errorf("%s was asked for %d times", path, n)
			}
		}
	}
}

func TestWrongFirstAnswersAreNotMeasured(t *testing.T) {
	last := func(path string) bool { return strings.Contains(path, "/00/07") || strings.Contains(path, "/00/01/") }
	for name, wrong := range map[string]http.HandlerFunc{
		"other bytes": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "entry-0001-00.bin") },
		"an error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		for _, c := range firstCases {
			b := &bench{Options: Options{Connections: 2, Files: 8}}
			s, q := firstSide(t, b, c, func(files string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if last(r.URL.Path) {
						wrong(w, r)
						return
					}
					plain(files).ServeHTTP(w, r)
				})
			})
			if r, err := b.askOnce(t.Context(), s, q); err == nil {
				t.Errorf("%s: %s: %+v", c.name, name, r)
			}
		}
	}
}

func TestFirstRow(t *testing.T) {
	ms := time.Millisecond
	r := result{
		{{p50: 2 * ms, p99: 8 * ms, cpu: 10 * ms}, {p50: ms, p99: 4 * ms, cpu: 30 * ms}, {p50: 3 * ms, p99: 9 * ms, cpu: 20 * ms}},
		{{p50: 4 * ms, p99: 8 * ms, cpu: 40 * ms}, {p50: 2 * ms, p99: 8 * ms, cpu: 40 * ms}, {p50: 3 * ms, p99: 9 * ms, cpu: 40 * ms}},
	}
	want := "| x | 2ms / 3ms | **0.50** | 8ms / 8ms | 1.00 | 20ms / 40ms | **0.50** |\n"
	if got := r.firstRow(benchCase{name: "x"}); got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	for i := range r[1] {
		r[1][i].cpu = 0 // as where /proc does not tell
	}
	if got := r.firstRow(benchCase{name: "x"}); !strings.HasSuffix(got, "/ 0s | **-** |\n") {
		t.Error(got)
	}
}
