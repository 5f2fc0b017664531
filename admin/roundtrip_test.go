package admin_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// The client and the door, over a real connection.

func dial(t *testing.T, d *door, token string) *client.Client {
	t.Helper()
	c, err := client.New(d.url, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClientAdds(t *testing.T) {
	c := newContent()
	d := open(t, c, func(o *admin.Options) { o.Token = token; o.ProgressInterval = time.Millisecond })
	const size = 64 << 20
	var last task.Progress
	calls := 0
	res, err := dial(t, d, token).Add(t.Context(), admin.TypeTar, io.LimitReader(zeros{}, size), task.Import{Pin: true, Name: "zeros"},
		func(p task.Progress) { last = p; calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if res.Bytes != size || res.Name != "zeros" || !res.Pinned || !strings.HasSuffix(res.URL, res.CID) {
		t.Errorf("%+v", res)
	}
	if calls == 0 || last.Bytes == 0 || last.Bytes > size {
		t.Errorf("%d progress calls, the last %+v", calls, last)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClientSeesErrors(t *testing.T) {
	c := newContent()
	d := open(t, c, func(o *admin.Options) { o.Token = token })
	add := func(c *client.Client, kind string) error {
		_, err := c.Add(t.Context(), kind, io.LimitReader(zeros{}, 8<<20), task.Import{}, nil)
		return err
	}
	if err := add(dial(t, d, "wrong"), admin.TypeTar); err == nil || !strings.Contains(err.Error(), "--token") {
		t.Errorf("wrong token: %v", err)
	}
	cl := dial(t, d, token)
	if err := add(cl, "text/plain"); err == nil || !strings.Contains(err.Error(), admin.TypeCAR) {
		t.Errorf("wrong type: %v", err)
	}
	c.fail = problem.With("BAD_REQUEST", errors.New("block 7 is wrong"))
	if err := add(cl, admin.TypeCAR); err == nil || err.Error() != "block 7 is wrong" {
		t.Errorf("bad content: %v", err)
	}
	if _, err := cl.Purge(t.Context(), "x", false, false); err == nil || err.Error() != "x is not on this edge" {
		t.Errorf("purge: %v", err)
	}
	c.stats.Name = "edge-0"
	if s, err := cl.Stats(t.Context()); err != nil || s.Name != "edge-0" {
		t.Errorf("stats: %+v, %v", s, err)
	}
}

func TestClientThatLeavesEndsTheImport(t *testing.T) {
	c := newContent()
	d := open(t, c, always)
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	go func() { _, _ = pw.Write(make([]byte, 1<<20)) }()
	_, err := dial(t, d, "").Add(ctx, admin.TypeTar, pr, task.Import{}, func(task.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := d.stop(); err != nil { // waits for the handler
		t.Error(err)
	}
	if len(c.kept) > 0 {
		t.Error("it was imported")
	}
}

// The time limit of one answer must not outlive it on a connection that is used again.
func TestDeadlinesEndWithTheRequest(t *testing.T) {
	const stall = 20 * time.Millisecond
	d := open(t, newContent(), func(o *admin.Options) { o.StallTimeout = stall })
	conn, in := raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
	read := func() {
		t.Helper()
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("got %d", res.StatusCode)
		}
	}
	read()
	time.Sleep(2 * stall) // the limit is over
	for range 2 {
		if _, err := io.WriteString(conn, "GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		read()
	}
}
