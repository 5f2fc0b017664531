package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/demo"
)

// TestMain proves that nothing is left running when the demos are over.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(t *testing.T, s *starter) (demo.Options, *bytes.Buffer) {
	t.Helper()
	s.t = t
	var out bytes.Buffer
	o := demo.DefaultOptions()
	o.Edges = 1
	o.Out, o.Live, o.Start = &out, io.Discard, s.start
	o.Visitors, o.Spread, o.Limit, o.TempDir = 12, 0, time.Minute, t.TempDir()
	return o, &out
}

// smallSite makes a folder of a page and an image, which is published in no time.
func smallSite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"index.html": `<img src="favicon.svg">`, "favicon.svg": strings.Repeat("<svg", 100)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// clean checks that a demo left neither a running edge nor a file.
func clean(t *testing.T, s *starter, o demo.Options) {
	t.Helper()
	if len(s.running) != 0 {
		t.Errorf("%d edges still run", len(s.running))
	}
	left, err := os.ReadDir(o.TempDir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func results(t *testing.T, out *bytes.Buffer) map[string]demo.Result {
	t.Helper()
	for l := range strings.Lines(out.String()) {
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		if e.Event != "result" {
			continue
		}
		var list []demo.Result
		if err := json.Unmarshal(e.Data, &list); err != nil {
			t.Fatal(err)
		}
		byName := map[string]demo.Result{}
		for _, r := range list {
			byName[r.Phase] = r
		}
		return byName
	}
	t.Fatalf("no result in %s", out)
	return nil
}

func checkStory(t *testing.T, got map[string]demo.Result) {
	t.Helper()
	cold, warm, off, restarted := got["cold"], got["warm"], got["origin off"], got["restarted"]
	for name, r := range got {
		if r.Requests == 0 || r.Requests != cold.Requests || r.Bytes != cold.Bytes || r.Failed != 0 || r.Cut || r.Visitors != 12 || r.P99 < r.P50 || r.P50 <= 0 {
			t.Errorf("%s: %+v, want the same crowd as the cold one and no failure", name, r)
		}
	}
	if cold.RequestsFrom["origin"] == 0 || cold.BytesFrom["origin"] == 0 || cold.OriginRequests == 0 || cold.OriginBytesPerRequest == 0 {
		t.Errorf("cold: nothing came from the origin: %+v", cold)
	}
	for _, r := range []demo.Result{warm, off} {
		if r.RequestsFrom["memory"] != r.Requests || r.OriginRequests != 0 {
			t.Errorf("%s: not all from memory: %+v", r.Phase, r)
		}
	}
	if restarted.RequestsFrom["disk"] == 0 || restarted.BytesFrom["disk"] == 0 || restarted.RequestsFrom["origin"] != 0 || restarted.OriginRequests != 0 {
		t.Errorf("restarted: not from disk: %+v", restarted)
	}
}

func TestBundledSite(t *testing.T) {
	s := &starter{}
	o, out := options(t, s)
	o.JSON = true
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	checkStory(t, results(t, out))
	if want := []string{"origin", "edge-1", "edge-1"}; !slices.Equal(s.names, want) {
		t.Errorf("started %v, want %v", s.names, want)
	}
	clean(t, s, o)
}

func TestTableAndAddresses(t *testing.T) {
	s := &starter{}
	o, out := options(t, s)
	var live bytes.Buffer
	o.Live, o.Visitors, o.Path = &live, 5, smallSite(t)
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"cold", "origin off", "restarted", "read from disk", "p99", "compared byte for byte", "--keep"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the result lacks %q:\n%s", want, out)
		}
	}
	for _, want := range []string{"Published", "http://demo.localhost:", ".ipfs.localhost:", "5/5 visitors"} {
		if !strings.Contains(live.String(), want) {
			t.Errorf("the display lacks %q:\n%s", want, &live)
		}
	}
}

func TestOtherContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	large := bytes.Repeat([]byte("0123456789abcde\n"), 10<<16) // 10 MiB: asked for in part
	for i := range large[:1<<20] {
		large[i*10] = byte(i)
	}
	write("media/a film #1.mkv", large)
	write("ünder 100%/plain?.txt", []byte("text"))
	write("empty", nil)
	write("page.html", []byte(`<img src="ünder%20100%25/plain%3F.txt">`))
	for name, path := range map[string]string{"a folder": dir, "a file": filepath.Join(dir, "media/a film #1.mkv")} {
		t.Run(name, func(t *testing.T) {
			s := &starter{}
			o, out := options(t, s)
			o.Path, o.JSON = path, true
			if err := demo.Run(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if r := results(t, out)["warm"]; r.Requests < 12 || r.Failed > 0 {
				t.Errorf("%+v", r)
			}
			clean(t, s, o)
		})
	}
}

