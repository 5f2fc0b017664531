package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// edgeOf stands for an edge: it asks the crowd's origin for each block, and refuses
// those who wait beyond the first.
func edgeOf(t *testing.T, origin string) *httptest.Server {
	turn := make(chan struct{}, 1)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		default:
			http.Error(w, "full", http.StatusServiceUnavailable)
			return
		}
		res, err := http.Get("http://" + origin + r.URL.Path + "?format=raw")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		data := make([]byte, res.ContentLength)
		if _, err := io.ReadFull(res.Body, data); err != nil {
			t.Error(err)
		}
		id, err := cid.Decode(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
		if err == nil {
			_, err = block.New(id, data)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}))
	t.Cleanup(web.Close)
	return web
}

func TestCrowd(t *testing.T) {
	crowd, err := newCrowd()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(crowd.handler())
	defer web.Close()
	addr := strings.TrimPrefix(web.URL, "http://")
	c := crowdClient{&server{addr: addr}}
	edge := &server{addr: strings.TrimPrefix(edgeOf(t, addr).URL, "http://")}
	until := func(what string, ok func(crowdTally) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			tally, err := c.tally(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if ok(tally) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, tally)
			}
		}
	}
	if err := c.come(t.Context(), edge, 3, true, ""); err != nil {
		t.Fatal(err)
	}
	until("one waits, the others are refused", func(t crowdTally) bool { return t.Refused >= 2 && t.Fetched == 1 && t.Answered == 0 })
	if err := c.leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	until("the one who waited got its answer", func(t crowdTally) bool { return t.Answered == 1 && t.Waiting == 0 })
	if err := c.come(t.Context(), edge, 1, false, ""); err != nil {
		t.Fatal(err)
	}
	until("misses are answered", func(t crowdTally) bool { return t.Answered > 3 && t.Fetched > 3 })
	if err := c.leave(t.Context()); err != nil {
		t.Fatal(err)
	}
}
