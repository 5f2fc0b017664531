package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, edge, token string) *client.Client {
	t.Helper()
	c, err := client.New(edge, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return dial(t, s.URL, "the-token")
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, edge := range []string{"", "ftp://x", "http://", "://", "http://%zz"} {
		if _, err := client.New(edge, ""); err == nil || !strings.Contains(err.Error(), "expected a URL") {
			t.Errorf("%q: got %v", edge, err)
		}
	}
	for _, edge := range []string{"127.0.0.1:8081", "localhost:8081", "https://edge.example/shoal/", "[::1]:8081"} {
		if _, err := client.New(edge, ""); err != nil {
			t.Errorf("%q: %v", edge, err)
		}
	}
}

func TestNoEdgeThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	c := dial(t, addr, "")
	want := "no edge answers at http://" + addr + ": start one with `shoal serve`, or name another with --edge"
	_, serr := c.Stats(t.Context())
	_, perr := c.Purge(t.Context(), "x", false, false)
	_, aerr := c.Add(t.Context(), admin.TypeTar, strings.NewReader("x"), task.Import{}, nil)
	for _, err := range []error{serr, perr, aerr} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
}

func TestSomethingElseThere(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusNotFound) })
	if _, err := c.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the admin API of an edge (404 Not Found)") {
		t.Errorf("got %v", err)
	}
	c = serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	if _, err := c.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "read the answer") {
		t.Errorf("got %v", err)
	}
	c = serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	if _, err := c.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("got %v", err)
	}
}

func TestRefusals(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"reason":"UNAUTHORIZED","details":"no"}}`)
	})
	if _, err := c.Stats(t.Context()); err == nil || !strings.Contains(err.Error(), "--token or SHOAL_TOKEN") {
		t.Errorf("got %v", err)
	}
	c = serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error":{"reason":"PINNED","details":"it is kept"}}`)
	})
	_, err := c.Purge(t.Context(), "x", false, false)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != "PINNED" || e.Status != 409 || err.Error() != "it is kept" {
		t.Errorf("got %v", err)
	}
}

func TestRequests(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer the-token" {
			t.Errorf("authorization %q", r.Header.Get("Authorization"))
		}
		switch r.Method + " " + r.URL.Path {
		case "POST /api/v1/purge":
			fmt.Fprintf(w, `{"cid":%q,"removed":1,"bytes":2,"kept":3}`, r.URL.RawQuery)
		case "GET /api/v1/stats":
			fmt.Fprint(w, `{"name":"edge-0"}`)
		case "POST /api/v1/add":
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintln(w, `{"progress":{"bytes":3,"files":0,"blocks":1}}`)
			fmt.Fprintf(w, `{"cid":"bafy","bytes":%d,"name":%q}`+"\n", len(body), r.Header.Get("Content-Type")+" "+r.URL.RawQuery)
		}
	})
	purged, err := c.Purge(t.Context(), "/ipfs/x/a b", true, false)
	if err != nil || !reflect.DeepEqual(purged, task.PurgeResult{CID: "fleet=false&path=%2Fipfs%2Fx%2Fa+b&unpin=true", Purged: task.Purged{Removed: 1, Bytes: 2, Kept: 3}}) {
		t.Errorf("got %+v, %v", purged, err)
	}
	stats, err := c.Stats(t.Context())
	if err != nil || stats.Name != "edge-0" {
		t.Errorf("got %+v, %v", stats, err)
	}
	var seen task.Progress
	added, err := c.Add(t.Context(), admin.TypeCAR, strings.NewReader("hello"), task.Import{Pin: true, Name: "n"}, func(p task.Progress) { seen = p })
	if err != nil || added.CID != "bafy" || added.Bytes != 5 || seen.Bytes != 3 ||
		added.Name != "application/vnd.ipld.car name=n&pin=true&progress=true&wrap=false" {
		t.Errorf("got %+v, %+v, %v", added, seen, err)
	}
}

func TestAddErrors(t *testing.T) {
	answer := func(text string) *client.Client {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, text)
		})
	}
	_, err := answer(`{"progress":{"bytes":1}}`+"\n"+`{"error":{"reason":"BAD_REQUEST","details":"cut off"}}`).
		Add(t.Context(), admin.TypeTar, strings.NewReader("x"), task.Import{}, nil)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != "BAD_REQUEST" || err.Error() != "cut off" {
		t.Errorf("got %v", err)
	}
	_, err = answer(`{"progress":{"bytes":1}}`+"\n").Add(t.Context(), admin.TypeTar, strings.NewReader("x"), task.Import{}, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing was kept") {
		t.Errorf("got %v", err)
	}
}

func TestUnreadableBodyIsTheError(t *testing.T) {
	broken := errors.New("file vanished")
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	pr, pw := io.Pipe()
	go func() { _, _ = pw.Write([]byte("some")); pw.CloseWithError(broken) }()
	_, err := c.Add(t.Context(), admin.TypeTar, pr, task.Import{}, nil)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// An edge that refuses early must end the one who still writes into the pipe.
func TestEarlyRefusalEndsTheBody(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusInsufficientStorage)
		fmt.Fprint(w, `{"error":{"reason":"INSUFFICIENT_STORAGE","details":"full"}}`)
	})
	pr, pw := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := pw.Write(buf); err != nil {
				ended <- err
				return
			}
		}
	}()
	_, err := c.Add(t.Context(), admin.TypeTar, pr, task.Import{}, nil)
	if err == nil || err.Error() != "full" {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the writer still waits")
	}
}

func TestCancel(t *testing.T) {
	left := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 1)
		cancel(left)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() { _, _ = pw.Write(bytes.Repeat([]byte("x"), 1<<20)) }()
	_, err := c.Add(ctx, admin.TypeTar, pr, task.Import{}, nil)
	if !errors.Is(err, left) {
		t.Errorf("got %v", err)
	}
}