func TestWrongBytesFailTheDemo(t *testing.T) {
	dir := smallSite(t)
	for name, wrong := range map[string]func(w http.ResponseWriter){
		"other bytes": func(w http.ResponseWriter) { _, _ = w.Write([]byte("<svg>something else</svg>")) },
		"an error":    func(w http.ResponseWriter) { http.Error(w, "origin failed", http.StatusBadGateway) },
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "400")
			_, _ = w.Write([]byte("<svg"))
		},
		"too short": func(w http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := &starter{corrupt: func(path string, w http.ResponseWriter) bool {
				if path != "/favicon.svg" {
					return false
				}
				wrong(w)
				return true
			}}
			o, out := options(t, s)
			o.Path, o.Visitors = dir, 4
			err := demo.Run(t.Context(), o)
			var failed *demo.RequestError
			if !errors.As(err, &failed) || failed.Path != "/favicon.svg" {
				t.Errorf("got %v, want a RequestError for /favicon.svg", err)
			}
			if !strings.Contains(out.String(), "failed or wrong") {
				t.Error("the table is missing")
			}
			clean(t, s, o)
		})
	}
}

func TestFailedStartCleansUp(t *testing.T) {
	boom := errors.New("no ports left")
	for failing := range 3 {
		n := 0
		s := &starter{before: func(spec demo.EdgeSpec) error {
			n++
			if n > failing {
				return boom
			}
			return nil
		}}
		o, _ := options(t, s)
		o.Path = smallSite(t)
		if err := demo.Run(t.Context(), o); !errors.Is(err, boom) {
			t.Errorf("start %d fails: got %v", failing, err)
		}
		clean(t, s, o)
	}
}

func TestRestartFallsBackToAnotherPort(t *testing.T) {
	s := &starter{before: func(spec demo.EdgeSpec) error {
		if spec.Listen != "127.0.0.1:0" {
			return errors.New("address already in use")
		}
		return nil
	}}
	o, _ := options(t, s)
	o.Path = smallSite(t)
	if err := demo.Run(t.Context(), o); err != nil {
		t.Error(err)
	}
	clean(t, s, o)
}

func TestCancellationCleansUp(t *testing.T) {
	for _, at := range []string{"before", "publishing", "cold"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var once sync.Once
			s := &starter{corrupt: func(string, http.ResponseWriter) bool {
				once.Do(cancel)
				return false
			}}
			s.before = func(spec demo.EdgeSpec) error {
				if at == "publishing" {
					cancel()
				}
				return nil
			}
			if at == "before" {
				cancel()
			}
			o, out := options(t, s)
			o.Visitors, o.Spread = 1000, 10*time.Second
			if err := demo.Run(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(out.String(), "compared") {
				t.Errorf("a table was printed:\n%s", out)
			}
			clean(t, s, o)
		})
	}
}

func TestSlowPhaseIsCutShort(t *testing.T) {
	s := &starter{}
	o, out := options(t, s)
	o.JSON, o.Visitors, o.Spread, o.Limit = true, 5, time.Hour, 20*time.Millisecond
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if r := results(t, out)["cold"]; !r.Cut {
		t.Errorf("%+v is not cut", r)
	}
	clean(t, s, o)
}

// syncBuffer is written by the demo and read by the test at the same time.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{}
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestKeepRunsUntilStopped(t *testing.T) {
	s := &starter{}
	o, _ := options(t, s)
	out := &syncBuffer{wrote: make(chan struct{}, 1)}
	o.Out, o.Keep, o.Visitors = out, true, 3
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- demo.Run(ctx, o) }()
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case <-out.wrote:
		case err := <-done:
			t.Fatalf("ended: %v\n%s", err, out)
		}
	}
	// A page that nobody in so small a crowd needs to have opened.
	_, rest, _ := strings.Cut(out.String(), "the site     http://")
	addr := rest[:strings.Index(rest, "/")]
	req, _ := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+addr[strings.LastIndex(addr, ":")+1:]+"/data/withdrawn.html", nil)
	req.Host = addr
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("Withdrawn")) {
		t.Errorf("%s: %.200s", res.Status, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped by the user: %v", err)
	}
	clean(t, s, o)
}

func TestBadOptions(t *testing.T) {
	for field, change := range map[string]func(*demo.Options){
		"edges":    func(o *demo.Options) { o.Edges = 33 },
		"requests": func(o *demo.Options) { o.Requests = 0 },
		"clients":  func(o *demo.Options) { o.Clients = 1000 },
		"memory":   func(o *demo.Options) { o.Disk = -1 },
		"library":  func(o *demo.Options) { o.LibraryBytes = 1 },
		"secret":   func(o *demo.Options) { o.Edges = 2 },
		"visitors": func(o *demo.Options) { o.Visitors = 0 },
		"spread":   func(o *demo.Options) { o.Spread = -1 },
		"limit":    func(o *demo.Options) { o.Limit = 0 },
		"out":      func(o *demo.Options) { o.Out = nil },
		"start":    func(o *demo.Options) { o.Start = nil },
	} {
		o, _ := options(t, &starter{})
		change(&o)
		if err := demo.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestBadPath(t *testing.T) {
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(empty, "missing"): "no such file",
		empty:                           "there are no files in it",
	} {
		s := &starter{}
		o, _ := options(t, s)
		o.Path = path
		if err := demo.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", path, err)
		}
		clean(t, s, o)
	}
}
