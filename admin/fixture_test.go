package admin_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is an importer that keeps the digest of what came, in memory.
type content struct {
	mu       sync.Mutex
	kept     map[cid.Cid]task.Import
	kinds    []string
	gate     chan struct{} // when set, imports wait for it before they read
	waits    chan struct{} // gets a value for each import that waits
	fail     error         // returned after the body was read
	forget   func(path string, unpin bool) (task.PurgeResult, error)
	ready    error
	note     string
	stats    admin.Stats
	reloaded task.Reloaded
	roots    int
	pins     pins
}

func newContent() *content { return &content{kept: map[cid.Cid]task.Import{}, roots: 1} }

func (c *content) take(ctx context.Context, kind string, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	if c.gate != nil {
		c.waits <- struct{}{}
		select {
		case <-c.gate:
		case <-ctx.Done():
			return task.Imported{}, context.Cause(ctx)
		}
	}
	h := sha256.New()
	buf := make([]byte, 32<<10)
	var done task.Progress
	for {
		n, err := r.Read(buf)
		h.Write(buf[:n])
		done.Bytes += int64(n)
		done.Blocks++
		progress(done)
		if err == io.EOF {
			break
		}
		if err != nil {
			return task.Imported{}, fmt.Errorf("read the body: %w", err)
		}
	}
	if c.fail != nil {
		return task.Imported{}, c.fail
	}
	mh, err := multihash.Encode(h.Sum(nil), multihash.SHA2_256)
	if err != nil {
		return task.Imported{}, err
	}
	root := cid.NewCidV1(cid.Raw, mh)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[root] = p
	c.kinds = append(c.kinds, kind)
	roots := make([]cid.Cid, c.roots)
	for i := range roots {
		roots[i] = root
	}
	return task.Imported{CID: root, Roots: roots, Progress: task.Progress{Bytes: done.Bytes, Blocks: done.Blocks, Files: 1}}, nil
}

func (c *content) Tar(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	return c.take(ctx, "tar", r, p, progress)
}

func (c *content) CAR(ctx context.Context, r io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	return c.take(ctx, "car", r, p, progress)
}

func (c *content) Multipart(ctx context.Context, r *multipart.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	part, err := r.NextPart()
	if err != nil {
		return task.Imported{}, problem.With("BAD_REQUEST", err)
	}
	return c.take(ctx, "form", part, p, progress)
}

// A fleet of this edge and one sibling.
func (c *content) Members() []member.Member {
	return []member.Member{{Name: "here", State: "alive", Self: true}, {Name: "there", State: "alive", Latency: .001}}
}

func (c *content) Where(_ context.Context, id cid.Cid) (member.Whereabouts, error) {
	return member.Whereabouts{CID: id.String(), Homes: []string{"there", "here"}, Holders: []string{"there"}, Silent: []string{}}, nil
}

func (c *content) Call(_ context.Context, member, method string, _, response any) error {
	if member != "there" || method != "purge" {
		return fmt.Errorf("call of %s at %s", method, member)
	}
	*response.(*task.Purged) = task.Purged{Removed: 3, Bytes: 300}
	return nil
}

func (c *content) deps() admin.Deps {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_test_total", Help: "A counter."}))
	return admin.Deps{
		Import: c,
		Purge: func(_ context.Context, path string, unpin bool) (task.PurgeResult, error) {
			if c.forget == nil {
				return task.PurgeResult{}, problem.With("NOT_FOUND", errors.New(path+" is not on this edge"))
			}
			return c.forget(path, unpin)
		},
		Fleet:    c,
		Pins:     &c.pins,
		Resolve:  resolve,
		Reload:   func() (task.Reloaded, error) { return c.reloaded, c.fail },
		Stats:    func() admin.Stats { return c.stats },
		Ready:    func() (string, error) { return c.note, c.ready },
		URL:      func(root cid.Cid) string { return "http://localhost:8080/ipfs/" + root.String() },
		Gatherer: reg,
	}
}

// door is an Admin that serves on a loopback port until the test ends.
type door struct {
	*admin.Admin
	url  string
	stop func() error // ends Serve's context and returns what Serve returned
}

func open(t testing.TB, c *content, change func(*admin.Options)) *door {
	t.Helper()
	return openDeps(t, c.deps(), change)
}

func openDeps(t testing.TB, deps admin.Deps, change func(*admin.Options)) *door {
	t.Helper()
	opts := admin.DefaultOptions()
	if change != nil {
		change(&opts)
	}
	a, err := admin.New(opts, deps, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, ln) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return &door{Admin: a, url: "http://" + ln.Addr().String(), stop: stop}
}

// ask sends a request on a connection of its own and returns status and body.
func ask(t testing.TB, method, url string, body io.Reader, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data), res.Header
}

func wantError(t testing.TB, status int, body string, wantStatus int, reason problem.Reason, details string) {
	t.Helper()
	if status != wantStatus || !strings.Contains(body, `"reason":"`+string(reason)+`"`) || !strings.Contains(body, details) {
		t.Errorf("got %d %s, want %d %s with %q", status, body, wantStatus, reason, details)
	}
}
